"""A tanh network that carries derivatives of its outputs forward, through each layer in closed form."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple, cast

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
        linears = [nn.Linear(*ends) for ends in pairwise((2, *hidden, outputs))]
        self.layers = nn.ModuleList(linears)
        self.scale = scale
        for layer in linears:
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, points: Tensor, derivatives: bool = False) -> Tensor | Jet:
        """``(N, D)`` at points ``(N, 2)``; with ``derivatives`` the `Jet`."""
        first, *others = (layer for layer in self.layers if isinstance(layer, nn.Linear))
        z = first(points / self.scale)
        if not derivatives:
            for layer in others:
                z = layer(torch.tanh(z))
            return cast(Tensor, z)
        along_x, along_y = (first.weight / self.scale).unbind(1)
        jet = Jet(z, along_x.expand_as(z), along_y.expand_as(z), torch.zeros_like(z))
        for layer in others:
            t = _tanh(jet)
            dx, dy, laplacian = (linear(part, layer.weight) for part in t[1:])
            jet = Jet(layer(t.value), dx, dy, laplacian)
        return jet


def _tanh(z: Jet) -> Jet:
    t = torch.tanh(z.value)
    slope = 1 - t * t
    laplacian = slope * (z.laplacian - 2 * t * (z.dx * z.dx + z.dy * z.dy))
    return Jet(t, slope * z.dx, slope * z.dy, laplacian)
