"""IMTL-L: learn a scale of each loss that brings all to 1."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .engine import State, adam
from .uncertainty import UW


@dataclass(frozen=True)
class IMTLL(UW):
    """d = Σ exp(s_k) λ_k g_k, s_k a learned scale of loss k.

    s minimises Σ (exp(s_k) L_k − s_k) by Adam, from s = 0: exp(s_k) tends to 1 / L_k. It is twice
    `uncertainty`, whose s is −s here. A loss of 0 or less has no such minimum, and is refused.

    Source: Liu et al. 2021, "Towards impartial multi-task learning", ICLR, the loss balance (IMTL-L).
    Differs: s has an Adam of its own, where theirs is one more parameter of the model's optimiser; the weight
    λ is ours.

    Args:
        lr: learning rate of s: the most that s moves in a step, as losses of any size move it by Adam.

    Raises:
        ValueError: ``lr`` is negative or not finite.
    """

    name: ClassVar[str] = "imtl_l"
    title: ClassVar[str] = "IMTL-L"
    color: ClassVar[str] = "#882255"
    marker: ClassVar[str] = "v"

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., K)``."""
        assert losses is not None
        scale = torch.exp(state["s"])
        gradient = scale * losses - 1
        adam(state, "s", gradient, self.lr, torch.isfinite(gradient).all(-1, keepdim=True))
        return scale
