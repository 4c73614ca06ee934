"""PCD: the nearest direction to the main gradient along which every auxiliary loss falls fast enough."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .engine import (
    Method,
    Property,
    State,
    cosines,
    definite,
    divide,
    nonnegative_qp,
    ratio_of_lengths,
    times,
    tolerance,
)

_LEAST = 1e-10
"""The eigenvalue, relative to the greatest, below which the programme counts as unbounded."""


@dataclass(frozen=True)
class PCD(Method):
    """d̃ nearest to g̃_m with ⟨g̃_k, d̃⟩ ≥ τ_k ‖g̃_k‖² for every auxiliary k, and d = ‖g_m‖ d̃ / ‖d̃‖.

    g̃_i = g_i / √v_i, v_i the bias-corrected EMA of ‖g_i‖². τ_k = λ_k / (1 + λ_k), so that every λ ≥ 0 is a
    share of progress in [0, 1), and λ = 0 is τ = 0. d̃ = g̃_m + Σ μ_k g̃_k, μ ≥ 0 ``(..., K - 1)`` from a
    nonnegative quadratic programme in the units of the rows' lengths; in closed form for two objectives.
    Where no d̃ meets all the constraints, as between opposed auxiliary gradients, d = g_m.

    Source: Varam & AlHajri 2026, "Not all objectives are born equal: priority-constrained descent for
    hierarchical multi-objective optimization", arXiv 2606.29521. Differs: no constant is added to v, which
    has the unit of a squared gradient; a gradient that was always zero takes no part.

    Args:
        beta: share of the past in the EMA of the squared lengths, in [0, 1).

    Raises:
        ValueError: ``beta`` is not.
    """

    beta: float = 0.999

    name: ClassVar[str] = "pcd"
    title: ClassVar[str] = "PCD"
    color: ClassVar[str] = "#0072B2"
    marker: ClassVar[str] = "d"
    arbitrary_length: ClassVar[bool] = True
    lam_native: ClassVar[bool] = True
    absolute: ClassVar[bool] = True
    properties: ClassVar[frozenset[Property]] = frozenset({"permutation_equivariant"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.beta < 1:
            raise ValueError(f"beta must lie in [0, 1), got {self.beta}")

    def start(self, shape: torch.Size, k: int, device: torch.device) -> State:
        """Squared lengths of 0, which are all of the average so far."""
        squares = torch.zeros(*shape, k, dtype=torch.float64, device=device)
        return {"squares": squares, "start": torch.ones_like(squares[..., :1])}

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., K)``, nonnegative."""
        unit, lengths = cosines(gram)
        state["squares"] = self.beta * state["squares"] + (1 - self.beta) * lengths**2
        state["start"] = self.beta * state["start"]
        usual = (state["squares"] / (1 - state["start"])).sqrt()
        seen = divide(lengths, usual)
        lam = self._lam_per_auxiliary(gram, gram.shape[-1])
        excess = seen[..., :1] * unit[..., 0, 1:] - lam / (1 + lam) * seen[..., 1:]
        added = usual[..., :1] * divide(
            self._added(unit[..., 1:, 1:], excess, max(tolerance(gram), _LEAST)), lengths[..., 1:]
        )
        weights = torch.cat([torch.ones_like(usual[..., :1]), added], -1)
        main = torch.eye(*gram.shape[-2:], dtype=gram.dtype, device=gram.device)[0]
        return weights * ratio_of_lengths(main.expand_as(weights), weights, gram)

    def _added(self, unit: Tensor, excess: Tensor, tolerance: float) -> Tensor:
        """Lengths of g̃_k to add, of least ½ zᵀCz + zᵀ excess; zeros where that has no least value."""
        if excess.shape[-1] == 1:
            return -excess.clamp(max=0)
        size = excess.abs().amax(-1, keepdim=True)
        added = size * nonnegative_qp(definite(unit, tolerance), divide(excess, size))
        gained = (added * (times(unit, added) + excess / 2)).sum(-1, keepdim=True)
        return torch.where(gained >= 0, added, 0.0)
