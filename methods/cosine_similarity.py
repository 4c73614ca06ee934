"""Cosine similarity: follow an auxiliary gradient as far as it agrees with the main one."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .engine import Method, Property, State, divide


@dataclass(frozen=True)
class Cosine(Method):
    """d = g_m + Σ max(0, φ_k) λ_k g_k, φ_k = cos(g_m, g_k).

    Source: Du et al. 2018, arXiv 1812.02224, the weighted version; the weight λ is ours.
    """

    name: ClassVar[str] = "cosine"
    title: ClassVar[str] = "Cosine"
    color: ClassVar[str] = "#882255"
    marker: ClassVar[str] = ">"
    properties: ClassVar[frozenset[Property]] = frozenset({"permutation_equivariant"})

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., K)``."""
        norms = gram.diagonal(dim1=-2, dim2=-1).sqrt()
        agreement = divide(gram[..., 0, 1:], norms[..., :1] * norms[..., 1:]).clamp(0, 1)
        return torch.cat([torch.ones_like(agreement[..., :1]), agreement], -1)
