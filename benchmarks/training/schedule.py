"""The schedules of the learning rate and of λ."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..experiments.lam import check_lam
from ..experiments.settings import Training, TrainingRun


def learning_rate_factor(training: Training, steps_per_epoch: int, steps: int) -> Callable[[int], float]:
    """The factor on the learning rate of step 0, 1, …: linear warm-up, then constant or cosine to zero."""
    warmup = round(training.warmup_epochs * steps_per_epoch)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        if training.schedule == "constant":
            return 1.0
        return (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1))) / 2

    return factor


class Lams:
    """λ of runs in lock step; a schedule moves the tensors that it has given out, in place.

    ``inverse`` tends to 0 with a sum that does not converge, as iterative regularisation asks: Solodov 2007,
    "An explicit descent method for bilevel convex optimization", Journal of Convex Analysis 14.

    Args:
        runs: of one training, which has the schedule.
        steps_per_epoch: of the task.
        steps: of the whole training.
        device: of the tensors.

    Raises:
        ValueError: λ is no weight to a method whose training takes it for one.
    """

    def __init__(self, runs: Sequence[TrainingRun], steps_per_epoch: int, steps: int, device: str) -> None:
        for run in runs:
            check_lam(run.label, run.method, run.training)
        self.schedule = runs[0].training.lam_schedule
        self.steps_per_epoch, self.steps, self.device = steps_per_epoch, steps, device
        self.factor = 1.0
        """On the λ of the last step."""
        self.given: list[tuple[Tensor, Tensor]] = []

    def of(self, lam: float | list[float]) -> float | Tensor:
        """A method's λ, of one run ``()`` or of several ``(N,)``; a number where it is one and stays."""
        if isinstance(lam, float) and not self.schedule:
            return lam
        whole = torch.tensor(lam, dtype=torch.float64, device=self.device)
        self.given.append((whole, whole.clone()))
        return self.given[-1][1]

    def move(self, step: int) -> None:
        """To those of step 0, 1, …"""
        if not self.schedule:
            return
        linear = self.schedule == "linear"
        self.factor = 1 - step / self.steps if linear else 1 / (1 + step / self.steps_per_epoch)
        for whole, now in self.given:
            torch.mul(whole, self.factor, out=now)
