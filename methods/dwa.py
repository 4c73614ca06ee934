"""Dynamic weight average."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .engine import Method, Property, State, divide


@dataclass(frozen=True)
class DWA(Method):
    """d = Σ w_k λ_k g_k, w = K softmax(r / T), r_k = L_k(t − 1) / L_k(t − 2).

    L_k(t) is the mean loss over the t-th period of steps; the weights are 1 in the first two.
    The rate at which a loss falls has no meaning where it is 0 or less, which is refused.

    Source: Liu, Johns & Davison 2019, arXiv 1803.10704. Differs: periods of a fixed number of
    steps instead of epochs; the weight λ is ours.

    Args:
        temperature: T > 0.
        period: steps per period.

    Raises:
        ValueError: ``temperature`` or ``period`` is not positive.
    """

    temperature: float = 2.0
    period: int = 100

    name: ClassVar[str] = "dwa"
    title: ClassVar[str] = "DWA"
    color: ClassVar[str] = "#009E73"
    marker: ClassVar[str] = "d"
    weights_losses: ClassVar[bool] = True
    lam_last: ClassVar[bool] = True
    positive_losses: ClassVar[bool] = True
    properties: ClassVar[frozenset[Property]] = frozenset({"permutation_equivariant", "needs_losses"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.temperature > 0 and self.period > 0):
            raise ValueError(f"temperature and period must be > 0, got {self.temperature}, {self.period}")

    def start(self, shape: torch.Size, k: int, device: torch.device) -> State:
        """No losses yet."""
        zeros = torch.zeros(*shape, 2, k, dtype=torch.float64, device=device)
        step = torch.zeros(shape, dtype=torch.int64, device=device)
        return {"sum": zeros[..., 0, :], "means": zeros, "step": step}

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., K)``."""
        assert losses is not None
        step, means = state["step"], state["means"]
        ended = ((step > 0) & (step % self.period == 0))[..., None]
        last = torch.where(ended, state["sum"] / self.period, means[..., 0, :])
        before = torch.where(ended, means[..., 0, :], means[..., 1, :])
        state["means"] = torch.stack([last, before], -2)
        state["sum"] = torch.where(ended, 0.0, state["sum"]) + losses
        state["step"] = step + 1
        weights = gram.shape[-1] * (divide(last, before) / self.temperature).softmax(-1)
        return torch.where((step < 2 * self.period)[..., None], 1.0, weights)
