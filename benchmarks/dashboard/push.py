"""Recorded sweeps in W&B, without training again: their runs, tables, figures and saved views."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from scalpel_bench.benchmarks.dashboard import runs as jobs
from scalpel_bench.benchmarks.dashboard import saved_views as views
from scalpel_bench.benchmarks.dashboard.saved_views import Sweep
from scalpel_bench.benchmarks.dashboard.tracker import Tracker
from scalpel_bench.benchmarks.experiments.schema import AnyExperiment, Experiment
from scalpel_bench.benchmarks.messages import terminal
from scalpel_bench.benchmarks.messages.errors import UserError
from scalpel_bench.benchmarks.records.folder import Folder, Record, none_of, write_atomically
from scalpel_bench.benchmarks.report import derive


def push(paths: list[Path], results: Path, mode: str, project: str | None, entity: str | None) -> int:
    """Send what these folders hold, by default all under ``results``. Returns the exit status.

    Raises:
        UserError: there are no records, two folders are parts of one sweep, nobody is logged in to W&B, or a
            name is wrong.
    """
    folders = [Folder(path) for path in paths] or _recorded(results)
    for folder in folders:
        if not folder.has_records:
            raise UserError(f"{folder.path}: no records; give folders such as results/fig3a/laptop")
    sweeps: list[Sweep] = []
    taken: dict[str, Path] = {}
    with Tracker(mode, results, project, entity, yields=False) as tracker:
        for folder in folders:
            records, experiment, left_out = _read(folder)
            left_out += [f"{r.id}: sent from {taken[r.id]} already" for r in records if r.id in taken]
            runs = [jobs.of_record(record) for record in records if record.id not in taken]
            taken |= {run.id: folder.path for run in runs}
            for job in runs:
                tracker.put(job, folder)
            if runs and experiment:
                analysis = jobs.of_sweep(folder)
                if analysis.id in taken:
                    other = taken[analysis.id]
                    raise UserError(
                        f"{folder.path} and {other} are parts of one sweep: put their runs/ together"
                    )
                taken[analysis.id] = folder.path
                tracker.put(analysis, folder)
                if isinstance(experiment, Experiment):
                    sweeps.append(Sweep(runs, analysis))
            for line in left_out:
                terminal.warn(f"left out: {line}")
            terminal.say(f"{folder.path}: {len(runs)} runs to send, {len(left_out)} left out")
    if tracker.unsent:
        return 3
    return _save(sweeps, tracker) if mode == "online" else _write(sweeps, tracker)


def _recorded(results: Path) -> list[Folder]:
    """The folders under ``results`` that hold records.

    Raises:
        UserError: there are none.
    """
    folders = [folder for path in sorted(results.glob("*/*")) if (folder := Folder(path)).has_records]
    if not folders:
        raise UserError(f"{results}: no records in any <experiment>/<scale>/runs; `scalpel sweep` makes them")
    return folders


def _read(folder: Folder) -> tuple[list[Record], AnyExperiment | None, list[str]]:
    """The records that belong to a folder's sweep, its experiment, and a line for all that is left out.

    A folder of single runs (`scalpel run`) has no experiment.

    Raises:
        UserError: there are no valid records.
    """
    records, left_out = folder.read()
    if not records:
        raise UserError(none_of(folder, left_out))
    if not (folder.path / derive.FILE).exists():
        return records, None, left_out
    experiment, _ = derive.read_manifest(folder)
    left_out = derive.derive(folder).left_out
    if isinstance(experiment, Experiment):
        kept = set(pd.read_csv(folder.path / "summary.csv")["id"])
        records = [record for record in records if record.id in kept]
    return records, experiment, left_out


def _save(sweeps: list[Sweep], tracker: Tracker) -> int:
    """Create or update the views in W&B."""
    for sweep in sweeps:
        entity = tracker.sent[sweep.analysis.id]["entity"]
        for view in views.build(sweep, entity, tracker.project):
            try:
                terminal.say(f"{view.name}: {views.save(view)}")
            except Exception as error:
                cause = str(error).partition("\n")[0]
                terminal.warn(f"W&B: the view {view.name} was not saved ({cause}); run this again")
                return 3
    return 0


def _write(sweeps: list[Sweep], tracker: Tracker) -> int:
    """Write the views to files, since W&B takes them online only."""
    folder = tracker.folder / "wandb" / "views"
    folder.mkdir(exist_ok=True)
    for sweep in sweeps:
        for view in views.build(sweep, tracker.entity or "", tracker.project):
            file = folder / f"{view.name.replace('/', '-').replace(': ', '-')}.json"
            write_atomically(file, json.dumps(views.spec(view), indent=1, ensure_ascii=False) + "\n")
    if sweeps:
        terminal.say(f"saved views: {folder}; `scalpel dashboard --wandb online` puts them into W&B")
    return 0
