"""PBI: go down along a ray of preferences, and back to it."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .engine import Method, Property, State, divide


@dataclass(frozen=True)
class PBI(Method):
    """d = Σ (r_k + θ h_k / ‖h‖) g_k, h = L − ⟨L, r⟩ r: the gradient of ⟨L, r⟩ + θ ‖h‖.

    r ``(..., K)`` lies on a ray, and has the length 1; h leads from the ray to the losses L. On the ray all
    p_k L_k are equal, with p = (1, λ) / (1 + Σ λ), which is what `stch` seeks: the more λ, the less of the
    auxiliary loss. λ = 0 asks for no main loss, whatever the auxiliary one. Off the ray a weight may be
    negative. The ray starts at 0: losses of 0 or less are refused.

    Source: Zhang & Li 2007, "MOEA/D: a multiobjective evolutionary algorithm based on decomposition", IEEE
    Transactions on Evolutionary Computation 11(6), penalty-based boundary intersection. Differs: they name
    the ray, which here follows from the preferences; ‖h‖ is smoothed by 1e-6 ‖L‖; the ideal point is 0.

    Args:
        theta: θ ≥ 0, how much the distance from the ray counts.

    Raises:
        ValueError: ``theta`` is negative or not finite.
    """

    theta: float = 5.0

    name: ClassVar[str] = "pbi"
    title: ClassVar[str] = "PBI"
    color: ClassVar[str] = "#8B5A2B"
    marker: ClassVar[str] = "p"
    arbitrary_length: ClassVar[bool] = True
    lam_native: ClassVar[bool] = True
    weights_losses: ClassVar[bool] = True
    positive_losses: ClassVar[bool] = True
    properties: ClassVar[frozenset[Property]] = frozenset({"permutation_equivariant", "needs_losses"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.theta < 0:
            raise ValueError(f"theta must be at least 0, got {self.theta}")

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., K)``."""
        assert losses is not None
        along = ray(self.preferences(gram))
        along = along / norm(along)
        away = losses - (losses * along).sum(-1, keepdim=True) * along
        return along + self.theta * divide(away, torch.hypot(norm(away), 1e-6 * norm(losses)))


def ray(preferences: Tensor) -> Tensor:
    """The losses ``(..., K)`` of sum 1 at which all p_k L_k are equal."""
    inverse = 1 / preferences.clamp(min=1e-100)
    return inverse / inverse.sum(-1, keepdim=True)


def norm(vector: Tensor) -> Tensor:
    """``(..., 1)``."""
    length: Tensor = torch.linalg.vector_norm(vector, dim=-1, keepdim=True)
    return length
