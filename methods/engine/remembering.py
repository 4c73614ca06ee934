"""What methods share that hold gradients against EMAs of those before them, as Bloop does."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .arithmetic import check_rho, divide
from .base import Method
from .contract import EMA, Order


@dataclass(frozen=True)
class RememberingMethod(Method):
    """A method whose remembered rows are EMAs m ← (1 − ρ) m + ρ g of all gradients but the last.

    Args:
        rho: EMA coefficient ρ in (0, 1]. With ρ = 1 nothing is remembered: m is the current gradient.
        order: whether m moves ``"after"`` the direction has been computed, or ``"before"``.

    Raises:
        ValueError: as for every method, or ``rho`` lies outside (0, 1].
    """

    rho: float = 0.01
    order: Order = "after"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rho(self.rho)

    def memory(self, k: int) -> tuple[EMA, ...]:
        """The EMAs of all gradients but the last, unless ρ = 1."""
        return () if self.rho == 1 else tuple(EMA(i, self.rho, self.order) for i in range(k - 1))

    @property
    def reference(self) -> int:
        """The place of m among the rows of two objectives: that of g_m where ρ = 1."""
        return 0 if self.rho == 1 else 2

    def share(self, gram: Tensor) -> Tensor:
        """⟨g_a, m⟩ / ‖m‖² ``(...)`` of two objectives."""
        return divide(gram[..., 1, self.reference], gram[..., self.reference, self.reference])

    def less(self, gram: Tensor, share: Tensor) -> Tensor:
        """The sum of two gradients less a share ``(...)`` of m: ``(..., 3)``, and ``(..., 2)`` at ρ = 1."""
        total = torch.ones_like(gram[..., 0])
        total[..., 2:] = 0
        total[..., self.reference] -= share
        return total
