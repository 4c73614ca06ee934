"""Which records belong to a sweep: one rule, for tables, pages, uploads and checks alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..experiments.loading import AnyExperiment
from ..experiments.schema import Experiment
from ..experiments.settings import (
    LEARNING_RATE,
    AnyRun,
    DataRecord,
    TrainingRun,
    variation,
)
from .record import Record

ANY_DATA = DataRecord(name="any", fingerprint="0")


class LeftOut(NamedTuple):
    """A record that does not count, and why; ``second`` where another record has the same settings."""

    record: Record
    reason: str
    second: bool = False

    def __str__(self) -> str:
        return f"{self.record.id}: {self.reason}"


def sort_out(
    records: list[Record], experiment: AnyExperiment, fingerprint: str | None
) -> tuple[list[Record], list[LeftOut]]:
    """The records that belong to an experiment, one of each method's runs, and those that do not count.

    A record belongs where its experiment, scale and all settings but those of the axes are the experiment's,
    and its data are the sweep's. Where the data's fingerprint is not known, or the task is an axis, they are
    those of most records with the same label.

    A run that has the same settings under several of the experiment's labels is planned and trained once,
    under the last of them; its record is among those of each, first under the label that it was trained
    under. `once` leaves these repetitions out.
    """
    if not isinstance(experiment, Experiment):
        return _simulations(records, experiment)
    seen = Counter((r.run.label, r.run.data.fingerprint) for r in records if isinstance(r.run, TrainingRun))
    own: dict[tuple[Any, ...], Record] = {}
    left_out = []
    for record in records:
        run = record.run
        if not isinstance(run, TrainingRun):
            left_out.append(LeftOut(record, "not a training run"))
        elif reason := _foreign(record, run, experiment) or _other_data(run, fingerprint, seen):
            left_out.append(LeftOut(record, reason))
        else:
            twin = own.setdefault(cell(run), record)
            if twin is not record:
                reason = f"a second record of the same method, λ, learning rate and seed as {twin.id}"
                left_out.append(LeftOut(record, reason, second=True))
    return [each for record in own.values() for each in _of_all_labels(record, experiment, own)], left_out


def once(records: Iterable[Record]) -> list[Record]:
    """Each run once, under the label that it was trained under; for what is counted, stored or sent."""
    found: dict[str, Record] = {}
    for record in records:
        found.setdefault(record.id, record)
    return list(found.values())


def _of_all_labels(
    record: Record, experiment: Experiment, own: Container[tuple[Any, ...]]
) -> Iterator[Record]:
    """A record, and once more for each other method of which no record is its own and it is a run, too."""
    yield record
    run = record.run
    assert isinstance(run, TrainingRun)
    for label, settings in experiment.methods.items():
        like_it = label != run.method_label and settings["name"] == run.method["name"]
        if not like_it or not experiment.runs_at(label, run.lam):
            continue
        twin = run.model_copy(update={"label": label + variation(run.axes)})
        if cell(twin) not in own and _foreign(record, twin, experiment) is None:
            yield record.model_copy(update={"run": twin})


def cell(run: AnyRun) -> tuple[Any, ...]:
    """What tells the runs of one sweep apart, whatever data they saw."""
    if isinstance(run, TrainingRun):
        return (run.label, run.lam, run.training.lr, run.seed)
    return (run.label, run.seed)


def _foreign(record: Record, run: TrainingRun, experiment: Experiment) -> str | None:
    """Why a record is not one of the experiment's, or None."""
    if (run.experiment, run.scale) != (experiment.name, experiment.scale):
        return f"of {run.experiment} at scale {run.scale}"
    if record.status == "completed" and not record.trajectory:
        return "completed, but with no trajectory"
    if (
        record.status == "completed"
        and not {"main", "aux"} <= (record.trajectory[-1].get("train") or {}).keys()
    ):
        return "completed, but with no main and auxiliary loss on train at its end"
    label = run.method_label
    if label not in experiment.methods:
        return f"method {label} is not in the experiment"
    sections = {
        "task": (run.task, experiment.task),
        "method": (run.method, experiment.settings_of(label, run.axes)),
        "training": (run.training.model_dump(), experiment.training_of(label).model_dump()),
    }
    for section, (has, expected) in sections.items():
        has, expected = (_plain(settings) for settings in (has, expected))
        for key in sorted(has.keys() | expected.keys()):
            path = f"{section}.{key}"
            if path != LEARNING_RATE and path not in run.axes and has.get(key) != expected.get(key):
                return f"{path} is {has.get(key)}, not {expected.get(key)}"
    return None


def _other_data(run: TrainingRun, fingerprint: str | None, seen: Counter[tuple[str, str]]) -> str | None:
    """Why a run's data are not the sweep's, or None; ``seen`` counts labels with their data."""
    if not fingerprint or any(axis.startswith("task.") for axis in run.axes):
        same = {data: count for (label, data), count in seen.items() if label == run.label}
        fingerprint = max(same, key=lambda data: same[data])
    if run.data.fingerprint == fingerprint:
        return None
    return f"data {run.data.name} ({run.data.fingerprint}) is not the sweep's"


def _simulations(records: list[Record], experiment: AnyExperiment) -> tuple[list[Record], list[LeftOut]]:
    """The records of a simulation with the same settings."""
    plan: list[AnyRun] = list(experiment.plan(lambda settings: ANY_DATA))
    planned = plan[0] if plan else None
    own, left_out = [], []
    for record in records:
        run = record.run
        if (run.experiment, run.scale) != (experiment.name, experiment.scale):
            left_out.append(LeftOut(record, f"of {run.experiment} at scale {run.scale}"))
        elif planned is None or not _alike(run, planned):
            left_out.append(LeftOut(record, "its settings are not the sweep's"))
        else:
            own.append(record)
    return own, left_out


def _alike(run: AnyRun, planned: AnyRun) -> bool:
    """Whether two simulations differ in nothing but their seed, and the last digits of a grid."""
    has, wants = (r.model_dump(exclude={"seed", "label"}) for r in (run, planned))
    return has.keys() == wants.keys() and all(
        has[key] == value
        if isinstance(value, str)
        else np.shape(has[key]) == np.shape(value) and np.allclose(has[key], value, rtol=1e-9, atol=0)
        for key, value in wants.items()
    )


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()}
