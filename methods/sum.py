"""The plain sum of the losses, "Mixed" in the Bloop paper."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .engine import Method, State


@dataclass(frozen=True)
class Sum(Method):
    """Mixed training: d = g_m + λ g_a.

    Source: the baseline of Hsieh et al. 2024, arXiv 2402.02998, Section 5.1.
    """

    name: ClassVar[str] = "sum"
    title: ClassVar[str] = "Mixed (sum)"
    color: ClassVar[str] = "#000000"
    marker: ClassVar[str] = "o"
    weights_losses: ClassVar[bool] = True
    fixed_gradients: ClassVar[bool] = True

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """Ones: ``(..., K)``."""
        return torch.ones_like(gram[..., 0])
