"""GradDrop: at every parameter keep the gradients of one sign, drawn by how much of the total has it."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .engine import CoordinateMethod, Property, State, divide, draw


@dataclass(frozen=True)
class GradDrop(CoordinateMethod):
    """d_p = Σ_i g_ip [g_ip > 0] where u_p < P_p, else Σ_i g_ip [g_ip < 0], u_p uniform in [0, 1).

    The positive sign purity is P_p = (1 + Σ_i g_ip / Σ_i |g_ip|) / 2 for each of the P parameters,
    with gradients ``(..., K, P)``. A parameter without gradient stays; of gradients that are not
    all finite d_p is the sum.

    Source: Chen et al. 2020, "Just pick a sign: optimizing deep multitask models with gradient sign
    dropout", arXiv 2010.06808, Equation 1 and Algorithm 1 without leak. Differs: applied to the gradients of
    the parameters, where they drop those of a shared activation.
    """

    name: ClassVar[str] = "graddrop"
    title: ClassVar[str] = "GradDrop"
    color: ClassVar[str] = "#8C8C8C"
    marker: ClassVar[str] = "^"
    random: ClassVar[bool] = True
    properties: ClassVar[frozenset[Property]] = frozenset({"permutation_equivariant"})

    def coordinates(self, rows: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., P)``."""
        purity = (1 + divide(rows.sum(-2), rows.abs().sum(-2))) / 2
        positive = draw(state, rows.shape[-1]) < purity
        kept = torch.where(positive, rows.clamp(min=0).sum(-2), rows.clamp(max=0).sum(-2))
        return torch.where(purity.isnan(), rows.sum(-2), kept)
