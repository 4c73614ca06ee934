"""IMTL-G: a direction with equal projections on all gradients."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .engine import LamIs, Method, Property, State, cosines, divide, lost, pseudo_inverse, times, tolerance


@dataclass(frozen=True)
class IMTLG(Method):
    """d = Σ_i α_i g_i with ⟨d, g_i⟩ / ‖g_i‖ equal for all i and Σ_i α_i = 1.

    α ``(..., K)`` is proportional to diag(d)⁻¹ C⁻¹ 1 with the cosines C and the lengths d of the gradients.
    Zero gradients take no part. Where no such α exists, as between opposed gradients (1 ⊥ range(C)), the
    direction is zero.

    Source: Liu et al. 2021, "Towards impartial multi-task learning", ICLR, the closed form of IMTL-G.
    Differs: C⁻¹ is a pseudo-inverse, so that linearly dependent gradients have an answer (Quinton & Rey 2024,
    arXiv 2406.16232, take that of G instead). It is not changed by weights of the losses: λ scales the
    auxiliary gradients before, and with them the length of d alone.
    """

    name: ClassVar[str] = "imtl_g"
    title: ClassVar[str] = "IMTL-G"
    color: ClassVar[str] = "#882255"
    marker: ClassVar[str] = "D"
    lam_is: ClassVar[LamIs] = "length"
    arbitrary_length: ClassVar[bool] = True
    properties: ClassVar[frozenset[Property]] = frozenset({"permutation_equivariant"})

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., K)``, of sum 1 or 0."""
        unit, lengths = cosines(gram)
        inverse = pseudo_inverse(unit, tolerance(gram))
        x = torch.where(lengths == 0, 0.0, inverse.sum(-1))
        weights = divide(x, lengths)
        projected = torch.linalg.vector_norm(times(unit, x), dim=-1, keepdim=True)
        total, size = weights.sum(-1, keepdim=True), weights.abs().sum(-1, keepdim=True)
        exists = (projected > lost(gram)) & (total.abs() > lost(gram) * size)
        return torch.where(exists, divide(weights, total), 0.0)
