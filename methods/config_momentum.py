"""M-ConFIG: ConFIG of the momenta of all gradients."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .conflict_free import ConFIG
from .engine import EMA, State, check_rho, rounded, rounding


@dataclass(frozen=True)
class ConFIGMomentum(ConFIG):
    """The direction of `config` for m_i ← (1 − ρ) m_i + ρ g_i in the place of every gradient g_i.

    Source: Liu, Chu & Thuerey 2024, "ConFIG: towards conflict-free training of physics informed neural
    networks", arXiv 2408.11104, M-ConFIG. Differs: all K gradients are known at every step, where the authors
    take one in turn and move its momentum alone, to save backward passes; the m_i start at the first
    gradients, where theirs start at 0 and are divided by 1 − (1 − ρ)^t; and the direction is not divided by
    the root of a second moment, which the optimiser may do.

    Args:
        rho: EMA coefficient ρ in (0, 1] of the momenta, 1 less their β_1.

    Raises:
        ValueError: ``rho`` is not.
    """

    rho: float = 0.1

    name: ClassVar[str] = "config_momentum"
    title: ClassVar[str] = "M-ConFIG"
    color: ClassVar[str] = "#D55E00"
    marker: ClassVar[str] = "h"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rho(self.rho)

    def memory(self, k: int) -> tuple[EMA, ...]:
        """The momenta."""
        return tuple(EMA(i, self.rho, "before") for i in range(k))

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., 2 K)``: zeros, and the coefficients of the momenta."""
        k = gram.shape[-1] // 2
        weights = super().coefficients(rounded(gram[..., k:, k:], rounding(gram)), state, losses)
        return torch.cat([torch.zeros_like(weights), weights], -1)
