"""MGDA: the minimum-norm point between the gradients."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .engine import LamIs, Method, Property, State, cosines, definite, divide, nonnegative_qp, tolerance


@dataclass(frozen=True)
class MGDA(Method):
    """d = Σ_i α_i g_i of least norm, α ``(..., K)`` on the simplex: the shortest vector of the convex hull.

    For two objectives in closed form, γ = clip((‖g_a‖² − ⟨g_m, g_a⟩) / ‖g_m − g_a‖², 0, 1) for the main
    gradient. For more, α is z / Σz with z ≥ 0 of least ½ zᵀGz − Σz. Preferences between the losses are no
    part of it, and neither is λ: as a factor of g_a it would run backwards, as the shortest gradient rules.

    Source: Désidéri 2012, "Multiple-gradient descent algorithm"; Sener & Koltun 2018, arXiv 1810.04650,
    Equations 3 and 4. Differs: they solve for K > 2 by Frank-Wolfe.
    """

    name: ClassVar[str] = "mgda"
    title: ClassVar[str] = "MGDA"
    color: ClassVar[str] = "#009E73"
    marker: ClassVar[str] = "D"
    lam_is: ClassVar[LamIs] = "none"
    arbitrary_length: ClassVar[bool] = True
    properties: ClassVar[frozenset[Property]] = frozenset({"non_conflicting", "permutation_equivariant"})

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., K)``, on the simplex."""
        if gram.shape[-1] == 2:
            to_main = gram[..., 1, 1] - gram[..., 0, 1]
            to_auxiliary = gram[..., 0, 0] - gram[..., 0, 1]
            main = divide(to_main, to_main + to_auxiliary).clamp(0, 1)
            return torch.stack([main, 1 - main], -1)
        unit, lengths = cosines(gram)
        shortness = torch.where(lengths == 0, 1.0, divide(lengths.amin(-1, keepdim=True), lengths))
        weights = shortness * nonnegative_qp(definite(unit, tolerance(gram)), -shortness)
        return weights / weights.sum(-1, keepdim=True)
