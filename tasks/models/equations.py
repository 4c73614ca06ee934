"""Differential equations in a rectangle of the plane whose solution is known in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from .jets import Jet

Point = tuple[float, float]


class Equation(Protocol):
    """An equation, its domain and its solution.

    Attributes:
        title: of it.
        low, high: corners of the rectangle.
        equations: names of its residuals.
        outputs: D, how many functions are sought.
        scale: what points are divided by for a network.
        sides: factor of the mean squared error on the boundary: 4 where the source adds up four sides.
    """

    title: ClassVar[str]
    low: ClassVar[Point]
    high: ClassVar[Point]
    equations: ClassVar[tuple[str, ...]]
    outputs: ClassVar[int]
    scale: ClassVar[float]
    sides: ClassVar[float]

    def exact(self, points: Tensor) -> Tensor:
        """``(N, D)``: the solution at points ``(N, 2)``."""

    def residuals(self, points: Tensor, found: Jet) -> tuple[Tensor, ...]:
        """``(N,)`` for each equation: by how much what was found misses it."""


@dataclass(frozen=True)
class Kovasznay:
    """Steady incompressible flow behind a grid at Reynolds number 40: (u, v, p).

    Momentum u ∂u/∂x + v ∂u/∂y + ∂p/∂x − Δu / 40 (and so for v), continuity ∂u/∂x + ∂v/∂y.

    Source: Kovasznay 1948, "Laminar flow behind a two-dimensional grid".
    """

    title: ClassVar[str] = "Kovasznay flow at Reynolds number 40"
    low: ClassVar[Point] = (-0.5, -0.5)
    high: ClassVar[Point] = (1.0, 1.5)
    equations: ClassVar[tuple[str, ...]] = ("momentum_x", "momentum_y", "continuity")
    outputs: ClassVar[int] = 3
    scale: ClassVar[float] = 1.0
    sides: ClassVar[float] = 1.0
    viscosity: ClassVar[float] = 1 / 40

    def exact(self, points: Tensor) -> Tensor:
        """u = 1 − e^{λx} cos 2πy, v = λ/2π e^{λx} sin 2πy, p = (1 − e^{2λx}) / 2, λ = 20 − √(400 + 4π²)."""
        lam = 1 / (2 * self.viscosity) - math.sqrt(1 / (4 * self.viscosity**2) + 4 * math.pi**2)
        x, angle = points[:, 0], 2 * math.pi * points[:, 1]
        decay = torch.exp(lam * x)
        v = lam / (2 * math.pi) * decay * torch.sin(angle)
        return torch.stack([1 - decay * torch.cos(angle), v, (1 - decay**2) / 2], 1)

    def residuals(self, points: Tensor, found: Jet) -> tuple[Tensor, ...]:
        """Of both momenta, and of continuity."""
        (u, v, _), (u_x, v_x, p_x), (u_y, v_y, p_y), (lap_u, lap_v, _) = (part.unbind(1) for part in found)
        return (
            u * u_x + v * u_y + p_x - self.viscosity * lap_u,
            u * v_x + v * v_y + p_y - self.viscosity * lap_v,
            u_x + v_y,
        )


@dataclass(frozen=True)
class Helmholtz:
    """Δu + u = f in a square, u = 0 on its boundary, with u = sin πx sin 4πy.

    Source: Wang, Teng, Perdikaris 2021, arXiv 2001.04536, Section 4.1 (a₁ = 1, a₂ = 4, k = 1).
    """

    title: ClassVar[str] = "Helmholtz equation, sin πx sin 4πy"
    low: ClassVar[Point] = (-1.0, -1.0)
    high: ClassVar[Point] = (1.0, 1.0)
    equations: ClassVar[tuple[str, ...]] = ("equation",)
    outputs: ClassVar[int] = 1
    scale: ClassVar[float] = 1 / math.sqrt(3)
    sides: ClassVar[float] = 4.0

    def exact(self, points: Tensor) -> Tensor:
        """sin πx sin 4πy."""
        return torch.sin(math.pi * points[:, :1]) * torch.sin(4 * math.pi * points[:, 1:])

    def residuals(self, points: Tensor, found: Jet) -> tuple[Tensor, ...]:
        """Δu + u − f."""
        force = (1 - 17 * math.pi**2) * self.exact(points)
        return ((found.laplacian + found.value - force).squeeze(1),)


EQUATIONS: dict[str, Equation] = {"kovasznay": Kovasznay(), "helmholtz": Helmholtz()}


def inside(equation: Equation, count: int, generator: torch.Generator) -> Tensor:
    """``(count, 2)`` points of the rectangle, a Latin hypercube (McKay, Beckman, Conover 1979)."""
    strata = torch.stack([torch.randperm(count, generator=generator) for _ in range(2)], 1)
    shares = (strata + torch.rand(count, 2, generator=generator)) / count
    low, high = torch.tensor(equation.low), torch.tensor(equation.high)
    return low + shares * (high - low)


def around(equation: Equation, count: int, generator: torch.Generator) -> Tensor:
    """``(count, 2)`` points of the boundary, one in each of as many stretches of equal length."""
    (left, low), (right, high) = equation.low, equation.high
    width, height = right - left, high - low
    shares = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    along = shares * 2 * (width + height)
    x = torch.clamp(torch.minimum(along, 2 * width + height - along), 0, width)
    y = torch.clamp(torch.minimum(along - width, 2 * (width + height) - along), 0, height)
    return torch.stack([left + x, low + y], 1)
