"""Geometric loss: minimise the product of the losses."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .engine import Method, Property, State


@dataclass(frozen=True)
class GLS(Method):
    """d = Σ (∏_j L_j)^(1/K) / (K L_k) · λ_k g_k, the gradient of the losses' geometric mean (at λ = 1).

    A loss of 0 or less has no geometric mean with others, and is refused.

    Source: Chennupati et al. 2019, arXiv 1904.08492 (MultiNet++). The weight λ is ours; ∏_k L_k^(p_k) with
    p = (1, λ) / (1 + Σ λ) has a gradient of the same direction.
    """

    name: ClassVar[str] = "gls"
    title: ClassVar[str] = "GLS"
    color: ClassVar[str] = "#E69F00"
    marker: ClassVar[str] = "s"
    arbitrary_length: ClassVar[bool] = True
    weights_losses: ClassVar[bool] = True
    lam_last: ClassVar[bool] = True
    positive_losses: ClassVar[bool] = True
    properties: ClassVar[frozenset[Property]] = frozenset({"permutation_equivariant", "needs_losses"})

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., K)``."""
        assert losses is not None
        mean = torch.exp(losses.log().mean(-1, keepdim=True))
        return mean / (gram.shape[-1] * losses)
