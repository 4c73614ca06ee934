"""``scalpel results replay``: compute some recorded runs again, and say whether the bits agree."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ... import tasks
from ..execution import ExecutionOptions, code_of, describe_data, get_task, threads, title_of
from ..experiments.settings import TrainingRun
from ..messages import UserError, terminal
from ..records import Folder, Origin, Record, adopt, adopted, cell, environment, load_sweep, origin_of
from ..simulations import SIMULATIONS
from ..training import train
from .planning import code_here

ROUNDING = 1e-3
"""Relative difference up to which a run agrees that another device or processor trained, or a population."""
DEVIATIONS = 3.0
"""Training may have made more of the rounding: such a run agrees if its losses differ by no more than so many
standard deviations over the seeds of its sweep."""
MADE_BY = ("device", "processor", "torch", "platform")
"""What of a record's environment decides its bits."""


@dataclass(frozen=True)
class Replayed:
    """A record whose run was computed again: over how many steps, and the first value that differs."""

    record: Record
    steps: int
    difference: str = ""
    agreement: str = "the same bits"

    @property
    def verdict(self) -> str:
        """In words."""
        return self.difference or self.agreement


def replay(path: Path, sample: int, whole: bool, options: ExecutionOptions) -> int:
    """Compute recorded runs of a folder again and compare them bit by bit. Returns the exit status.

    Runs of another device, processor or version, or of a population, agree up to `ROUNDING` or `DEVIATIONS`.

    Where every run of a group (the same code, method and task) that was drawn agrees, the group's records
    are adopted: a sweep uses them again, though the code has changed since.

    Args:
        path: of the folder.
        sample: how many runs, drawn in turns from the groups; 0 for all.
        whole: whether runs are computed to their end, and not to their first evaluation.
        options: what data they see, and on what device.

    Raises:
        UserError: the folder has no records of a sweep, or none that ended, or its runs saw other data.
    """
    sweep = load_sweep(Folder(path))
    groups: dict[Origin, list[Record]] = {}
    for record in sweep.runs:
        if record.status != "failed":
            groups.setdefault(origin_of(record), []).append(record)
    if not groups:
        raise UserError(f"{path}: all of its runs failed; repeat the sweep, which tries them again")
    for origin, records in list(groups.items()):
        if code_here(records[0].run) is None:
            terminal.warn(f"{len(records)} records of {origin.method} are left out: its code is not here")
            del groups[origin]
    if not groups:
        raise UserError(f"{path}: the code of none of its runs is here: a loose file is not part of a record")
    drawn = list(_drawn(groups, sample, random.Random(0)))
    _check_data(path, drawn, options)
    seeds = _Seeds(sweep.records)
    replayed = [_again(r, whole, options, seeds) for r in terminal.progress(drawn, len(drawn), "replayed")]
    rows = [
        {"run": each.record.id, "of": title_of(each.record.run), "steps": each.steps, "found": each.verdict}
        for each in replayed
    ]
    terminal.table(f"{path}: {len(rows)} of {len(sweep.runs)} runs computed again", pd.DataFrame(rows))
    _adopt((sweep.source or sweep).folder, groups, replayed)
    return 3 if any(each.difference for each in replayed) else 0


def _drawn(groups: dict[Origin, list[Record]], sample: int, draw: random.Random) -> Iterator[Record]:
    """So many records, one of each group after the other."""
    order = [draw.sample(records, len(records)) for _, records in sorted(groups.items())]
    turns = [
        records[turn] for turn in range(max(map(len, order))) for records in order if turn < len(records)
    ]
    yield from turns[: sample or None]


def _check_data(path: Path, records: list[Record], options: ExecutionOptions) -> None:
    """Refuse data that is not what the runs saw.

    Raises:
        UserError: it is not.
    """
    for run in (record.run for record in records):
        if (
            isinstance(run, TrainingRun)
            and describe_data(run.task, options).fingerprint != run.data.fingerprint
        ):
            remedy = "give it with --data"
            if tasks.get(run.task["name"]).pretrained:
                remedy += "; a checkpoint depends on the processor that trains it, too"
            saw = f"{run.data.name} (fingerprint {run.data.fingerprint})"
            raise UserError(f"{path}: its runs saw other data, {saw}: {remedy}")


class _Seeds:
    """How far the losses of runs that differ in their seeds alone lie apart."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._alike: dict[Hashable, list[Record]] = {}
        for record in records:
            self._alike.setdefault(cell(record.run)[:-1], []).append(record)

    def distance(self, record: Record, computed: list[dict[str, Any]]) -> float:
        """The largest distance of a loss from the recorded one, in standard deviations over the other seeds.

        Infinite where these are fewer than two, or have not all the rows.
        """
        alike = [r.trajectory for r in self._alike[cell(record.run)[:-1]] if r.id != record.id]
        if len(alike) < 2 or len(computed) > min(map(len, alike)):
            return math.inf
        found = [0.0]
        for then, now, *others in zip(record.trajectory, computed, *alike, strict=False):
            spreads = [dict(_values(other)) for other in others]
            again = dict(_values(now))
            for key, value in _values(then):
                if key.endswith((".main", ".aux")) and not _close(value, again[key], ROUNDING):
                    spread = statistics.stdev(other[key] for other in spreads)
                    found.append(abs(again[key] - value) / spread if spread else math.inf)
        return max(found)


def _again(record: Record, whole: bool, options: ExecutionOptions, seeds: _Seeds) -> Replayed:
    run, here = record.run, environment(options.device)
    alike = origin_of(record).population == 1 and all(record.environment.get(k) == here[k] for k in MADE_BY)
    count = record.environment.get("threads")
    with threads(count if isinstance(count, int) and count > 0 else 1):
        if not isinstance(run, TrainingRun):
            rows = SIMULATIONS[run.kind].simulate(run)
            return _compared(record, len(rows), record.trajectory, rows, alike)
        task = get_task(run.task, options)
        outcome = train([run], task, evaluations=None if whole else _up_to_a_step(run, task))[0]
    known = record.trajectory[: None if whole else 2]
    steps = outcome.trajectory[-1]["step"] if outcome.trajectory else outcome.diverged_at or 0
    found = _compared(record, steps, known, outcome.trajectory, alike)
    if not found.difference or alike or len(known) != len(outcome.trajectory):
        return found
    if (distance := seeds.distance(record, outcome.trajectory)) > DEVIATIONS:
        return found
    return Replayed(record, steps, agreement=f"losses within {distance:.1f} standard deviations over seeds")


def _compared(
    record: Record, steps: int, recorded: list[dict[str, Any]], computed: list[dict[str, Any]], alike: bool
) -> Replayed:
    """What comparing rows finds: every bit where both were made ``alike``, else up to `ROUNDING`."""
    if alike:
        return Replayed(record, steps, _difference(recorded, computed, 0.0))
    if difference := _difference(recorded, computed, ROUNDING):
        return Replayed(record, steps, difference)
    return Replayed(record, steps, agreement="the same, up to rounding")


def _up_to_a_step(run: TrainingRun, task: tasks.Task) -> int:
    """How many evaluations a run's first rows after the start take.

    Where it asks for twice as many as it has steps, or more, the first of them is of the start, which has a
    row without being asked for.
    """
    steps = run.training.epochs * task.steps_per_epoch
    return 1 if round(steps / run.training.evaluations) else 2


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
            found = sorted({each.agreement for each in own})
            adopt(folder, origin, code, [each.record.id for each in own], min(e.steps for e in own), found)
            terminal.say(f"{words}: adopted, as of {len(own)} computed again was found: {'; '.join(found)}")
