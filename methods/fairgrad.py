"""FairGrad: share the decrease of the losses by α-fairness."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .engine import LamIs, Method, Property, State, cosines, definite, divide, power_balance, tolerance


@dataclass(frozen=True)
class FairGrad(Method):
    """d = Σ_i w_i g_i with Gw = w^(−1/α), w > 0: the direction of greatest Σ_i ⟨d, g_i⟩^(1−α) / (1−α).

    By the cosines C and lengths l of the gradients, w_i = y_i / l_i with Cy = l^(1/α − 1) y^(−1/α),
    ``(..., K)``. α = 1 is Nash-MTL; larger values favour the objectives with the least decrease. λ is no part
    of it: as a factor of a loss it would change nothing at α = 1, and run backwards beyond.

    Source: Ban & Ji 2024, "Fair resource allocation in multi-task learning", arXiv 2402.15638, Equation 4.
    Differs: solved by Newton's method, where the authors run a least-squares solver; G is divided by the
    squared length of the longest gradient before, which changes the length of d only.

    Args:
        alpha: the fairness α from 0.05 to 20, beyond which the fixed number of iterations does not solve it.

    Raises:
        ValueError: ``alpha`` is outside [0.05, 20].
    """

    alpha: float = 1.0

    name: ClassVar[str] = "fairgrad"
    title: ClassVar[str] = "FairGrad"
    color: ClassVar[str] = "#CC79A7"
    marker: ClassVar[str] = "*"
    lam_is: ClassVar[LamIs] = "none"
    arbitrary_length: ClassVar[bool] = True
    properties: ClassVar[frozenset[Property]] = frozenset({"non_conflicting", "permutation_equivariant"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.05 <= self.alpha <= 20:
            raise ValueError(f"alpha must lie in [0.05, 20], got {self.alpha}")

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., K)``, positive; 0 for a zero gradient."""
        unit, lengths = cosines(gram)
        scale = torch.where(lengths == 0, 1.0, lengths) ** (1 / self.alpha - 1)
        return divide(power_balance(definite(unit, tolerance(gram)), scale, 1 / self.alpha), lengths)
