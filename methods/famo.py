"""FAMO: let all losses decrease at the same rate."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .engine import Method, Property, State, adam, adam_start

_LEAST = 1e-8


@dataclass(frozen=True)
class FAMO(Method):
    """d = c Σ (z_k / L_k) λ_k g_k, z = softmax(ξ).

    c = 1 / Σ (z_k / L_k), the losses L_k counted from −1e-8. ξ moves by Adam, from 0, along Jᵀδ + γ ξ, J the
    Jacobian of the softmax, δ_k = log L_k − log L_k', with the losses L_k' of the same batch after the step.
    Losses of 0 or less have no logarithm, and are refused.

    Source: Liu et al. 2023, arXiv 2306.03792, Algorithm 1, with the Adam and the 1e-8 of the authors' code.
    Differs: nothing is clipped; the weight λ is ours. Where nobody tells `observe` the losses after the step,
    as in a `Surgeon`, those of the next batch take their place.

    Args:
        beta: learning rate of ξ.
        gamma: decay of ξ.

    Raises:
        ValueError: ``beta`` or ``gamma`` is negative or not finite.
    """

    beta: float = 0.025
    gamma: float = 0.01

    name: ClassVar[str] = "famo"
    title: ClassVar[str] = "FAMO"
    color: ClassVar[str] = "#56B4E9"
    marker: ClassVar[str] = "o"
    arbitrary_length: ClassVar[bool] = True
    weights_losses: ClassVar[bool] = True
    lam_last: ClassVar[bool] = True
    positive_losses: ClassVar[bool] = True
    observes: ClassVar[bool] = True
    properties: ClassVar[frozenset[Property]] = frozenset({"permutation_equivariant", "needs_losses"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.beta >= 0 and self.gamma >= 0):
            raise ValueError(f"beta and gamma must be at least 0, got {self.beta}, {self.gamma}")

    def start(self, shape: torch.Size, k: int, device: torch.device) -> State:
        """ξ = 0, and no losses yet."""
        xi = torch.zeros(*shape, k, dtype=torch.float64, device=device)
        return {"xi": xi, "logs": torch.full_like(xi, torch.nan), **adam_start(xi)}

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., K)``."""
        assert losses is not None
        logs = (losses + _LEAST).log()
        self._move(state, logs)
        state["logs"] = logs.expand_as(state["xi"])
        return (state["xi"] - logs).softmax(-1)

    def observe(self, state: State, losses: Tensor) -> State:
        """Move ξ by what the losses ``(..., K)`` have fallen in the step."""
        seen, moved = self._per_part(losses), dict(state)
        assert seen is not None
        self._move(moved, (seen + _LEAST).log())
        moved["logs"] = torch.full_like(state["logs"], torch.nan)
        return moved

    def _move(self, state: State, after: Tensor) -> None:
        """ξ, where the losses before the step are still to be compared with those after it."""
        fallen, z = state["logs"] - after, state["xi"].softmax(-1)
        gradient = z * (fallen - (z * fallen).sum(-1, keepdim=True)) + self.gamma * state["xi"]
        adam(state, "xi", gradient, self.beta, torch.isfinite(gradient).all(-1, keepdim=True))
