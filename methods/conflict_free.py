"""ConFIG: the direction with given cosines to all gradients, equal ones by default."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .engine import (
    Method,
    Property,
    State,
    cosines,
    divide,
    lost,
    pseudo_inverse,
    times,
    tolerance,
)


@dataclass(frozen=True)
class ConFIG(Method):
    """d = (Σ_i ⟨g_i, u⟩) u, u = U⁺w / ‖U⁺w‖, U the gradients ``(..., K, P)`` scaled to length 1.

    The cosines of d to the gradients are in proportion to w = (1, λ). U⁺ = UᵀC⁺ by the cosines C = U Uᵀ, so
    that d = Σ_i (x_i / ‖g_i‖) g_i · (lᵀCx) / (xᵀCx) with x = C⁺w and the lengths l. Zero gradients take no
    part, and where w ⊥ range(C), as for opposed gradients and λ = 1, d is zero.

    Source: Liu, Chu & Thuerey 2024, "ConFIG: towards conflict-free training of physics informed neural
    networks", arXiv 2408.11104, Equations 2 and 3; λ is its direction weight, 1 by default. Differs: the
    pseudo-inverse is that of the K × K cosines, which squares the condition number.
    """

    name: ClassVar[str] = "config"
    title: ClassVar[str] = "ConFIG"
    color: ClassVar[str] = "#D55E00"
    marker: ClassVar[str] = "p"
    arbitrary_length: ClassVar[bool] = True
    lam_native: ClassVar[bool] = True
    properties: ClassVar[frozenset[Property]] = frozenset({"permutation_equivariant"})

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., K)``."""
        unit, lengths = cosines(gram)
        inverse = pseudo_inverse(unit, tolerance(gram))
        weights = gram.shape[-1] * self.preferences(gram)
        x = torch.where(lengths == 0, 0.0, times(inverse, weights))
        images = times(unit, x)
        length = divide((lengths * images).sum(-1, keepdim=True), (x * images).sum(-1, keepdim=True))
        apart = torch.linalg.vector_norm(images, dim=-1, keepdim=True) < lost(gram)
        return torch.where(apart, 0.0, length * divide(x, lengths))
