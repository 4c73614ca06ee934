"""Uncertainty weighting: learn the noise of each loss."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .engine import Method, Property, State, adam, adam_start


@dataclass(frozen=True)
class UW(Method):
    """d = Σ ½ exp(−s_k) λ_k g_k, s_k the learned log-variance of loss k.

    s minimises Σ ½ (exp(−s_k) L_k + s_k) by Adam, from s = 0: ½ exp(−s_k) tends to 1 / (2 L_k). A loss of 0
    or less has no such minimum, and is refused.

    Source: Kendall, Gal & Cipolla 2018, arXiv 1705.07115, Section 3.2. Differs: s has an Adam of its own,
    where theirs is one more parameter of the model's optimiser; the weight λ is ours.

    Args:
        lr: learning rate of s: the most that s moves in a step, as losses of any size move it by Adam.

    Raises:
        ValueError: ``lr`` is negative or not finite.
    """

    lr: float = 0.025

    name: ClassVar[str] = "uncertainty"
    title: ClassVar[str] = "Uncertainty"
    color: ClassVar[str] = "#000000"
    marker: ClassVar[str] = "p"
    arbitrary_length: ClassVar[bool] = True
    weights_losses: ClassVar[bool] = True
    lam_last: ClassVar[bool] = True
    positive_losses: ClassVar[bool] = True
    properties: ClassVar[frozenset[Property]] = frozenset({"permutation_equivariant", "needs_losses"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.lr >= 0:
            raise ValueError(f"lr must be at least 0, got {self.lr}")

    def start(self, shape: torch.Size, k: int, device: torch.device) -> State:
        """s = 0."""
        s = torch.zeros(*shape, k, dtype=torch.float64, device=device)
        return {"s": s, **adam_start(s)}

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., K)``."""
        assert losses is not None
        precision = torch.exp(-state["s"])
        gradient = (1 - precision * losses) / 2
        adam(state, "s", gradient, self.lr, torch.isfinite(gradient).all(-1, keepdim=True))
        return precision / 2
