"""Recorded sweeps in W&B, without training again: their runs, tables, figures and saved views."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from ...words import first_line
from ..analysis.analyses import Analysis, TrainingAnalysis, analyse
from ..messages import UserError, terminal
from ..records import (
    Folder,
    Record,
    has_manifest,
    load_sweep,
    none_of,
    write_atomically,
)
from ..report import write_files
from . import saved_views
from .runs import WandbRun, of_record, of_sweep
from .saved_views import SentSweep
from .tracker import Tracker


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
    sweeps: list[SentSweep] = []
    taken: dict[str, Path] = {}
    with Tracker(mode, results, project, entity, yields=False) as tracker:
        for folder in folders:
            analysis, records, left_out = _read(folder)
            left_out += [f"{r.id}: sent from {taken[r.id]} already" for r in records if r.id in taken]
            runs = [of_record(record) for record in records if record.id not in taken]
            _put(runs, folder, tracker, taken)
            if runs and analysis:
                of_all = of_sweep(analysis)
                if of_all.id in taken:
                    other = taken[of_all.id]
                    raise UserError(
                        f"{folder.path} and {other} are parts of one sweep: put their runs/ together"
                    )
                _put([of_all], folder, tracker, taken)
                if isinstance(analysis, TrainingAnalysis):
                    sweeps.append(SentSweep(runs, of_all))
            for line in left_out:
                terminal.warn(f"left out: {line}")
            terminal.say(f"{folder.path}: {len(runs)} runs to send, {len(left_out)} left out")
    if tracker.unsent:
        return 3
    return _save(sweeps, tracker) if mode == "online" else _write(sweeps, tracker, paths)


def _put(runs: Iterable[WandbRun], folder: Folder, tracker: Tracker, taken: dict[str, Path]) -> None:
    for run in runs:
        taken[run.id] = folder.path
        tracker.put(run, folder)


def _recorded(results: Path) -> list[Folder]:
    """The folders under ``results`` that hold records.

    Raises:
        UserError: there are none.
    """
    folders = [folder for path in sorted(results.glob("*/*")) if (folder := Folder(path)).has_records]
    if not folders:
        raise UserError(f"{results}: no records in any <experiment>/<scale>/runs; `scalpel sweep` makes them")
    return folders


def _read(folder: Folder) -> tuple[Analysis | None, list[Record], list[str]]:
    """What is derived from a folder's sweep, its records, and a line for all that is left out.

    A folder of single runs (`scalpel run`) is no sweep.

    Raises:
        UserError: there are no valid records.
    """
    if has_manifest(folder):
        analysis = analyse(load_sweep(folder))
        write_files(analysis)
        return analysis, analysis.runs, analysis.sweep.not_counted
    records, left_out = folder.read()
    if not records:
        raise UserError(none_of(folder, left_out))
    return None, records, left_out


def _save(sweeps: list[SentSweep], tracker: Tracker) -> int:
    """Create or update the views in W&B."""
    for sweep in sweeps:
        entity = tracker.sent[sweep.analysis.id]["entity"]
        for view in saved_views.build(sweep, entity, tracker.project):
            try:
                terminal.say(f"{view.name}: {saved_views.save(view)}")
            except Exception as error:
                cause = first_line(error)
                terminal.warn(f"W&B: the view {view.name} was not saved ({cause}); run this again")
                return 3
    return 0


def _write(sweeps: list[SentSweep], tracker: Tracker, paths: list[Path]) -> int:
    """Write the views to files, since W&B takes them online only."""
    folder = tracker.folder / "wandb" / "views"
    folder.mkdir(exist_ok=True)
    for sweep in sweeps:
        for view in saved_views.build(sweep, tracker.entity or "", tracker.project):
            file = folder / f"{view.name.replace('/', '-').replace(': ', '-')}.json"
            write_atomically(file, json.dumps(saved_views.spec(view), indent=1, ensure_ascii=False) + "\n")
    if sweeps:
        terminal.say(f"saved views: {folder}; this puts them into W&B: {tracker.command(paths, 'online')}")
    return 0
