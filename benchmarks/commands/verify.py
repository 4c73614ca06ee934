"""``scalpel results verify``: does a folder hold every cell of its grid once, each record sound?."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd

from scalpel_bench import methods, tasks
from scalpel_bench.benchmarks.commands.planning import fingerprint_of
from scalpel_bench.benchmarks.commands.sweep import sweep
from scalpel_bench.benchmarks.execution import ExecutionOptions
from scalpel_bench.benchmarks.experiments.schema import AnyExperiment, Experiment, MixedLossExperiment
from scalpel_bench.benchmarks.experiments.settings import AnyRun, DataRecord, TrainingRun
from scalpel_bench.benchmarks.messages import UserError, terminal
from scalpel_bench.benchmarks.records.folder import Folder
from scalpel_bench.benchmarks.report import derive

COLUMNS = ["what", "where", "why"]
_ANY = DataRecord(name="any", fingerprint="0")


def verify(path: Path, repair: ExecutionOptions | None) -> int:
    """Show what is wrong with a folder. Returns the exit status.

    Args:
        path: of the folder.
        repair: how runs that are missing or failed are executed first; None to leave the folder as it is.

    Raises:
        UserError: the folder has no manifest, or cannot be repaired.
    """
    folder = Folder(path)
    if repair is not None:
        experiment = _repairable(folder)
        _check_data(folder, fingerprint_of(experiment, repair))
        sweep([experiment], repair, path.absolute().parent.parent, False, "disabled")
    found = findings(folder)
    if found.empty:
        return 0
    terminal.table(f"{path}: {len(found)} findings", found)
    return 3


def findings(folder: Folder) -> pd.DataFrame:
    """What is wrong with a folder, a row each: ``bad``, ``foreign``, ``double``, ``failed``, ``missing``.

    No data is loaded and no code of a plugin: cells are compared by all settings but the data, whose
    fingerprint is that of the manifest ``experiment.json``.

    Raises:
        UserError: the folder has no manifest.
    """
    experiment, fingerprint = derive.read_manifest(folder)
    records, rejected = folder.read()
    found = [("bad", *line.split(": ", 1)) for line in rejected]
    own = []
    for record in records:
        run = record.run
        if (run.experiment, run.scale) != (experiment.name, experiment.scale):
            found.append(("foreign", record.id, f"a run of {run.experiment} at scale {run.scale}"))
        elif _is_of_other_data(run, experiment, fingerprint):
            found.append(("foreign", record.id, "a run on other data"))
        else:
            own.append(record)
    counts = Counter(_cell(record.run) for record in own)
    for record in own:
        if counts[_cell(record.run)] > 1:
            found.append(("double", record.id, f"another record has the same settings: {_title(record.run)}"))
        if record.status == "failed":
            reason = (record.reason or "no reason").splitlines()[0]
            found.append(("failed", record.id, f"{_title(record.run)}: {reason}"))
    planned: list[AnyRun] = list(experiment.plan(lambda settings: _ANY))
    for run in planned:
        if _cell(run) not in counts:
            found.append(("missing", "–", _title(run)))
    return pd.DataFrame(found, columns=COLUMNS)


def _repairable(folder: Folder) -> AnyExperiment:
    """The experiment whose sweep brings what is missing in a folder.

    Raises:
        UserError: there is none, or a plugin that it needs is not installed.
    """
    experiment, _ = derive.read_manifest(folder)
    place = folder.path.absolute()
    if (place.parent.name, place.name) != (experiment.name, experiment.scale):
        raise UserError(f"{folder.path}: a sweep of it writes to {experiment.name}/{experiment.scale}")
    if isinstance(experiment, MixedLossExperiment):
        raise UserError(f"{folder.path} has no runs of its own: repair those of {experiment.source}")
    if isinstance(experiment, Experiment):
        used = {settings["name"] for settings in experiment.methods.values()} - set(methods.available())
        used |= {experiment.task["name"]} - set(tasks.available())
        if used:
            raise UserError(f"{', '.join(sorted(used))}: not installed; repeat the sweep that names its file")
    return experiment


def _check_data(folder: Folder, fingerprint: str | None) -> None:
    """Refuse data that is not that of a folder's records.

    Raises:
        UserError: it is not.
    """
    _, recorded = derive.read_manifest(folder)
    if recorded != fingerprint:
        raise UserError(
            f"{folder.path}: its runs saw other data (fingerprint {recorded}): give it with --data"
        )


def _is_of_other_data(run: AnyRun, experiment: AnyExperiment, fingerprint: str | None) -> bool:
    if not isinstance(run, TrainingRun) or not isinstance(experiment, Experiment):
        return False
    varied = any(axis.startswith("task.") for axis in experiment.axes)
    return not varied and run.data.fingerprint != fingerprint


def _cell(run: AnyRun) -> str:
    return run.model_copy(update={"data": _ANY}).id if isinstance(run, TrainingRun) else run.id


def _title(run: AnyRun) -> str:
    lam = f" λ={run.lam:g}" if isinstance(run, TrainingRun) else ""
    rate = f" lr={run.training.lr:g}" if isinstance(run, TrainingRun) else ""
    return f"{run.label}{lam}{rate} seed {run.seed}"
