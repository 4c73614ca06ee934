"""FAMO: let all losses decrease at the same rate."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .engine import Method, Property, State


@dataclass(frozen=True)
class FAMO(Method):
    """d = c Σ (z_k / L_k) λ_k g_k, z = softmax(ξ).

    c = 1 / Σ (z_k / L_k), the losses L_k counted from 0;
    ξ ← ξ − β (Jᵀ δ + γ ξ), J the Jacobian of the softmax, δ_k = log L_k(t) − log L_k(t + 1).

    Source: Liu et al. 2023, arXiv 2306.03792, Algorithm 1. Differs: L(t + 1) is measured on the next batch,
    not again on the last; ξ has plain gradient descent. It needs positive losses: others count as 1e-8.

    Args:
        beta: learning rate of ξ.
        gamma: decay of ξ.

    Raises:
        ValueError: ``beta`` or ``gamma`` is negative.
    """

    beta: float = 0.025
    gamma: float = 0.001

    name: ClassVar[str] = "famo"
    title: ClassVar[str] = "FAMO"
    color: ClassVar[str] = "#56B4E9"
    marker: ClassVar[str] = "o"
    weights_losses: ClassVar[bool] = True
    lam_last: ClassVar[bool] = True
    properties: ClassVar[frozenset[Property]] = frozenset({"permutation_equivariant", "needs_losses"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.beta >= 0 and self.gamma >= 0):
            raise ValueError(f"beta and gamma must be at least 0, got {self.beta}, {self.gamma}")

    def start(self, shape: torch.Size, k: int, device: torch.device) -> State:
        """ξ = 0, and no losses yet."""
        xi = torch.zeros(*shape, k, dtype=torch.float64, device=device)
        return {"xi": xi, "logs": torch.full_like(xi, torch.nan)}

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., K)``."""
        assert losses is not None
        logs, xi = losses.clamp(min=1e-8).log(), state["xi"]
        z = xi.softmax(-1)
        delta = torch.nan_to_num(state["logs"] - logs)
        xi = xi - self.beta * (z * (delta - (z * delta).sum(-1, keepdim=True)) + self.gamma * xi)
        state["xi"], state["logs"] = xi, logs
        return (xi - logs).softmax(-1)
