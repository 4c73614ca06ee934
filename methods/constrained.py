"""What methods share whose λ is a bound: they minimise one of two losses, and hold the other below it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from .engine import LamIs, Method, Property

Bounded = Literal["aux", "main"]


@dataclass(frozen=True)
class Constrained(Method):
    """A method that minimises one loss subject to L ≤ c of the other, c = ``lam`` being any number.

    Subclasses set `name` and `coefficients`, which reads `excess`.

    Args:
        lam: the bound c, in the unit of the loss; a tensor of the leading shape ``(...)``.
        rescale: refused, since c is no weight.
        length: as for every method, where the sum is g_m + g_a.
        ema: as for every method.
        blocks: as for every method.
        bounded: the loss that c bounds: ``"aux"`` (the main loss is minimised) or ``"main"``.

    Raises:
        ValueError: as for every method.
    """

    bounded: Bounded = "aux"

    lam_is: ClassVar[LamIs] = "bound"
    objectives: ClassVar[int | None] = 2
    properties: ClassVar[frozenset[Property]] = frozenset({"needs_losses"})

    def excess(self, losses: Tensor) -> Tensor:
        """L − c of the loss that is bounded: ``(...)``.

        Args:
            losses: ``(..., 2)``, as `coefficients` gets them.
        """
        loss = losses[..., 0 if self.bounded == "main" else 1]
        if not isinstance(self.lam, Tensor):
            return loss - self.lam
        leading = loss.shape[:-1] if self._blocks else loss.shape
        return loss - self._lams(leading, 2, loss, self.lam).reshape(loss.shape)

    def weighted(self, mu: Tensor) -> Tensor:
        """``(..., 2)``: μ of the gradient of the bounded loss, and 1 of the other's."""
        one = torch.ones_like(mu)
        return torch.stack([mu, one] if self.bounded == "main" else [one, mu], -1)
