"""What a sweep costs before it is started: hours, memory and disk, from steps measured on this machine."""

from __future__ import annotations

import io
import json
import resource
import sys
import time
from dataclasses import dataclass
from itertools import cycle

import pandas as pd
import torch

from scalpel_bench.benchmarks.execution.jobs import Place, describe_data, get_task
from scalpel_bench.benchmarks.experiments.schema import AnyExperiment, Experiment
from scalpel_bench.benchmarks.experiments.settings import DataRecord, TrainingRun
from scalpel_bench.benchmarks.messages.errors import UserError
from scalpel_bench.benchmarks.training import Stepper
from scalpel_bench.tasks import Task

BUDGET = 2.0
"""Seconds of timed steps per kind of run; at least one step is timed."""


@dataclass(frozen=True)
class Measured:
    """Seconds of a step and an evaluation; bytes at the peak, of a row of a record, of a checkpoint."""

    step: float
    evaluation: float
    memory: int
    row: int
    checkpoint: int


def estimate(
    experiment: AnyExperiment, place: Place, slots: int, steps_per_epoch: int | None
) -> tuple[pd.DataFrame, str]:
    """A table with a row per method, and the cost of the whole sweep in a line.

    Args:
        experiment: at the scale in question.
        place: where steps are measured, one run at a time.
        slots: runs that the sweep will execute at a time.
        steps_per_epoch: of the sweep's data, where ``place`` has other data to measure on.

    Raises:
        UserError: the experiment trains nothing, or needs data that is not given.
    """
    if not isinstance(experiment, Experiment):
        raise UserError(f"{experiment.name} trains no models: it takes seconds")
    if experiment.real_data and place.data == "embedded" and steps_per_epoch is None:
        raise UserError(
            f"{experiment.name} at scale {experiment.scale} needs its real data: give --data hub or PATH, "
            "or --steps-per-epoch N to measure its steps on embedded data"
        )
    described: dict[str, DataRecord] = {}
    runs = experiment.plan(
        lambda settings: described.setdefault(str(settings), describe_data(settings, place))
    )
    kinds: dict[str, list[TrainingRun]] = {}
    for run in runs:
        kinds.setdefault(f"{run.label} {run.task} {run.training.model_copy(update={'lr': 1.0})}", []).append(
            run
        )
    rows, seconds, disk, memory = [], 0.0, 0, 0
    for same in kinds.values():
        run, task = same[0], get_task(same[0].task, place)
        one = measure(run, task)
        steps = run.training.epochs * (steps_per_epoch or task.steps_per_epoch)
        of_run = steps * one.step + (run.training.evaluations + 1) * one.evaluation
        seconds += len(same) * of_run
        disk += len(same) * (run.training.evaluations + 1) * one.row + slots * one.checkpoint // len(kinds)
        memory = max(memory, one.memory)
        rows.append(
            {
                "method": run.label,
                "runs": len(same),
                "steps of each": steps,
                "ms a step": 1000 * one.step,
                "s an evaluation": one.evaluation,
                "hours of all": len(same) * of_run / 3600,
            }
        )
    where = "GPU" if place.device.startswith("cuda") else "process"
    total = (
        f"{len(runs)} runs: about {_hours(seconds / slots)} on {slots} at a time ({_hours(seconds)} in all), "
        f"{memory / 2**30:.1f} GiB per {where}, {max(disk / 2**20, 0.1):.1f} MiB on disk; "
        f"measured here, on {place.device}, with {', '.join({data.name for data in described.values()})}"
    )
    return pd.DataFrame(rows), total


def measure(run: TrainingRun, task: Task) -> Measured:
    """A run's first steps, after one that warms up, and the evaluation of its start."""
    with torch.random.fork_rng():
        stepper = Stepper([run], task)
        batches = stepper.batches()
        first = next(batches)
        stepper.step(first)
        int(stepper.done)
        kept = cycle([first, next(batches)])
        started, count = time.perf_counter(), 0
        while count == 0 or (time.perf_counter() - started < BUDGET and count < 100):
            stepper.step(next(kept))
            int(stepper.done)
            count += 1
        step = (time.perf_counter() - started) / count
        started = time.perf_counter()
        stepper.models.module.eval()
        with torch.no_grad():
            model = stepper.models.model(0)
            values = {split: task.evaluate(model, split) for split in task.splits}
        evaluation = time.perf_counter() - started
        row = len(json.dumps({**values, "diagnostics": stepper.diagnostics(0)}))
        content = io.BytesIO()
        torch.save(stepper.snapshot(), content)
    return Measured(step, evaluation, _peak(stepper), row, content.tell())


def _peak(stepper: Stepper) -> int:
    """The most memory taken so far: on the GPU, else by this process."""
    if stepper.models.theta.device.type == "cuda":
        return torch.cuda.max_memory_allocated(stepper.models.theta.device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"
