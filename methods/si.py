"""Scale-invariant sum: minimise the sum of the losses' logarithms."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from .engine import Method, Property, State


@dataclass(frozen=True)
class SI(Method):
    """d = Σ λ_k g_k / L_k, the gradient of log L_m + Σ λ_k log L_k.

    No factor of a loss changes it. `gls` has the same angle; `uncertainty` and `imtl_l` tend to it. A loss of
    0 or less has no logarithm, and is refused.

    Source: Navon et al. 2022, "Multi-task learning as a bargaining game", arXiv 2202.01017, the baseline SI.
    The weight λ is ours.
    """

    name: ClassVar[str] = "si"
    title: ClassVar[str] = "Scale-invariant"
    color: ClassVar[str] = "#E69F00"
    marker: ClassVar[str] = "^"
    arbitrary_length: ClassVar[bool] = True
    weights_losses: ClassVar[bool] = True
    lam_last: ClassVar[bool] = True
    positive_losses: ClassVar[bool] = True
    properties: ClassVar[frozenset[Property]] = frozenset({"permutation_equivariant", "needs_losses"})

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., K)``."""
        assert losses is not None
        return 1 / losses
