"""The learning rate's schedule."""

from __future__ import annotations

import math
from collections.abc import Callable

from ..experiments.settings import Training


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
