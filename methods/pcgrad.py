"""PCGrad: project conflicting gradients on each other's normal plane."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from .engine import Method, State, divide, draw


@dataclass(frozen=True)
class PCGrad(Method):
    """d = g_m + λ g_a where ⟨g_m, g_a⟩ > 0, else π(g_m; g_a) + λ π(g_a; g_m).

    With K > 2 objectives, every gradient passes the others in a random order, ``(..., K, K)`` per step, and
    is projected on the normal plane of each that it then conflicts with; d is the sum of what is left.

    Source: Yu et al. 2020, arXiv 2001.06782, Algorithm 1; the weight λ as in Hsieh et al. 2024, arXiv
    2402.02998, Table 1. At λ = 0 the scaled auxiliary gradient is zero and d = g_m.
    """

    name: ClassVar[str] = "pcgrad"
    title: ClassVar[str] = "PCGrad"
    color: ClassVar[str] = "#0072B2"
    marker: ClassVar[str] = "^"
    random: ClassVar[bool] = True
    projects: ClassVar[Literal["sum", "main"] | None] = "sum"

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., K)``."""
        k = gram.shape[-1]
        lengths = gram.diagonal(dim1=-2, dim2=-1)
        if k == 2:
            conflicts = torch.stack([gram[..., 1, 0], gram[..., 0, 1]], -1).clamp(max=0)
            return 1 - divide(conflicts, lengths)
        order = draw(state, k * k).reshape(gram.shape).argsort(-1)
        own = torch.eye(k, dtype=gram.dtype, device=gram.device)
        left = own.expand_as(gram)
        for visited in order.unbind(-1):
            other = own[visited]
            conflict = ((left @ gram) * other).sum(-1).clamp(max=0)
            share = divide(conflict, (other * lengths[..., None, :]).sum(-1))
            left = left - share[..., None] * other * (1 - own)
        return left.sum(-2)
