"""A tanh network that carries derivatives of its outputs forward, through each layer in closed form."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


class Jet(NamedTuple):
    """A function of (x, y) at N points, and its derivatives for a second-order equation, ``(N, D)`` each."""

    value: Tensor
    dx: Tensor
    dy: Tensor
    laplacian: Tensor


class JetMLP(nn.Module):
    """Linear layers with tanh between, of points in the plane; Xavier-normal weights, zero biases.

    With z the input of a tanh, t = tanh z and s = 1 − t²: ∂t = s ∂z, and Δt = s (Δz − 2 t ‖∇z‖²). Two passes
    of autograd over the inputs would give the same, at several times the cost.

    Args:
        hidden: widths of the hidden layers.
        outputs: D.
        scale: points are divided by it before the first layer; derivatives are of the points as given.
    """

    def __init__(self, hidden: tuple[int, ...], outputs: int, scale: float = 1.0) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(*ends) for ends in pairwise((2, *hidden, outputs)))
        self.scale = scale
        for layer in self.layers:
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, points: Tensor, derivatives: bool = False) -> Tensor | Jet:
        """``(N, D)`` at points ``(N, 2)``; with ``derivatives`` the `Jet`."""
        h, (first, *others) = points / self.scale, self.layers
        if not derivatives:
            for layer in self.layers[:-1]:
                h = torch.tanh(layer(h))
            out: Tensor = self.layers[-1](h)
            return out
        slopes = (first.weight / self.scale).T
        z = first(h)
        jet = Jet(z, *(slope.expand_as(z) for slope in slopes), torch.zeros_like(z))
        for layer in others:
            value, *rest = _tanh(jet)
            jet = Jet(layer(value), *(linear(part, layer.weight) for part in rest))
        return jet


def _tanh(z: Jet) -> Jet:
    t = torch.tanh(z.value)
    slope = 1 - t * t
    laplacian = slope * (z.laplacian - 2 * t * (z.dx * z.dx + z.dy * z.dy))
    return Jet(t, slope * z.dx, slope * z.dy, laplacian)
