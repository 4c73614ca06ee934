"""DB-MTL: gradients of the losses' logarithms, all as long as the longest."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from .engine import Method, Property, State, divide


@dataclass(frozen=True)
class DBMTL(Method):
    """d = max_j (‖g_j‖ / L_j) Σ λ_k g_k / ‖g_k‖.

    These are the gradients g_k / L_k of the logarithms, brought to one length: the losses set the length of d
    and nothing else. A loss of 0 or less has no logarithm, and is refused.

    Source: Lin et al. 2023, "Dual-balancing for multi-task learning", arXiv 2308.12029. Differs: their EMA of
    g_k / L_k is left out (β = 0); nothing is added to losses and lengths, where theirs have 1e-8; the weight
    λ is ours.
    """

    name: ClassVar[str] = "db_mtl"
    title: ClassVar[str] = "DB-MTL"
    color: ClassVar[str] = "#009E73"
    marker: ClassVar[str] = "*"
    arbitrary_length: ClassVar[bool] = True
    lam_last: ClassVar[bool] = True
    positive_losses: ClassVar[bool] = True
    properties: ClassVar[frozenset[Property]] = frozenset({"permutation_equivariant", "needs_losses"})

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., K)``."""
        assert losses is not None
        lengths = gram.diagonal(dim1=-2, dim2=-1).sqrt()
        return divide((lengths / losses).amax(-1, keepdim=True), lengths)
