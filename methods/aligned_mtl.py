"""Aligned-MTL: give all principal components of the gradients the same strength."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .engine import Method, Property, State, divide, spectrum, times, tolerance


@dataclass(frozen=True)
class AlignedMTL(Method):
    """d = Jᵀ B w, B = √σ G^(−1/2): J with all its singular values replaced by the least positive one.

    The weights w = (1, λ) / (1 + Σ λ) ``(..., K)`` are those of the aligned gradients. σ is the least
    positive eigenvalue of G = V diag(σ) Vᵀ, and the power is taken on the range of G. Its rank is that of the
    cosines, so that a short gradient is no missing one.

    Source: Senushkin et al. 2023, "Independent component alignment for multi-task learning", arXiv
    2305.19000, Algorithm 1; λ is its pre-defined task importance.
    """

    name: ClassVar[str] = "aligned_mtl"
    title: ClassVar[str] = "Aligned-MTL"
    color: ClassVar[str] = "#000000"
    marker: ClassVar[str] = ">"
    arbitrary_length: ClassVar[bool] = True
    lam_native: ClassVar[bool] = True
    properties: ClassVar[frozenset[Property]] = frozenset({"permutation_equivariant"})

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., K)``."""
        values, vectors = spectrum(gram, tolerance(gram))
        least = torch.where(values > 0, values, torch.inf).amin(-1, keepdim=True)
        scale = divide(least, values).sqrt()
        return times(vectors, scale * times(vectors.mT, self.preferences(gram)))
