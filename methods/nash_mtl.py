"""Nash-MTL: the bargaining solution between the objectives."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .engine import LamIs, Method, Property, State, cosines, definite, divide, power_balance, tolerance


@dataclass(frozen=True)
class NashMTL(Method):
    """d = Σ_i α_i g_i with Gα = 1/α, α > 0: the direction of greatest Σ_i log ⟨d, g_i⟩ at its length.

    By the cosines C and lengths of the gradients, α_i = y_i / ‖g_i‖ with Cy = 1/y, ``(..., K)``: the lengths
    do not change the direction, and λ > 0, which scales the auxiliary gradients, only changes its length: √K
    times that of the longest gradient.

    Source: Navon et al. 2022, "Multi-task learning as a bargaining game", arXiv 2202.01017, Property 3.1.
    Differs: solved to rounding at every step by Newton's method, where the authors linearise a concave part
    and stop early; their direction has length √K for gradients of any length, and is cut to a maximum norm.
    """

    name: ClassVar[str] = "nash_mtl"
    title: ClassVar[str] = "Nash-MTL"
    color: ClassVar[str] = "#332288"
    marker: ClassVar[str] = "P"
    lam_is: ClassVar[LamIs] = "length"
    arbitrary_length: ClassVar[bool] = True
    properties: ClassVar[frozenset[Property]] = frozenset({"non_conflicting", "permutation_equivariant"})

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., K)``, positive; 0 for a zero gradient."""
        unit, lengths = cosines(gram)
        return divide(power_balance(definite(unit, tolerance(gram)), torch.ones_like(lengths), 1.0), lengths)
