"""Noisy least squares against the distance to a given point: the authors' demo."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn

from .bases import Batch, Model, Task
from .data import Data, epochs, full_batches


@dataclass
class Quadratic(Task):
    """Overparameterised least squares (n = 256, p = 300), features of unequal scale.

    Main: ½ mean (xᵀθ − y)², x ~ N(0, diag(linspace(1, 10, p)²)), y = xᵀθ₀ + 0.05 N(0, 1), θ₀ ~ N(0, I).
    Auxiliary: ½‖θ − θ*‖², θ* ~ 10 N(0, I). Training starts at θ = 0. Validation and test are fresh samples of
    the same law; the problem is the same for every seed.

    Source: the notebook released with Hsieh et al. 2024, arXiv 2402.02998; the law of θ₀ and the start are
    our own.

    Args:
        examples: rows of each split.
        features: parameters p.
        batch_size: rows per step.

    Raises:
        ValueError: a number is below 1.
    """

    examples: int = 256
    features: int = 300
    batch_size: int = 64

    name: ClassVar[str] = "quadratic"

    def __post_init__(self) -> None:
        self.check_at_least(1, "examples", "features", "batch_size")

    @cached_property
    def _problem(self) -> tuple[Data, Tensor]:
        generator = torch.Generator().manual_seed(0)
        truth = torch.randn(self.features, generator=generator)
        target = 10 * torch.randn(self.features, generator=generator)
        scales = torch.linspace(1, 10, self.features)
        splits = {}
        for split in ("train", "validation", "test"):
            x = torch.randn(self.examples, self.features, generator=generator) * scales
            noise = 0.05 * torch.randn(self.examples, generator=generator)
            exact = (x.double() @ truth.double()).float()  # rounded alike on every processor
            splits[split] = {"x": x, "y": exact + noise}
        return Data("embedded", "synthetic least squares", splits).to(self.device), target.to(self.device)

    @property
    def dataset(self) -> Data:
        """Rows ``x`` and labels ``y``, made on the spot."""
        return self._problem[0]

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in the training split."""
        return full_batches(self.examples, self.batch_size)

    def build(self) -> nn.Module:
        """A linear model without bias, at zero."""
        linear = nn.Linear(self.features, 1, bias=False)
        nn.init.zeros_(linear.weight)
        return linear

    def losses(self, model: Model, batch: Batch) -> Iterator[Tensor]:
        """Least squares, then the distance to θ*."""
        yield self._main(model, batch)
        yield self._aux(model)

    def batches(self, generator: torch.Generator) -> Iterator[Batch]:
        """Shuffled rows."""
        return epochs(self.dataset.splits["train"], self.batch_size, generator)

    def evaluate(self, model: Model, split: str) -> dict[str, float]:
        """Both losses."""
        return {"main": self._main(model, self.dataset.splits[split]).item(), "aux": self._aux(model).item()}

    def _main(self, model: Model, batch: Batch) -> Tensor:
        residual = model(batch["x"]).squeeze(-1) - batch["y"]
        loss: Tensor = residual.square().mean() / 2
        return loss

    def _aux(self, model: Model) -> Tensor:
        return (model.parameters["weight"].squeeze(0) - self._problem[1]).square().sum() / 2
