"""GradNorm: learn weights that make gradients long where losses fall slowly."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .engine import Method, Property, State, divide


@dataclass(frozen=True)
class GradNorm(Method):
    """d = Σ w_k λ_k g_k, w = K softmax(s), for ‖w_k g_k‖ near n r_k^α, n the mean of ‖w_j g_j‖.

    r_k is L_k over its first value, divided by the mean of that over the losses. s moves down the gradient of
    Σ |‖w_k g_k‖ / n − r_k^α|, n and r held, from s = 0. How far a loss has fallen has no meaning where it is
    0 or less, which is refused.

    Source: Chen et al. 2018, arXiv 1711.02257, Algorithm 1. Differs: w is a softmax, where theirs moves by
    itself, is divided by its mean after the step, and may turn negative; the division by n, so that lr has no
    unit; lengths are of the gradients of all parameters, where theirs are of the last shared layer; the
    weight λ is ours.

    Args:
        alpha: the asymmetry α ≥ 0: how much a loss that falls slowly is favoured.
        lr: learning rate of s, about what s moves in a step.

    Raises:
        ValueError: ``alpha`` or ``lr`` is negative or not finite.
    """

    alpha: float = 1.5
    lr: float = 0.025

    name: ClassVar[str] = "gradnorm"
    title: ClassVar[str] = "GradNorm"
    color: ClassVar[str] = "#CC79A7"
    marker: ClassVar[str] = "s"
    arbitrary_length: ClassVar[bool] = True
    lam_last: ClassVar[bool] = True
    positive_losses: ClassVar[bool] = True
    properties: ClassVar[frozenset[Property]] = frozenset({"permutation_equivariant", "needs_losses"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.alpha, self.lr) < 0:
            raise ValueError(f"alpha and lr must be at least 0, got {self.alpha}, {self.lr}")

    def start(self, shape: torch.Size, k: int, device: torch.device) -> State:
        """s = 0, and no first losses yet."""
        s = torch.zeros(*shape, k, dtype=torch.float64, device=device)
        return {"s": s, "first": torch.full_like(s, torch.nan)}

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., K)``, of sum K."""
        assert losses is not None
        state["first"] = torch.where(state["first"].isnan(), losses, state["first"])
        fallen, share = losses / state["first"], state["s"].softmax(-1)
        rate = fallen / fallen.mean(-1, keepdim=True)
        lengths = share * gram.diagonal(dim1=-2, dim2=-1).sqrt()
        relative = divide(lengths, lengths.mean(-1, keepdim=True))
        slope = relative * (relative - rate**self.alpha).sign()
        gradient = slope - share * slope.sum(-1, keepdim=True)
        state["s"] = state["s"] - self.lr * gradient.nan_to_num(0.0, 0.0, 0.0)
        return gram.shape[-1] * share
