"""``scalpel plan``: what a sweep will cost in hours, memory and disk, from steps measured here."""

from __future__ import annotations

import io
import json
import resource
import sys
import time
from collections.abc import Hashable
from dataclasses import dataclass
from itertools import cycle

import pandas as pd
import torch

from ...tasks import DataError, Task
from ...words import first_line
from ..execution import ExecutionOptions, as_key, describe_data, get_task, threads
from ..experiments.loading import AnyExperiment
from ..experiments.schema import Experiment
from ..experiments.settings import TrainingRun
from ..messages import UserError
from ..training import Stepper

BUDGET = 2.0
"""Seconds of timed steps per kind of run; at least one step is timed."""

BUSY = 0.15
"""The share of the steps' time from which on other work makes it of no use."""


@dataclass(frozen=True)
class Measured:
    """Seconds of a step and an evaluation; bytes at the peak, of a row of a record, of a checkpoint.

    ``busy`` is the share of the steps' time in which the processor did other work; none of a GPU's is known.
    """

    step: float
    evaluation: float
    memory: int
    row: int
    checkpoint: int
    busy: float


@dataclass(frozen=True)
class Cost:
    """Of all runs that differ in nothing that a step costs."""

    run: TrainingRun
    """One of them."""
    count: int
    steps: int
    """Of each run."""
    one: Measured

    @property
    def seconds(self) -> float:
        """Of all runs, one at a time."""
        return self.count * (self.steps * self.one.step + self.rows * self.one.evaluation)

    @property
    def disk(self) -> int:
        """Bytes of the records."""
        return self.count * self.rows * self.one.row

    @property
    def rows(self) -> int:
        """Of a run's trajectory: its start, and evaluations, of which a step has one at most."""
        return 1 + min(self.run.training.evaluations, self.steps)


def estimate(
    experiment: AnyExperiment, options: ExecutionOptions, slots: int, steps_per_epoch: int | None
) -> tuple[pd.DataFrame, str]:
    """A table with a row per method, and the cost of the whole sweep in a line.

    Args:
        experiment: at the scale in question.
        options: where steps are measured, one run at a time.
        slots: runs that the sweep will execute at a time.
        steps_per_epoch: of the sweep's data, where ``options`` has other data to measure on.

    Raises:
        UserError: the experiment trains nothing, needs data that is not given, or has a step that cannot be
            measured here.
    """
    if not isinstance(experiment, Experiment):
        raise UserError(f"{experiment.name} trains no models: it takes seconds")
    if experiment.real_data and options.data == "embedded" and steps_per_epoch is None:
        raise UserError(
            f"{experiment.name} at scale {experiment.scale} needs its real data: give --data hub or PATH, "
            "or --steps-per-epoch N to measure its steps on embedded data"
        )
    alike: dict[Hashable, list[TrainingRun]] = {}
    for run in experiment.plan(lambda settings: describe_data(settings, options)):
        alike.setdefault(_kind(run), []).append(run)
    costs = []
    for runs in alike.values():
        task = get_task(runs[0].task, options)
        steps = runs[0].training.epochs * (steps_per_epoch or task.steps_per_epoch)
        try:
            one = measure(runs[0], task)
        except (UserError, DataError):
            raise
        except Exception as error:  # too little memory, or whatever a method from outside raises
            problem = f"{type(error).__name__}: {first_line(error)}"
            raise UserError(f"{runs[0].label}: a step of it cannot be measured here: {problem}") from error
        costs.append(Cost(runs[0], len(runs), steps, one))
    return _table(costs), _total(costs, slots, options.device)


def _kind(run: TrainingRun) -> Hashable:
    """What decides the cost of a run: not its learning rate, λ or seed."""
    return run.label, as_key(run.task), run.training.model_copy(update={"lr": 1.0})


def _table(costs: list[Cost]) -> pd.DataFrame:
    rows = [
        {
            "method": cost.run.label,
            "runs": cost.count,
            "steps of each": cost.steps,
            "ms a step": 1000 * cost.one.step,
            "s an evaluation": cost.one.evaluation,
            "hours of all": cost.seconds / 3600,
        }
        for cost in costs
    ]
    return pd.DataFrame(rows)


def _total(costs: list[Cost], slots: int, device: str) -> str:
    seconds = sum(cost.seconds for cost in costs)
    memory = max(cost.one.memory for cost in costs)
    checkpoints = slots * sum(cost.one.checkpoint for cost in costs) / len(costs)
    disk = sum(cost.disk for cost in costs) + checkpoints
    where = "GPU" if device.startswith("cuda") else "process"
    data = dict.fromkeys(cost.run.data.name for cost in costs)
    return (
        f"{sum(cost.count for cost in costs)} runs: about {duration(seconds / slots)} on {slots} at a time "
        f"({duration(seconds)} in all), {memory / 2**30:.1f} GiB per {where}, "
        f"{size(disk)} on disk; measured here, on {device}, with {', '.join(data)}" + _doubt(costs)
    )


def _doubt(costs: list[Cost]) -> str:
    """Why the times are not to be trusted: other work that held the processor while steps were measured."""
    busy = max(cost.one.busy for cost in costs)
    if busy <= BUSY:
        return ""
    return (
        f"\nthese times are not to be trusted: for up to {busy:.0%} of them the processor did other work; "
        "measure again on a free machine"
    )


def measure(run: TrainingRun, task: Task, budget: float = BUDGET) -> Measured:
    """A run's first steps, after one that warms up, and the evaluation of its start."""
    with torch.random.fork_rng(), threads(run.training.threads or 1):
        stepper = Stepper([run], task)
        batches = stepper.batches()
        first = next(batches)
        stepper.step(first)
        int(stepper.done)
        kept = cycle([first, next(batches)])
        started, worked, count = time.perf_counter(), time.process_time(), 0
        while count == 0 or (time.perf_counter() - started < budget and count < 100):
            stepper.step(next(kept))
            int(stepper.done)
            count += 1
        seconds = time.perf_counter() - started
        step, busy = seconds / count, max(0.0, 1 - (time.process_time() - worked) / seconds)
        stepper.diagnosed_step(first)
        started = time.perf_counter()
        stepper.models.module.eval()
        with torch.no_grad():
            model = stepper.models.model(0)
            values = {split: task.evaluate(model, split) for split in task.splits}
        evaluation = time.perf_counter() - started
        row = len(json.dumps({**values, "diagnostics": stepper.diagnostics(0)}))
        content = io.BytesIO()
        torch.save(stepper.snapshot(), content)
        on_cpu = stepper.models.theta.device.type == "cpu"
    return Measured(step, evaluation, _peak(stepper), row, content.tell(), busy if on_cpu else 0.0)


def _peak(stepper: Stepper) -> int:
    """The most memory taken so far: on the GPU, else by this process."""
    if stepper.models.theta.device.type == "cuda":
        return torch.cuda.max_memory_allocated(stepper.models.theta.device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{max(seconds, 2):.0f} seconds"


def size(count: float) -> str:
    """So many bytes in the unit that suits them."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{max(count / 2**20, 0.1):.1f} MiB"
