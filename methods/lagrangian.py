"""Lagrangian descent and ascent: learn the multiplier of a constraint on a loss."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .constrained import Constrained
from .engine import State


@dataclass(frozen=True)
class Lagrangian(Constrained):
    """d = g_m + [μ + κ (L_a − c)]₊ g_a, where first μ ← [μ + η (L_a − c)]₊, from μ = 0.

    It minimises the main loss subject to L_a ≤ c; with ``bounded = "main"`` the two change places. At κ = 0
    it is gradient descent on the Lagrangian and ascent in its multiplier. κ > 0 damps how the two circle
    each other: the modified differential method of multipliers, or descent on the augmented Lagrangian.

    Source: Platt & Barr 1987, "Constrained differential optimization", NeurIPS, which has L = c and time in
    place of steps. Differs: μ is at least 0, for L ≤ c, and moves first, by the losses of the step.

    Args:
        rate: η, what a step adds to μ per unit of L − c.
        damping: κ.

    Raises:
        ValueError: ``rate`` is not positive, or ``damping`` is negative.
    """

    rate: float = 0.01
    damping: float = 0.0

    name: ClassVar[str] = "lagrangian"
    title: ClassVar[str] = "Lagrangian"
    color: ClassVar[str] = "#332288"
    marker: ClassVar[str] = "p"
    weights_losses: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rate <= 0 or self.damping < 0:
            raise ValueError(f"rate must be > 0 and damping at least 0, got {self.rate}, {self.damping}")

    def start(self, shape: torch.Size, k: int, device: torch.device) -> State:
        """μ = 0."""
        return {"mu": torch.zeros(shape, dtype=torch.float64, device=device)}

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., 2)``."""
        assert losses is not None
        excess = self.excess(losses)
        state["mu"] = (state["mu"] + self.rate * excess).clamp(min=0)
        return self.weighted((state["mu"] + self.damping * excess).clamp(min=0))
