"""Negative momentum: the plain sum less a constant share of the main gradient's EMA."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from .engine import RememberingMethod, State


@dataclass(frozen=True)
class NegativeMomentum(RememberingMethod):
    """d = g_m + λ g_a − λ κ m, m ← (1 − ρ) m + ρ g_m.

    A control of Bloop: momentum alone. Bloop's direction is this one with κ = ⟨g_a, m⟩ / ‖m‖² at every step.

    Source: Hsieh et al. 2024, arXiv 2402.02998, Equation 5, with a constant in the place of the ratio; named
    after Gidel et al. 2019, arXiv 1807.04740.

    Args:
        rho: EMA coefficient ρ in (0, 1]; with ρ = 1 m is the current main gradient.
        order: whether m moves ``"after"`` or ``"before"`` the direction is computed, as in Bloop.
        kappa: the constant κ; below 0 the momentum is positive.

    Raises:
        ValueError: ``rho``, ``order`` or ``kappa`` is none of these.
    """

    kappa: float = 0.5

    name: ClassVar[str] = "negative_momentum"
    title: ClassVar[str] = "Mixed, negative momentum"
    color: ClassVar[str] = "#0072B2"
    marker: ClassVar[str] = "o"
    arbitrary_length: ClassVar[bool] = True
    objectives: ClassVar[int | None] = 2

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., 3)`` for the gradients and m; ``(..., 2)`` where ρ = 1."""
        return self.less(gram, self.kappa * self._lam_per_auxiliary(gram, 2)[..., 0])
