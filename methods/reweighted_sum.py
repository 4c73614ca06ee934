"""Reweighted sum: the plain sum with the weights that Bloop's direction gives the two gradients."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .engine import RememberingMethod, State


@dataclass(frozen=True)
class ReweightedSum(RememberingMethod):
    """d = g_m + λ_t g_a, λ_t = λ / (1 − λ c_t), c_t = ⟨g_a, m⟩ / ‖m‖², m ← (1 − ρ) m + ρ g_m.

    A control of Bloop: re-weighting alone. Where m is near g_m, Bloop's g_m + λ g_a − λ c_t m is this
    direction times 1 − λ c_t. As λ c_t nears 1, λ_t grows to λ times `most`, and it stays there beyond, where
    Bloop's direction goes against g_m.

    Source: the effective weights of Hsieh et al. 2024, arXiv 2402.02998, Equation 5.

    Args:
        rho: EMA coefficient ρ in (0, 1]; with ρ = 1 m is the current main gradient.
        order: whether m moves ``"after"`` or ``"before"`` c_t is computed, as in Bloop.
        most: the greatest λ_t / λ, at least 1.

    Raises:
        ValueError: ``rho``, ``order`` or ``most`` is none of these.
    """

    most: float = 100.0

    name: ClassVar[str] = "reweighted_sum"
    title: ClassVar[str] = "Mixed, reweighted"
    color: ClassVar[str] = "#000000"
    marker: ClassVar[str] = "d"
    objectives: ClassVar[int | None] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.most < 1:
            raise ValueError(f"most must be at least 1, got {self.most}")

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., 3)`` for the gradients and m; ``(..., 2)`` where ρ = 1."""
        weights = torch.zeros_like(gram[..., 0])
        weights[..., 0] = 1
        weights[..., 1] = 1 / (1 - self.share(gram)).clamp(min=1 / self.most)
        return weights
