"""The contract of a method that works on every parameter by itself."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from .arithmetic import divide
from .contract import BaseMethod, State
from .parts import Parts


@dataclass(frozen=True)
class CoordinateMethod(BaseMethod):
    """How K gradients become one direction, from the K numbers that they have at each parameter.

    Auxiliary gradients are scaled by ``lam`` before the method sees them. There is no Gram matrix to smooth
    or to cut into blocks. Subclasses set `name` and `coordinates`, and `start` where they remember anything.
    """

    @abstractmethod
    def coordinates(self, rows: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """The direction.

        Args:
            rows: ``(..., K, P)`` in float64, auxiliary rows scaled by λ.
            state: a fresh dict; what is assigned to it is handed back at the next step.
            losses: ``(..., K)``, or None where the caller does not know them.

        Returns:
            ``(..., P)``. Gradients that are scaled by one positive number must scale it alike.
        """

    def combine(
        self,
        gradients: Tensor | Parts,
        state: State,
        losses: Tensor | None = None,
        *,
        gram: Tensor | None = None,
        out: Tensor | None = None,
        rounding: float | None = None,
    ) -> tuple[Tensor, State]:
        """One step of surgery, in float64: `BaseMethod.combine` has the arguments."""
        self._check(gradients)
        self._check_losses(losses, gradients.shape[:-1])
        exact = (gradients if isinstance(gradients, Tensor) else gradients.whole()).double()
        next_state, lam = dict(state), self._lams(exact.shape[:-2], exact.shape[-2], exact)
        rows = exact * torch.cat([torch.ones_like(lam[..., :1]), lam], -1)[..., None]
        direction = self.coordinates(rows, next_state, losses)
        if self.length == "sum":
            lengths = torch.linalg.vector_norm(torch.stack([rows.sum(-2), direction]), dim=-1, keepdim=True)
            direction = direction * divide(*lengths)
        if self.rescale:
            direction = direction / (1 + lam.sum(-1, keepdim=True))
        written = exact.new_empty(direction.shape, dtype=gradients.dtype) if out is None else out
        return written.copy_(direction), next_state
