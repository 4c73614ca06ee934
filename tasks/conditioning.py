"""Two parameters and a known solution: why the projection conditions the problem better."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn

from .bases import Batch, Model, Task
from .data import Data


class _Point(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.point = nn.Parameter(torch.tensor([1.5, 1.0]))


@dataclass
class Conditioning(Task):
    """Main: a²/2. Auxiliary: ((a − 1)² + b²)/2. Both are deterministic and the same on every split.

    The bilevel solution is (0, 0). Mixed training solves to (λ / (1 + λ), 0) with condition number 1 + 1/λ;
    Bloop moves along (a, λ b) and reaches the bilevel solution for every λ > 0. Further metrics: ``a``, ``b``
    and ``distance`` to the bilevel solution. Training starts at (1.5, 1), our own choice.

    Source: Hsieh et al. 2024, arXiv 2402.02998, Section 3.3.
    """

    name: ClassVar[str] = "conditioning"

    @cached_property
    def dataset(self) -> Data:
        """Nothing but the names of the splits."""
        return Data("embedded", "none (analytic losses)", {"train": {}, "validation": {}, "test": {}})

    @property
    def steps_per_epoch(self) -> int:
        """One: there is nothing to sample."""
        return 1

    def build(self) -> nn.Module:
        """The point (a, b)."""
        return _Point()

    def losses(self, model: Model, batch: Batch) -> Iterator[Tensor]:
        """a²/2, then ((a − 1)² + b²)/2."""
        a, b = model.parameters["point"]
        yield a.square() / 2
        yield ((a - 1).square() + b.square()) / 2

    def batches(self, generator: torch.Generator) -> Iterator[Batch]:
        """Empty batches."""
        while True:
            yield {}

    def evaluate(self, model: Model, split: str) -> dict[str, float]:
        """Losses, coordinates and distance to the bilevel solution."""
        main, aux = self.losses(model, {})
        a, b = model.parameters["point"].tolist()
        return {"main": main.item(), "aux": aux.item(), "a": a, "b": b, "distance": (a * a + b * b) ** 0.5}
