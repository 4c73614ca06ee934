"""Random loss weighting."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from scalpel_bench.methods.engine.arithmetic import uniform
from scalpel_bench.methods.engine.base import Method, State


@dataclass(frozen=True)
class RLW(Method):
    """d = Σ w_k λ_k g_k, w = softmax(z), z ~ N(0, I) drawn anew at every step.

    Source: Lin et al. 2022, arXiv 2111.10603, Section 3 (normal distribution). The draws come from a counter
    in the state, the same for every run.
    """

    name: ClassVar[str] = "rlw"
    weights_losses: ClassVar[bool] = True
    lam_last: ClassVar[bool] = True

    def start(self, shape: torch.Size, k: int, device: torch.device) -> State:
        """Step 0."""
        return {"step": torch.zeros(shape, dtype=torch.int64, device=device)}

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., K)``."""
        k, step = gram.shape[-1], state["step"]
        state["step"] = step + 1
        u = uniform(step, 2 * k)
        normal = (-2 * torch.log1p(-u[..., :k])).sqrt() * torch.cos(2 * math.pi * u[..., k:])
        return normal.softmax(-1)
