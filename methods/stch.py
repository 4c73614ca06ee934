"""Smooth Tchebycheff scalarisation: minimise a soft maximum of the losses."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from .engine import Method, Property, State


@dataclass(frozen=True)
class STCH(Method):
    """d = Σ w_k p_k g_k, w = softmax(p ∘ L / μ): the gradient of μ log Σ exp(p_k L_k / μ).

    The preferences p = (1, λ) / (1 + Σ λ) ``(..., K)`` lie on the simplex.

    Source: Lin et al. 2024, arXiv 2402.19078, smooth Tchebycheff scalarization; λ sets its preferences.
    Differs: the ideal point is 0.

    Args:
        mu: smoothness μ > 0; the maximum itself in the limit 0.

    Raises:
        ValueError: ``mu`` is not positive.
    """

    mu: float = 1.0

    name: ClassVar[str] = "stch"
    title: ClassVar[str] = "STCH"
    color: ClassVar[str] = "#8B5A2B"
    marker: ClassVar[str] = "<"
    arbitrary_length: ClassVar[bool] = True
    lam_native: ClassVar[bool] = True
    weights_losses: ClassVar[bool] = True
    properties: ClassVar[frozenset[Property]] = frozenset({"permutation_equivariant", "needs_losses"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.mu > 0:
            raise ValueError(f"mu must be positive, got {self.mu}")

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., K)``."""
        assert losses is not None
        preferences = self.preferences(gram)
        preferred = preferences * losses
        below = preferred - preferred.amax(-1, keepdim=True)  # 0 at the greatest, whatever μ
        return preferences * (below / self.mu).softmax(-1)
