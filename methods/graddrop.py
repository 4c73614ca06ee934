"""GradDrop: at every parameter keep the gradients of one sign, drawn by how much of the total has it."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from scalpel_bench.methods.engine.arithmetic import divide, uniform
from scalpel_bench.methods.engine.base import Method, Property, State


@dataclass(frozen=True)
class GradDrop(Method):
    """d_p = Σ_i g_ip [g_ip > 0] where u_p < P_p, else Σ_i g_ip [g_ip < 0], u_p uniform in [0, 1).

    The positive sign purity is P_p = (1 + Σ_i g_ip / Σ_i |g_ip|) / 2 for each of the P parameters,
    with gradients ``(..., K, P)``. A parameter without gradient stays. It works on coordinates, not on the
    Gram matrix, so `blocks` change nothing.

    Source: Chen et al. 2020, "Just pick a sign: optimizing deep multitask models with gradient sign
    dropout", arXiv 2010.06808, Equation 1 and Algorithm 1 without leak. Differs: applied to the gradients of
    the parameters, where they drop those of a shared activation; u depends on the number of the step alone.

    Raises:
        ValueError: ``ema`` is set; it smooths Gram matrices.
    """

    name: ClassVar[str] = "graddrop"
    properties: ClassVar[frozenset[Property]] = frozenset({"permutation_equivariant"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ema is not None:
            raise ValueError("graddrop has no Gram matrix for ema to smooth")

    def start(self, shape: torch.Size, k: int, device: torch.device) -> State:
        """The number of the step."""
        return {"step": torch.zeros(shape, dtype=torch.int64, device=device)}

    def init(self, gradients: Tensor) -> State:
        """The state before the first step, for the whole model at once."""
        self._check(gradients)
        return self.start(gradients.shape[:-2], gradients.shape[-2], gradients.device)

    def combine(
        self,
        gradients: Tensor,
        state: State,
        losses: Tensor | None = None,
        *,
        gram: Tensor | None = None,
        out: Tensor | None = None,
        rounding: float | None = None,
    ) -> tuple[Tensor, State]:
        """One step, in float64: `Method.combine` has the arguments."""
        self._check(gradients)
        rows = gradients.double()
        lam = self._lam_per_auxiliary(rows[..., None, :, :] if self.blocks else rows, rows.shape[-2])
        lam = lam.reshape(*rows.shape[:-2], -1)
        rows = rows * torch.cat([torch.ones_like(lam[..., :1]), lam], -1)[..., None]
        purity = (1 + divide(rows.sum(-2), rows.abs().sum(-2))) / 2
        positive = uniform(state["step"], rows.shape[-1]) < purity
        direction = torch.where(positive, rows.clamp(min=0).sum(-2), rows.clamp(max=0).sum(-2))
        if self.rescale:
            direction = direction / (1 + lam.sum(-1, keepdim=True))
        written = torch.empty_like(gradients[..., 0, :]) if out is None else out
        return written.copy_(direction), state | {"step": state["step"] + 1}

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """None: no weight of a whole gradient gives the direction."""
        raise TypeError("graddrop weighs coordinates, not gradients")
