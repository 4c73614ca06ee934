"""GradVac: raise the cosine of conflicting gradients to what it has been on average."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .engine import LamIs, Method, State, check_rho, divide, draw, tolerance


@dataclass(frozen=True)
class GradVac(Method):
    """d = Σ_i (g_i + c_ij g_j where φ_ij < φ̄_ij, else g_i), φ_ij = cos(g_i, g_j), φ̄_ij its moving average.

    c = ‖g_i‖ (φ̄ √(1 − φ²) − φ √(1 − φ̄²)) / (‖g_j‖ √(1 − φ̄²)), φ̄ ← (1 − β) φ̄ + β φ, from φ̄ = 0. Each gradient
    meets the others one after the other, in a random order. Where φ̄ = 1 to rounding, which no finite c
    reaches, g_i stays. λ scales g_a: the altered g_m does not change,
    and the altered g_a is scaled with it.

    Source: Wang & Tsvetkov 2021, arXiv 2010.05874, Algorithm 1; the weight λ is ours.

    Args:
        beta: coefficient of the moving average, in (0, 1].

    Raises:
        ValueError: ``beta`` lies outside (0, 1].
    """

    beta: float = 0.01

    name: ClassVar[str] = "gradvac"
    title: ClassVar[str] = "GradVac"
    color: ClassVar[str] = "#A6A600"
    marker: ClassVar[str] = "p"
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rho(self.beta, "beta")

    def start(self, shape: torch.Size, k: int, device: torch.device) -> State:
        """φ̄ = 0 for every pair ``(..., K, K)``."""
        return {"average": torch.zeros(*shape, k, k, dtype=torch.float64, device=device)}

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., K)``."""
        return self._altered(gram, state).sum(-2)

    def _altered(self, gram: Tensor, state: State) -> Tensor:
        """``(..., K, K)``: each gradient after it has met the others, in coefficients of all."""
        k, average = gram.shape[-1], state["average"]
        own = torch.eye(k, dtype=gram.dtype, device=gram.device)
        altered, norms = own.expand_as(gram), gram.diagonal(dim1=-2, dim2=-1).sqrt()
        order = draw(state, k * k).reshape(gram.shape).argsort(-1)
        for visited in order.unbind(-1):
            other = own[visited] * (1 - own)
            length = ((altered @ gram) * altered).sum(-1).clamp(min=0).sqrt()
            theirs, target = (other * norms[..., None, :]).sum(-1), (other * average).sum(-1)
            phi = divide(((altered @ gram) * other).sum(-1), length * theirs).clamp(-1, 1)
            across, aim = (1 - phi**2).sqrt(), 1 - target**2
            aim = torch.where(aim > tolerance(gram), aim, 0.0).sqrt()
            added = divide(length * (target * across - phi * aim), theirs * aim)
            altered = altered + torch.where(phi < target, added, 0.0)[..., None] * other
            average = average + self.beta * other * (phi - target)[..., None]
        state["average"] = average
        return altered


@dataclass(frozen=True)
class GradVacMain(GradVac):
    """d = g_m + c g_a where φ < φ̄, else g_m: the altered main gradient of GradVac, without the others.

    λ is no part of it: of g_a the direction alone matters.

    Source: Wang & Tsvetkov 2021, arXiv 2010.05874, Algorithm 1, in the form of Hsieh et al. 2024, arXiv
    2402.02998, Table 1.
    """

    name: ClassVar[str] = "gradvac_main"
    title: ClassVar[str] = "GradVac, main only"
    color: ClassVar[str] = "#A6A600"
    marker: ClassVar[str] = "P"
    lam_is: ClassVar[LamIs] = "none"

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., K)``."""
        return self._altered(gram, state)[..., 0, :]
