"""Dynamic Barrier: weigh the main gradient so that the main loss does not rise."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from .engine import Method, State, divide


@dataclass(frozen=True)
class DynamicBarrier(Method):
    """d = μ g_m + λ g_a, μ = max(1 − λ ⟨g_m, g_a⟩ / ‖g_m‖², 0).

    Source: Gong & Liu 2021, "Automatic and harmless regularization with constrained and lexicographic
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
