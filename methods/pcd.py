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

    g̃_i = g_i / √v_i, v_i the EMA of ‖g_i‖². τ_k = λ_k / (1 + λ_k): every λ ≥ 0 is a share of progress in
    [0, 1), and λ = 0 is τ = 0. d ∝ g_m + Σ c_k g_k with c ≥ 0 ``(..., K - 1)``; for two objectives
    c = max(0, τ √(v_m / v_a) − ⟨g_m, g_a⟩ / ‖g_a‖²), for more by a nonnegative quadratic programme in the
    units of the rows' lengths. Where no d̃ meets all constraints, as between opposed g_k, d = g_m.

    Source: Varam & AlHajri 2026, "Not all objectives are born equal: priority-constrained descent for
    hierarchical multi-objective optimization", arXiv 2606.29521, Definitions 4.1 and 4.5, Algorithm 1.
    Differs: no constant is added to v, which has the unit of a squared gradient, so that one that was always
    zero takes no part. Their correction of v for its start at 0 is left out: it cancels in the ratios.

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
        """No lengths yet."""
        return {"squares": torch.zeros(*shape, k, dtype=torch.float64, device=device)}

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., K)``, nonnegative."""
        squares = gram.diagonal(dim1=-2, dim2=-1)
        state["squares"] = self.beta * state["squares"] + (1 - self.beta) * squares
        lengths, lam = squares[..., 1:].sqrt(), self._lam_per_auxiliary(gram, gram.shape[-1])
        asked = (
            divide(state["squares"][..., :1], state["squares"][..., 1:]).sqrt() * lam / (1 + lam) * lengths
        )
        added = self._added(gram, divide(gram[..., 0, 1:], lengths) - asked)
        weights = torch.nn.functional.pad(divide(added, lengths), (1, 0), value=1.0)
        main = torch.eye(*gram.shape[-2:], dtype=gram.dtype, device=gram.device)[0]
        return weights * ratio_of_lengths(main.expand_as(weights), weights, gram)

    def _added(self, gram: Tensor, excess: Tensor) -> Tensor:
        """z ≥ 0 ``(..., K - 1)`` of least ½ zᵀCz + zᵀ excess, C the cosines; zeros where there is none."""
        if gram.shape[-1] == 2:
            return -excess.clamp(max=0)
        unit, size = cosines(gram[..., 1:, 1:])[0], excess.abs().amax(-1, keepdim=True)
        matrix = definite(unit, max(tolerance(gram), _LEAST))
        added = size * nonnegative_qp(matrix, divide(excess, size))
        gained = (added * (times(unit, added) + excess / 2)).sum(-1, keepdim=True)
        return torch.where(gained >= 0, added, 0.0)
