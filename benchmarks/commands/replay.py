"""``scalpel results replay``: compute some recorded runs again, and say whether the bits agree."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ..execution import ExecutionOptions, code_of, describe_data, get_task, threads
from ..experiments.settings import TrainingRun
from ..messages import UserError, terminal
from ..records import Folder, Origin, Record, adopt, adopted, load_sweep, origin_of
from ..simulations import SIMULATIONS
from ..training import train

ROUNDING = 1e-3
"""Relative difference up to which a run of a population agrees with the same run trained alone."""


@dataclass(frozen=True)
class Replayed:
    """A record whose run was computed again: over how many steps, and the first value that differs."""

    record: Record
    steps: int
    difference: str = ""

    @property
    def verdict(self) -> str:
        """In words."""
        return self.difference or "the same bits"


def replay(path: Path, sample: int, whole: bool, options: ExecutionOptions, seed: int = 0) -> int:
    """Compute recorded runs of a folder again and compare them bit by bit. Returns the exit status.

    Where every run of a group (the same code, method and task) that was drawn agrees, the group's records
    are adopted: a sweep uses them again, though the code has changed since.

    Args:
        path: of the folder.
        sample: how many runs, drawn in turns from the groups; 0 for all.
        whole: whether runs are computed to their end, and not to their first evaluation.
        options: what data they see, and on what device.
        seed: of the draw.

    Raises:
        UserError: the folder has no records of a sweep, or its runs saw other data.
    """
    sweep = load_sweep(Folder(path))
    groups: dict[Origin, list[Record]] = {}
    for record in sweep.records:
        if record.status != "failed":
            groups.setdefault(origin_of(record), []).append(record)
    drawn = list(_drawn(groups, sample, random.Random(seed)))
    _check_data(drawn, options)
    replayed = [_again(r, whole, options) for r in terminal.progress(drawn, len(drawn), "replayed")]
    rows = [
        {"run": each.record.id, "of": _title(each.record), "steps": each.steps, "found": each.verdict}
        for each in replayed
    ]
    terminal.table(f"{path}: {len(rows)} of {len(sweep.records)} runs computed again", pd.DataFrame(rows))
    _adopt(sweep.folder, groups, replayed)
    return 3 if any(each.difference for each in replayed) else 0


def _drawn(groups: dict[Origin, list[Record]], sample: int, draw: random.Random) -> Iterator[Record]:
    """So many records, one of each group after the other."""
    order = [draw.sample(records, len(records)) for _, records in sorted(groups.items())]
    turns = [
        records[turn] for turn in range(max(map(len, order))) for records in order if turn < len(records)
    ]
    yield from turns[: sample or None]


def _check_data(records: list[Record], options: ExecutionOptions) -> None:
    """Refuse data that is not what the runs saw.

    Raises:
        UserError: it is not.
    """
    for run in (record.run for record in records):
        if (
            isinstance(run, TrainingRun)
            and describe_data(run.task, options).fingerprint != run.data.fingerprint
        ):
            raise UserError(
                f"its runs saw other data, {run.data.name} ({run.data.fingerprint}): give it with --data"
            )


def _again(record: Record, whole: bool, options: ExecutionOptions) -> Replayed:
    run = record.run
    count = record.environment.get("threads")
    with threads(count if isinstance(count, int) and count > 0 else 1):
        if not isinstance(run, TrainingRun):
            rows = SIMULATIONS[run.kind].simulate(run)
            return Replayed(record, len(rows), _difference(record.trajectory, rows, 0.0))
        evaluations = None if whole else 1
        outcome = train([run], get_task(run.task, options), evaluations=evaluations)[0]
    known = record.trajectory[: None if whole else 2]
    steps = outcome.trajectory[-1]["step"] if outcome.trajectory else outcome.diverged_at or 0
    tolerance = 0.0 if origin_of(record).population == 1 else ROUNDING
    return Replayed(record, steps, _difference(known, outcome.trajectory, tolerance))


def _difference(recorded: list[dict[str, Any]], computed: list[dict[str, Any]], tolerance: float) -> str:
    """The first value of a record that is computed otherwise, in words; keys new to a row are passed over."""
    if len(recorded) != len(computed):
        return f"{len(recorded)} rows recorded, {len(computed)} computed"
    for then, now in zip(recorded, computed, strict=True):
        for key, value in _values(then):
            again = dict(_values(now)).get(key)
            if value != again and not _close(value, again, tolerance):
                return f"{key} was {value}, is {again}"
    return ""


def _values(row: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in row.items():
        if isinstance(value, dict):
            yield from _values(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _close(value: Any, again: Any, tolerance: float) -> bool:
    if not isinstance(value, float) or not isinstance(again, float):
        return False
    return abs(value - again) <= tolerance * max(abs(value), abs(again))


def _adopt(folder: Folder, groups: dict[Origin, list[Record]], replayed: list[Replayed]) -> None:
    """Note the groups of older code all of whose replayed runs agree; say what that leaves."""
    for origin, records in sorted(groups.items()):
        own = [each for each in replayed if origin_of(each.record) == origin]
        code = code_of(records[0].run)
        if origin.code == code or (origin, code) in adopted(folder):
            continue
        words = f"{len(records)} records of {origin.method} by {origin.code}"
        if not own:
            terminal.say(f"{words}: none was drawn; a larger --sample tries them")
        elif not any(each.difference for each in own):
            adopt(folder, origin, code, [each.record.id for each in own], min(each.steps for each in own))
            terminal.say(f"{words}: adopted, as {len(own)} of them computed again gave the same")


def _title(record: Record) -> str:
    run = record.run
    if not isinstance(run, TrainingRun):
        return f"{run.label} seed {run.seed}"
    return f"{run.label} λ={run.lam:g} lr={run.training.lr:g} seed {run.seed}"
