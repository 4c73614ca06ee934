"""Random loss weighting."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .engine import Method, State, draw


@dataclass(frozen=True)
class RLW(Method):
    """d = Σ w_k λ_k g_k, w = softmax(z), z ~ N(0, I) drawn anew at every step.

    Source: Lin et al. 2022, arXiv 2111.10603, Section 3 (normal distribution); the weight λ is ours.
    """

    name: ClassVar[str] = "rlw"
    title: ClassVar[str] = "RLW"
    color: ClassVar[str] = "#66C2B2"
    marker: ClassVar[str] = "X"
    arbitrary_length: ClassVar[bool] = True
    random: ClassVar[bool] = True
    weights_losses: ClassVar[bool] = True
    lam_last: ClassVar[bool] = True

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., K)``."""
        k = gram.shape[-1]
        u = draw(state, 2 * k)
        normal = (-2 * torch.log1p(-u[..., :k])).sqrt() * torch.cos(2 * math.pi * u[..., k:])
        return normal.softmax(-1)
