"""One-sided Bloop: project the auxiliary gradient only where it conflicts with the EMA of the main one."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from .engine import RememberingMethod, State


@dataclass(frozen=True)
class OneSidedBloop(RememberingMethod):
    """d = g_m + λ (g_a − min(0, ⟨g_a, m⟩) / ‖m‖² · m), m ← (1 − ρ) m + ρ g_m.

    A control of Bloop: its projection where g_a conflicts with m, and the plain sum elsewhere.

    Source: Hsieh et al. 2024, arXiv 2402.02998, Equation 5; Wang et al. 2025, arXiv 2503.09117 (GRU), for the
    side. Differs: the main gradient has the place of their retention gradient.

    Args:
        rho: EMA coefficient ρ in (0, 1]; with ρ = 1 m is the current main gradient.
        order: whether m moves ``"after"`` or ``"before"`` g_a is projected, as in Bloop.

    Raises:
        ValueError: ``rho`` or ``order`` is none of these.
    """

    name: ClassVar[str] = "one_sided_bloop"
    title: ClassVar[str] = "Bloop, one-sided"
    color: ClassVar[str] = "#D55E00"
    marker: ClassVar[str] = "*"
    projects: ClassVar[Literal["sum", "main"] | None] = "sum"
    projects_auxiliary: ClassVar[bool] = True
    objectives: ClassVar[int | None] = 2

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., 3)`` for the gradients and m; ``(..., 2)`` where ρ = 1."""
        return self.less(gram, self.share(gram).clamp(max=0))
