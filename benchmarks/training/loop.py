"""The training loop, for one run or several in lock step: steps, evaluations, checkpoints."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from ...tasks import Task
from ..experiments.settings import TrainingRun
from . import stopping
from .checkpoints import NO_CHECKPOINT, Checkpoint, State
from .stepper import Stepper, stream

Trajectory = list[dict[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """The trajectory of a run, the step at which it left the finite numbers (or None), and seconds spent."""

    trajectory: Trajectory
    diverged_at: int | None
    timings: dict[str, float]


def train(
    runs: Sequence[TrainingRun],
    task: Task,
    on_step: Callable[[int], None] = lambda step: None,
    checkpoint: Checkpoint = NO_CHECKPOINT,
    evaluations: int | None = None,
) -> list[Outcome]:
    """Train runs in lock step to their end; one whose losses or parameters are not finite stops there.

    The seed alone decides a run's initial parameters, batches and any randomness of the model; the method
    changes none of them, nor do the other runs.

    Args:
        runs: of the same task, data and training; a population where there are several.
        task: the task that they share.
        on_step: called after every step with its number.
        checkpoint: where their state is kept. What it holds is not computed again, but for the batches: they
            are drawn and left, so that the next is the one that came next.
        evaluations: of training, after which to end; None for all.

    Returns:
        one outcome per run; the seconds of a population are shared out evenly.

    Raises:
        Interrupted: the runs were asked to stop.
        UserError: the checkpoint cannot be written.
    """
    with torch.random.fork_rng():
        stepper = Stepper(runs, task)
        torch.manual_seed(stream(runs[0].seed, "model"))
        steps, count = stepper.steps, runs[0].training.evaluations
        evaluate_at = {round(n * steps / count) for n in range(1, count + 1)}
        last = steps if evaluations is None else sorted(evaluate_at)[evaluations - 1]
        batches = stepper.batches()
        trajectories = _Trajectories(stepper)
        if (saved := checkpoint.load()) is None:
            trajectories.evaluate(0)
        else:
            deque(islice(batches, saved["done"]), maxlen=0)
            stepper.restore(saved)
            trajectories.restore(saved)
        for step in range(int(stepper.done) + 1, last + 1):
            if trajectories.over:
                break
            if step in evaluate_at:
                stepper.diagnosed_step(next(batches))
                trajectories.evaluate(step)
            else:
                stepper.step(next(batches))
            on_step(step)
            if step < steps:
                asked = stopping.is_asked()
                if checkpoint.due(asked):
                    checkpoint.save({**stepper.snapshot(), **trajectories.snapshot()})
                if asked:
                    raise stopping.Interrupted
        return trajectories.outcomes()


class _Trajectories:
    """The trajectories of the runs of a stepper, and the seconds spent on them."""

    def __init__(self, stepper: Stepper) -> None:
        self.stepper = stepper
        self.rows: list[Trajectory] = [[] for _ in stepper.runs]
        self.diverged_at: list[int | None] = [None for _ in stepper.runs]
        self.started = time.perf_counter()
        self.evaluating = 0.0

    @property
    def over(self) -> bool:
        """Whether every run has diverged."""
        return None not in self.diverged_at

    def evaluate(self, step: int) -> None:
        """Append a row to each run; the step of divergence, and no row, where something is not finite.

        Raises:
            ValueError: a loss was one that the method is not defined for.
        """
        self.stepper.check_losses()
        bad = self.stepper.bad_step.reshape(-1).tolist()
        started = time.perf_counter()
        self.stepper.models.module.eval()
        for replica, trajectory in enumerate(self.rows):
            if self.diverged_at[replica] is not None:
                continue
            row = self._row(step, replica) if bad[replica] < 0 else None
            if row is None:
                self.diverged_at[replica] = bad[replica] if bad[replica] >= 0 else step
            else:
                trajectory.append(row)
        self.evaluating += time.perf_counter() - started

    @torch.no_grad()
    def _row(self, step: int, replica: int) -> dict[str, Any] | None:
        stepper, task = self.stepper, self.stepper.task
        model = stepper.models.model(replica)
        metrics = {split: task.evaluate(model, split) for split in task.splits}
        if step == stepper.steps:
            metrics = {split: {**values, **task.final(model, split)} for split, values in metrics.items()}
        if not all(math.isfinite(v) for values in metrics.values() for v in values.values()):
            return None
        diagnostics = stepper.diagnostics(replica) if step else {}
        return {"step": step, "epoch": step / task.steps_per_epoch, **metrics, "diagnostics": diagnostics}

    def snapshot(self) -> State:
        """The rows so far, and the seconds."""
        return {
            "trajectories": self.rows,
            "diverged_at": self.diverged_at,
            "seconds": time.perf_counter() - self.started,
            "evaluating": self.evaluating,
        }

    def restore(self, saved: State) -> None:
        """Go on from these."""
        self.rows, self.diverged_at = saved["trajectories"], saved["diverged_at"]
        self.evaluating = saved["evaluating"]
        self.started = time.perf_counter() - saved["seconds"]

    def outcomes(self) -> list[Outcome]:
        """What is recorded, in the order in which the runs were given."""
        count = len(self.rows)
        seconds = time.perf_counter() - self.started - self.evaluating
        steps = max(int(self.stepper.done), 1)
        timings = {
            "train": seconds / count,
            "evaluate": self.evaluating / count,
            "step": seconds / count / steps,
        }
        ended = [
            Outcome(trajectory, diverged_at, timings)
            for trajectory, diverged_at in zip(self.rows, self.diverged_at, strict=True)
        ]
        return [ended[self.stepper.order.index(i)] for i in range(count)]
