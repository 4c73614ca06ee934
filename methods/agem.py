"""A-GEM: keep the main step from raising the auxiliary losses."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from .engine import LamIs, Method, Property, State, divide, tolerance


@dataclass(frozen=True)
class AGEM(Method):
    """d = g_m − min(0, ⟨g_m, ḡ⟩) / ‖ḡ‖² · ḡ, ḡ the sum of the auxiliary gradients.

    λ is no part of it: of ḡ the direction alone matters.

    Source: Chaudhry et al. 2019, arXiv 1812.00420, the main loss in the place of the new task
    and the auxiliary losses in that of the memory.
    """

    name: ClassVar[str] = "agem"
    title: ClassVar[str] = "A-GEM"
    color: ClassVar[str] = "#8C8C8C"
    marker: ClassVar[str] = "<"
    lam_is: ClassVar[LamIs] = "none"
    projects: ClassVar[Literal["sum", "main"] | None] = "main"
    properties: ClassVar[frozenset[Property]] = frozenset({"permutation_equivariant"})

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., K)``."""
        conflict = gram[..., 0, 1:].sum(-1).clamp(max=0)
        length = gram[..., 1:, 1:].sum((-2, -1))
        rows = gram[..., 1:, 1:].diagonal(dim1=-2, dim2=-1).sum(-1)
        length = torch.where(length > tolerance(gram) * rows, length, 0.0)
        auxiliary = -divide(conflict, length)[..., None].expand(gram[..., 0, 1:].shape)
        return torch.cat([torch.ones_like(auxiliary[..., :1]), auxiliary], -1)
