"""Meta-Balance: bring auxiliary gradients to the length of the main one."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .engine import Method, Property, State, divide


@dataclass(frozen=True)
class MetaBalance(Method):
    """d = g_m + Σ λ_k (r n_m / n_k + 1 − r) g_k, n_k ← β n_k + (1 − β) ‖g_k‖.

    With ``blocks`` the norms are those of each block of parameters, as in the source. β = 0 and r = 1 are
    the form of Hsieh et al. 2024, arXiv 2402.02998, Table 1.

    Source: He et al. 2022, arXiv 2203.06801, Algorithm 1. Differs: norms start at the first gradient's, not
    at 0; the weight λ is ours.

    Args:
        beta: share of the past in the moving averages, in [0, 1).
        relax: how much of the balanced gradient to take, in [0, 1].

    Raises:
        ValueError: ``beta`` or ``relax`` lies outside its range.
    """

    beta: float = 0.9
    relax: float = 1.0

    name: ClassVar[str] = "metabalance"
    title: ClassVar[str] = "Meta-Balance"
    color: ClassVar[str] = "#332288"
    marker: ClassVar[str] = "h"
    lam_last: ClassVar[bool] = True
    absolute: ClassVar[bool] = True
    properties: ClassVar[frozenset[Property]] = frozenset({"permutation_equivariant"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 <= self.beta < 1 and 0 <= self.relax <= 1):
            raise ValueError(f"beta must lie in [0, 1) and relax in [0, 1], got {self.beta}, {self.relax}")

    def start(self, shape: torch.Size, k: int, device: torch.device) -> State:
        """No norms yet."""
        return {"norms": torch.full((*shape, k), -1.0, dtype=torch.float64, device=device)}

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., K)``."""
        now = gram.diagonal(dim1=-2, dim2=-1).sqrt()
        past = torch.where(state["norms"] < 0, now, state["norms"])
        state["norms"] = self.beta * past + (1 - self.beta) * now
        balanced = divide(state["norms"][..., :1], state["norms"][..., 1:])
        auxiliary = self.relax * balanced + 1 - self.relax
        return torch.cat([torch.ones_like(auxiliary[..., :1]), auxiliary], -1)
