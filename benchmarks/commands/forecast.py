"""What a long command will take, and what it can answer, told before it starts."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ... import methods, tasks
from ..analysis.statistics import SEEDS_FOR_A_VERDICT
from ..execution import ExecutionOptions, Job, as_key, get_task
from ..experiments.claims import OWN, Claim, Cost
from ..experiments.loading import AnyExperiment
from ..experiments.settings import TrainingRun
from ..messages import terminal
from .plan import BUSY, Measured, duration, measure, size

BUDGET = 0.3
"""Seconds of timed steps per kind of run; at least one step is timed."""
SIMULATED = 5.0
"""Seconds of a run that trains nothing, about."""
STAND_IN = {"name": "bloop"}
"""Whose steps are measured for those of a method from outside the suite, which runs in workers alone."""
_RUNS = "these runs"
_MINIATURE = "not about the paper, since at this scale the experiment is a miniature"
_SEEDS = f"not from fewer than {SEEDS_FOR_A_VERDICT} seeds"
_BENCH = "not from runs, but by `scalpel bench --part a --device cpu`, which times steps"


@dataclass(frozen=True)
class Forecast:
    """What runs will take."""

    seconds: Mapping[str, float]
    """Of each run by its id, one at a time, as long as the machine is as busy as now."""
    disk: float
    """Bytes of the records, and of the checkpoints of those that run at a time."""
    busy: float
    """The share of the measured steps' time in which the processor did other work."""
    slots: int
    guessed: int
    """How many of the runs could not be measured, and are taken for runs that train nothing."""

    @property
    def total(self) -> float:
        """Seconds of all runs on all slots."""
        return math.fsum(self.seconds.values()) / self.slots


def forecast(jobs: Sequence[Job], options: ExecutionOptions) -> Forecast:
    """Measure a few steps of each kind of run here, one at a time: on a GPU, populations take less.

    A method from outside the suite has its steps measured with `STAND_IN`; a task from outside has none.
    """
    alike: dict[Hashable, list[TrainingRun]] = {}
    seconds = {job.run.id: SIMULATED for job in jobs}
    training_runs = [job.run for job in jobs if isinstance(job.run, TrainingRun)]
    for run in training_runs:
        if tasks.origin(run.task["name"]) is None:
            kind = as_key(run.task), run.training.model_copy(update={"lr": 1.0})
            alike.setdefault(kind, []).append(run)
    guessed = len(training_runs)
    records, checkpoints, busy = 0, [0], [0.0]
    for runs in alike.values():
        one = _measured(runs, options.in_this_process)
        if one is None:
            continue
        training = runs[0].training
        steps = training.epochs * get_task(runs[0].task, options.in_this_process).steps_per_epoch
        rows = 1 + min(training.evaluations, steps)
        each = steps * one.step + rows * one.evaluation
        seconds |= {run.id: each for run in runs}
        guessed -= len(runs)
        records += len(runs) * rows * one.row
        checkpoints.append(one.checkpoint)
        busy.append(one.busy)
    slots = max(1, min(options.workers, len(jobs)))
    return Forecast(
        seconds, records + slots * max(checkpoints), sum(busy) / max(1, len(busy) - 1), slots, guessed
    )


def _measured(runs: Sequence[TrainingRun], options: ExecutionOptions) -> Measured | None:
    """Of the first run that computes both gradients apart; nothing where it fails: the sweep says how."""
    run = next((run for run in runs if run.label != "sum"), runs[0])
    if any(map(methods.origin, run.methods)):
        training = run.training.model_copy(update={"step_of": None})
        run = run.model_copy(update={"method": STAND_IN, "training": training})
    try:
        return measure(run, get_task(run.task, options), BUDGET)
    except Exception:
        return None


def announce_cost(told: Forecast, count: int, results: Path) -> None:
    """Say the minutes and the disk space; and that the machine is busy, where it is."""
    place = next(path for path in (results, *results.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    terminal.say(
        f"{count} runs: about {duration(told.total)} on {told.slots} at a time, by the first steps of each "
        f"kind; {size(told.disk)} on disk, where {size(free)} are free"
    )
    if told.guessed:
        terminal.warn(f"{told.guessed} of these runs could not be measured: they may take far longer")
    if told.busy > BUSY:
        terminal.say(
            f"this machine is busy: a process gets {1 - told.busy:.0%} of a core; alone, the runs would take "
            f"about {duration(told.total * (1 - told.busy))}"
        )
    if told.disk > free:
        terminal.warn(f"{results}: the records will not fit on this disk")


def announce_claims(experiments: Iterable[AnyExperiment]) -> None:
    """Say how many claims these runs can answer, and why not the others."""
    kinds = {e.name: Counter(_answerable(e, claim) for claim in e.claims) for e in experiments}
    counts = sum(kinds.values(), Counter[str]())
    where = ", ".join(f"{name} {own[_RUNS]}" for name, own in kinds.items() if own[_RUNS])
    terminal.say(
        f"these runs can answer {counts[_RUNS]} of {counts.total()} claims{f' ({where})' if where else ''}"
    )
    for why in (_MINIATURE, _SEEDS, _BENCH):
        if counts[why]:
            terminal.say(f"  {why}: {counts[why]}")


def _answerable(experiment: AnyExperiment, claim: Claim) -> str:
    if isinstance(claim, Cost):
        return _BENCH
    if experiment.miniature and claim.paper != OWN:
        return _MINIATURE
    return _RUNS if experiment.seeds >= SEEDS_FOR_A_VERDICT else _SEEDS
