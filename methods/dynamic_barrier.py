"""Dynamic Barrier: weigh the main gradient so that the main loss does not rise, or falls to a bound."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from .constrained import Bounded, Constrained
from .engine import Method, State, divide


@dataclass(frozen=True)
class DynamicBarrier(Method):
    """d = μ g_m + λ g_a, μ = max(1 − λ ⟨g_m, g_a⟩ / ‖g_m‖², 0).

    Source: Gong, Liu & Liu 2021, "Automatic and harmless regularization with constrained and lexicographic
    optimization: a dynamic barrier approach", NeurIPS, as adapted by Hsieh et al. 2024, arXiv 2402.02998,
    Section 5.1.
    """

    name: ClassVar[str] = "dynamic_barrier"
    title: ClassVar[str] = "Dynamic Barrier"
    color: ClassVar[str] = "#CC79A7"
    marker: ClassVar[str] = "v"
    projects: ClassVar[Literal["sum", "main"] | None] = "sum"
    objectives: ClassVar[int | None] = 2

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., 2)``."""
        barrier = (1 - divide(gram[..., 1, 0], gram[..., 0, 0])).clamp(min=0)
        return torch.stack([barrier, torch.ones_like(barrier)], -1)


@dataclass(frozen=True)
class ConstrainedBarrier(Constrained):
    """d = g_a + μ g_m, μ = [φ − ⟨g_m, g_a⟩]₊ / ‖g_m‖², φ = min(α (L_m − c), β ‖g_m‖²).

    It minimises the auxiliary loss subject to L_m ≤ c; with ``bounded = "aux"`` the two change places. Of all
    d with ⟨d, g_m⟩ ≥ φ this is the nearest to g_a: L_m falls above the bound, and below it may rise, the
    slower the nearer it is. Where g_m = 0, μ = 0.

    Source: Gong, Liu & Liu 2021, "Automatic and harmless regularization with constrained and lexicographic
    optimization: a dynamic barrier approach", NeurIPS, their constrained problem.

    Args:
        bounded: as for every constrained method.
        alpha: α, in ‖g_m‖² per unit of L_m − c.
        beta: β.

    Raises:
        ValueError: ``alpha`` or ``beta`` is not positive.
    """

    bounded: Bounded = "main"
    alpha: float = 1.0
    beta: float = 1.0

    name: ClassVar[str] = "constrained_barrier"
    title: ClassVar[str] = "Dynamic Barrier, constrained"
    color: ClassVar[str] = "#CC79A7"
    marker: ClassVar[str] = "D"
    arbitrary_length: ClassVar[bool] = True
    absolute: ClassVar[bool] = True
    compares_losses: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.alpha, self.beta) <= 0:
            raise ValueError(f"alpha and beta must be > 0, got {self.alpha}, {self.beta}")

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., 2)``."""
        assert losses is not None
        i = 0 if self.bounded == "main" else 1
        phi = torch.minimum(self.alpha * self.excess(losses), self.beta * gram[..., i, i])
        return self.weighted(divide(phi - gram[..., 0, 1], gram[..., i, i]).clamp(min=0))
