"""DualProj: project the mean gradient on the dual cone of all gradients."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from .engine import (
    Method,
    Property,
    State,
    cosines,
    definite,
    divide,
    nonnegative_qp,
    times,
    tolerance,
)


@dataclass(frozen=True)
class DualProj(Method):
    """d = π((1/K) Σ_i g_i), π(x) the nearest point to x with ⟨π(x), g_j⟩ ≥ 0 for every j.

    d = Jᵀv with v ``(..., K)`` of least vᵀGv under v ≥ 1/K, solved in the units of the rows' lengths.
    For two objectives in closed form: at most one of them conflicts with the mean.

    Source: Lopez-Paz & Ranzato 2017, "Gradient episodic memory for continual learning", arXiv 1706.08840,
    Equation 11; named and taken on the mean of the gradients by Quinton & Rey 2024, arXiv 2406.16232.
    λ = 1 is theirs. λ > 0 scales the auxiliary gradients, which leaves the cone as it is and weighs the mean.
    """

    name: ClassVar[str] = "dualproj"
    title: ClassVar[str] = "DualProj"
    color: ClassVar[str] = "#0072B2"
    marker: ClassVar[str] = "h"
    arbitrary_length: ClassVar[bool] = True
    properties: ClassVar[frozenset[Property]] = frozenset({"non_conflicting", "permutation_equivariant"})

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., K)``, at least 1/K."""
        if gram.shape[-1] == 2:
            conflict = gram.mean(-1).clamp(max=0)
            return 1 / 2 - divide(conflict, gram.diagonal(dim1=-2, dim2=-1))
        unit, lengths = cosines(gram)
        added = nonnegative_qp(definite(unit, tolerance(gram)), times(unit, lengths))
        return (1 + divide(added, lengths)) / gram.shape[-1]
