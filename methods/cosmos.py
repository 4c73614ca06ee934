"""COSMOS: a weighted sum that keeps the losses at a small angle to a ray of preferences."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from .engine import Method, Property, State
from .pbi import norm, ray


@dataclass(frozen=True)
class COSMOS(Method):
    """d = Σ w_k g_k, w = r − μ (r / ‖r‖ − cos(r, L) L / ‖L‖) / ‖L‖: the gradient of ⟨r, L⟩ − μ cos(r, L).

    r ``(..., K)`` lies on a ray, and has the sum 1. On the ray all p_k L_k are equal, with p = (1, λ) /
    (1 + Σ λ), which is what `stch` seeks: the more λ, the less of the auxiliary loss. That is what the cosine
    asks for; where μ is small beside ‖L‖ the sum decides, and asks for the opposite. A weight may be
    negative. The ray starts at 0: losses of 0 or less are refused.

    Source: Ruchte & Grabocka 2021, "Scalable Pareto front approximation for deep multi-objective learning",
    arXiv 2103.13392, Equation 5. Differs: they name the ray, which here follows from the preferences; the
    model does not take them as an input.

    Args:
        mu: μ ≥ 0, how much the cosine counts, their λ.

    Raises:
        ValueError: ``mu`` is negative or not finite.
    """

    mu: float = 5.0

    name: ClassVar[str] = "cosmos"
    title: ClassVar[str] = "COSMOS"
    color: ClassVar[str] = "#332288"
    marker: ClassVar[str] = "X"
    arbitrary_length: ClassVar[bool] = True
    lam_native: ClassVar[bool] = True
    weights_losses: ClassVar[bool] = True
    positive_losses: ClassVar[bool] = True
    properties: ClassVar[frozenset[Property]] = frozenset({"permutation_equivariant", "needs_losses"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mu < 0:
            raise ValueError(f"mu must be at least 0, got {self.mu}")

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., K)``."""
        assert losses is not None
        r = ray(self.preferences(gram))
        along, unit = r / norm(r), losses / norm(losses)
        cosine = (along * unit).sum(-1, keepdim=True)
        return r - self.mu * (along - cosine * unit) / norm(losses)
