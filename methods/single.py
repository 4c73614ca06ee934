"""One objective alone: what a single-task baseline is trained by."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .engine import LamIs, Method, Parts, State


@dataclass(frozen=True)
class Single(Method):
    """d = g_k, the gradient of one objective alone; the others, if finite, have no effect.

    Source: the single-task baselines of Maninis, Radosavovic, Kokkinos 2019, arXiv 1904.08918.

    Args:
        objective: k, from 0 for the main one.

    Raises:
        ValueError: ``objective`` is negative, or there are not so many gradients.
    """

    objective: int = 0

    name: ClassVar[str] = "single"
    title: ClassVar[str] = "One objective"
    color: ClassVar[str] = "#8C8C8C"
    marker: ClassVar[str] = "X"
    lam_is: ClassVar[LamIs] = "none"
    weights_losses: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.objective < 0:
            raise ValueError(f"objective must be at least 0, got {self.objective}")

    def _check(self, gradients: Tensor | Parts) -> None:
        super()._check(gradients)
        if self.objective >= (k := gradients.shape[-2]):
            raise ValueError(f"single: objective {self.objective} of {k}, which count from 0, is none")

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., K)``: 1 at the objective, 0 elsewhere."""
        weights = torch.zeros_like(gram[..., 0])
        weights[..., self.objective] = 1
        return weights
