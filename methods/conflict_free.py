"""ConFIG: the direction with equal cosines to all gradients."""

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
    power,
    rank,
    times,
    tolerance,
)


@dataclass(frozen=True)
class ConFIG(Method):
    """d = (Σ_i ⟨g_i, u⟩) u, u = U⁺1 / ‖U⁺1‖, U the gradients ``(..., K, P)`` scaled to length 1.

    U⁺ = UᵀC⁺ by the cosines C = U Uᵀ, so that d = Σ_i (x_i / ‖g_i‖) g_i · (lᵀCx) / (xᵀCx) with x = C⁺1 and
    the lengths l. Zero gradients take no part, and where 1 ⊥ range(C), as for opposed gradients, d is zero.

    Source: Liu, Chu & Thuerey 2024, "ConFIG: towards conflict-free training of physics informed neural
    networks", arXiv 2408.11104, Equations 2 and 3. Differs: the pseudo-inverse is that of the K × K cosines,
    which squares the condition number; λ scales the auxiliary gradients before, which changes no angle and
    thus the length of d only.
    """

    name: ClassVar[str] = "config"
    title: ClassVar[str] = "ConFIG"
    color: ClassVar[str] = "#D55E00"
    marker: ClassVar[str] = "p"
    properties: ClassVar[frozenset[Property]] = frozenset({"permutation_equivariant"})

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., K)``."""
        unit, lengths = cosines(gram)
        inverse, _ = power(unit, -1, rank(unit, tolerance(gram)))
        x = torch.where(lengths == 0, 0.0, inverse.sum(-1))
        images = times(unit, x)
        length = divide((lengths * images).sum(-1, keepdim=True), (x * images).sum(-1, keepdim=True))
        apart = torch.linalg.vector_norm(images, dim=-1, keepdim=True) < lost(gram)
        return torch.where(apart, 0.0, length * divide(x, lengths))
