"""MoCo: move the weights towards the minimum norm over tracked gradients, one step at a time."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .engine import EMA, LamIs, Method, Property, State, check_rho, simplex_projection, times


@dataclass(frozen=True)
class MoCo(Method):
    """y_i ← (1 − ρ) y_i + ρ g_i, w ← Π(w − γ Y Yᵀ w), d = Yᵀw, Π the projection on the simplex.

    The tracked gradients Y ``(..., K, P)`` start at the first gradients and w ``(..., K)`` at 1/K. It tends
    to `mgda`, and has no preferences between the losses either: λ is no part of it.

    Source: Fernando et al. 2023, "Mitigating gradient bias in multi-objective learning: a provably convergent
    stochastic approach", ICLR, Algorithm 1. Differs: Y Yᵀ is divided by the squared length of the longest
    gradient or y, so that γ has no unit; ρ and γ are constant; d takes the moved Y and w; y is not projected
    on a ball and w has no regulariser.

    Args:
        rho: EMA coefficient ρ in (0, 1] of the tracked gradients, their β.
        gamma: step γ > 0 of the weights.

    Raises:
        ValueError: ``rho`` or ``gamma`` is none of these.
    """

    rho: float = 0.5
    gamma: float = 0.1

    name: ClassVar[str] = "moco"
    title: ClassVar[str] = "MoCo"
    color: ClassVar[str] = "#A6A600"
    marker: ClassVar[str] = "v"
    lam_is: ClassVar[LamIs] = "none"
    arbitrary_length: ClassVar[bool] = True
    properties: ClassVar[frozenset[Property]] = frozenset({"permutation_equivariant"})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rho(self.rho)
        if self.gamma <= 0:
            raise ValueError(f"gamma must be positive, got {self.gamma}")

    def memory(self, k: int) -> tuple[EMA, ...]:
        """The tracked gradients."""
        return tuple(EMA(i, self.rho, "before") for i in range(k))

    def start(self, shape: torch.Size, k: int, device: torch.device) -> State:
        """Equal weights."""
        return {"weights": torch.full((*shape, k), 1 / k, dtype=torch.float64, device=device)}

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., 2 K)``: zeros, and the weights of the tracked gradients."""
        weights = state["weights"]
        tracked = gram[..., weights.shape[-1] :, weights.shape[-1] :]
        weights = simplex_projection(weights - self.gamma * times(tracked, weights))
        state["weights"] = weights
        return torch.cat([torch.zeros_like(weights), weights], -1)
