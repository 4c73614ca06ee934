"""UPGrad: project every gradient on the dual cone of all of them, then average."""

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
    tolerance,
)


@dataclass(frozen=True)
class UPGrad(Method):
    """d = (1/K) Σ_i π(g_i), π(x) the nearest point to x with ⟨π(x), g_j⟩ ≥ 0 for every j.

    π(g_i) = Jᵀv with v of least vᵀGv under v ≥ e_i (Proposition 1): K quadratic programmes ``(..., K, K)``,
    each solved in the units of the rows' lengths, where v = e_i + z and z ≥ 0 is of least ½ zᵀCz + C_iᵀz.
    For two objectives in closed form: half of PCGrad.

    Source: Quinton & Rey 2024, "Jacobian descent for multi-objective optimization", arXiv 2406.16232,
    Equations 3 and 4, Proposition 1; λ = 1 is theirs. λ > 0 scales the auxiliary gradients, and thus their
    projections: the preference vector (1, λ) / K of the authors' library.
    """

    name: ClassVar[str] = "upgrad"
    title: ClassVar[str] = "UPGrad"
    color: ClassVar[str] = "#8B5A2B"
    marker: ClassVar[str] = "*"
    arbitrary_length: ClassVar[bool] = True
    properties: ClassVar[frozenset[Property]] = frozenset({"non_conflicting", "permutation_equivariant"})

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., K)``, at least 1/K."""
        if gram.shape[-1] == 2:
            conflict = gram[..., 0, 1, None].clamp(max=0)
            return (1 - divide(conflict, gram.diagonal(dim1=-2, dim2=-1))) / 2
        unit, lengths = cosines(gram)
        added = nonnegative_qp(definite(unit, tolerance(gram))[..., None, :, :], unit)
        added = (lengths[..., None, :] @ added).squeeze(-2)
        return (1 + divide(added, lengths)) / gram.shape[-1]
