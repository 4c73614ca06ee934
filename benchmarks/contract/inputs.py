"""Gradients for methods, typical and degenerate, and the directions that a method makes of them."""

from __future__ import annotations

import torch
from torch import Tensor

from ...methods import BaseMethod


def pairs() -> dict[str, Tensor]:
    """Gradients ``(2, 30)`` in float64, typical and degenerate."""
    (pair,) = sampled(1)
    main, aux = pair
    along = (aux @ main) / (main @ main) * main
    zero = torch.zeros_like(main)
    return {
        "random": pair,
        "conflicting": torch.stack([main, aux - 2 * along - main]),
        "parallel": torch.stack([main, 3 * main]),
        "equal": torch.stack([main, main]),
        "opposed": torch.stack([main, -2 * main]),
        "orthogonal": torch.stack([main, aux - along]),
        "zero main": torch.stack([zero, aux]),
        "zero aux": torch.stack([main, zero]),
        "both zero": torch.stack([zero, zero]),
        "huge": 1e80 * pair,
        "tiny": 1e-80 * pair,
        "unequal scales": torch.stack([1e12 * main, 1e-12 * aux]),
    }


def dependent() -> dict[str, Tensor]:
    """Gradients ``(K, 30)`` in float64 of a lower rank, which rounding raises to K."""
    (rows,) = sampled(1, k=3)
    main, aux, other = rows
    return {
        "parallel": torch.stack([main, main / 3]),
        "opposed": torch.stack([main, -main / 3]),
        "two opposed pairs": torch.stack([main, -main / 3, aux, -aux / 3]),
        "parallel and zero": torch.stack([main, main / 3, 0 * main]),
        "main, aux, main + aux": torch.stack([main, aux, main + aux]),
        "aux 1e-4 of the main one": torch.stack([main, 1e-4 * aux, main + 1e-4 * aux]),
        "parallel and another": torch.stack([main, main / 3, main / 7, aux]),
        "five of rank 3": torch.stack([main, aux, other, main + aux / 3 + other, main / 3 + other]),
    }


def sampled(count: int, parameters: int = 30, seed: int = 0, k: int = 2) -> list[Tensor]:
    """Gradients ``(k, parameters)`` ~ N(0, 1) in float64."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(k, parameters, generator=generator, dtype=torch.float64) for _ in range(count)]


def trajectory(
    method: BaseMethod, steps: list[Tensor], seed: int | Tensor = 0, unit: float = 1.0, above: float = 0.0
) -> list[Tensor]:
    """The directions over several steps; losses are 1, 2, … and fall; then times ``unit``, plus ``above``."""
    state, directions = method.init(steps[0], seed), []
    for step, gradients in enumerate(steps):
        losses = torch.arange(1.0, gradients.shape[-2] + 1).expand(gradients.shape[:-1]) * 0.9**step
        direction, state = method.combine(gradients, state, unit * losses.double() + above)
        directions.append(direction)
    return directions
