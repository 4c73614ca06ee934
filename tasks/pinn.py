"""Physics-informed network: boundary values against the residuals of a differential equation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn

from .bases import Batch, Model, Task
from .data import Data, on_device
from .models import EQUATIONS, Equation, JetMLP, around, inside


@dataclass
class PINN(Task):
    """A tanh network that is to solve a differential equation whose solution is known.

    Main: mean squared error on the boundary, against the solution there; of ``helmholtz`` the sum over its
    four sides, as the source has it. Auxiliary: the mean squared residual of each equation inside, as
    objectives of their own (of ``kovasznay`` ``momentum_x``, ``momentum_y``, ``continuity``: K = 4), or
    ``summed``. Neither source has a main loss: both add all losses up, the residual named first. Here the
    boundary comes first: among the networks that fit it, the one with the least residual is the solution.
    Further metrics: ``aux``, the sum of the residuals' losses, and each of them; ``error``, ‖û − u‖ / ‖u‖
    over points inside, and ``mse``, the mean of (û − u)² there.

    There is no data: every step draws points anew, inside as a Latin hypercube, and one in each of as many
    stretches of the boundary. Each split is a draw of its own of ``evaluation_points`` inside and a fifth as
    many on the boundary, the same for every seed.

    Source: ``kovasznay`` as in Liu, Chu, Thuerey 2024, arXiv 2408.11104 (ConFIG), and the code that they
    released: 20,000 points inside, 1,000 on the boundary, 5 hidden layers of 50, residuals ``summed``.
    ``helmholtz`` as in Hwang & Lim 2024, arXiv 2409.18426 (DCGD), and their code: 1,280 points inside, 128 on
    each side, drawn independently, 3 hidden layers of 50.

    Args:
        equation: ``kovasznay`` or ``helmholtz`` (`tasks.models.EQUATIONS`).
        hidden: widths of the hidden layers.
        points: inside the domain, per step.
        boundary_points: on its boundary, per step.
        summed: all residuals are one objective.
        evaluation_points: inside the domain, of each split.
        steps_per_epoch: steps that count as an epoch.

    Raises:
        ValueError: a setting is out of range.
    """

    equation: str = "kovasznay"
    hidden: tuple[int, ...] = (50, 50, 50, 50, 50)
    points: int = 2000
    boundary_points: int = 100
    summed: bool = False
    evaluation_points: int = 1000
    steps_per_epoch: int = 100

    name: ClassVar[str] = "pinn"
    metrics: ClassVar[tuple[str, ...]] = ("error", "mse")
    shared_forward: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.check_widths("hidden")
        if self.equation not in EQUATIONS:
            raise ValueError(f"equation must be one of {', '.join(EQUATIONS)}, got {self.equation!r}")
        self.check_at_least(1, "points", "steps_per_epoch")
        self.check_at_least(4, "boundary_points")
        self.check_at_least(20, "evaluation_points")

    @property
    def objectives(self) -> tuple[str, ...]:
        """The boundary as ``main``, then the residuals: apart, or as ``aux``."""
        names = self._equation.equations
        return ("main", *names) if len(names) > 1 and not self.summed else ("main", "aux")

    @property
    def _equation(self) -> Equation:
        return EQUATIONS[self.equation]

    @cached_property
    def dataset(self) -> Data:
        """Points that are evaluated, drawn on the spot."""
        splits = {}
        for seed, split in enumerate(("train", "validation", "test")):
            generator = torch.Generator().manual_seed(seed)
            splits[split] = self._draw(self.evaluation_points, self.evaluation_points // 5, generator)
        return Data("embedded", self._equation.title, splits).to(self.device)

    def build(self) -> nn.Module:
        """The network, from Xavier's start."""
        return JetMLP(self.hidden, self._equation.outputs, self._equation.scale)

    def losses(self, model: Model, batch: Batch) -> Iterator[Tensor]:
        """The boundary's, then the residuals', whose graph is shared."""
        yield self._boundary(model, batch)
        losses = self._residual_losses(model, batch)
        if len(self.objectives) > 2:
            yield from losses.values()
        else:
            yield torch.stack(list(losses.values())).sum()

    def batches(self, generator: torch.Generator) -> Iterator[Batch]:
        """New points at every step."""
        while True:
            drawn = self._draw(self.points, self.boundary_points, generator)
            yield {name: on_device(points, self.device) for name, points in drawn.items()}

    def evaluate(self, model: Model, split: str) -> dict[str, float]:
        """The losses, and the distance from the solution."""
        batch = self.dataset.splits[split]
        residuals = {name: loss.item() for name, loss in self._residual_losses(model, batch).items()}
        exact = self._equation.exact(batch["inside"])
        wrong = model(batch["inside"]) - exact
        return {
            "main": self._boundary(model, batch).item(),
            "aux": sum(residuals.values()),
            **(residuals if len(residuals) > 1 else {}),
            "error": (wrong.norm() / exact.norm()).item(),
            "mse": wrong.square().mean().item(),
        }

    def _draw(self, points: int, boundary_points: int, generator: torch.Generator) -> Batch:
        return {
            "inside": inside(self._equation, points, generator),
            "boundary": around(self._equation, boundary_points, generator),
        }

    def _boundary(self, model: Model, batch: Batch) -> Tensor:
        wrong = model(batch["boundary"]) - self._equation.exact(batch["boundary"])
        loss: Tensor = self._equation.sides * wrong.square().mean()
        return loss

    def _residual_losses(self, model: Model, batch: Batch) -> dict[str, Tensor]:
        found = self._equation.residuals(batch["inside"], model(batch["inside"], derivatives=True))
        means = (residual.square().mean() for residual in found)
        return dict(zip(self._equation.equations, means, strict=True))
