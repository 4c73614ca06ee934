"""Half step: the sum, half as long where the gradients conflict."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from scalpel_bench.methods import Method, State


@dataclass(frozen=True)
class HalfStep(Method):
    """d = g_m + λ g_a where ⟨g_m, g_a⟩ ≥ 0, else half of it.

    Source: the example plugin of Scalpel 2026, not a method to use.
    """

    name: ClassVar[str] = "half_step"
    objectives: ClassVar[int | None] = 2

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., 2)``."""
        length = torch.where(gram[..., 0, 1] < 0, 0.5, 1.0).to(gram.dtype)
        return torch.stack([length, length], -1)
