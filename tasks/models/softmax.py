"""Softmax regression on two labellings: derivatives, minimisers, exact front; in float64."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_ACCURACY = 1e-11
_MOST_STEPS = 100
_SCALE, _LARGEST, _POINTS, _TANGENTS = 0.1, 10.0, 21, 4001
"""Of the exact front: λ is `_SCALE` sinh(s), s evenly spaced, up to `_LARGEST`."""


@dataclass(frozen=True)
class TwoLabellings:
    """Main and auxiliary loss: mean cross-entropy in nats of either labelling, + ½ ``l2`` ‖θ‖².

    Both are strongly convex, so that main + λ aux has one minimiser for each λ ≥ 0, and these make up the
    whole front. At λ = 0 it is the solution of the bilevel problem, as main has no other minimiser.

    Args:
        inputs: ``(n, d)`` float64, a column of ones among them for the bias.
        labels: ``(2, n)``, main first.
        classes: K; parameters θ are ``(K, d)``.
        l2: above 0.
    """

    inputs: Tensor
    labels: Tensor
    classes: int
    l2: float

    def losses(self, theta: Tensor) -> Tensor:
        """``(2,)``: main and auxiliary loss."""
        logits = self.inputs @ theta.T
        right = logits.expand(2, -1, -1).gather(2, self.labels[..., None]).squeeze(-1)
        return (logits.logsumexp(1) - right).mean(1) + self.l2 / 2 * theta.square().sum()

    def gradient(self, theta: Tensor, lam: float) -> Tensor:
        """``(K, d)``: of main + λ aux."""
        wrong = (
            (1 + lam) * torch.softmax(self.inputs @ theta.T, 1) - self._targets[0] - lam * self._targets[1]
        )
        return wrong.T @ self.inputs / len(self.inputs) + (1 + lam) * self.l2 * theta

    def hessian(self, theta: Tensor) -> Tensor:
        """``(K d, K d)``: of the main loss, and of the auxiliary one: no label is in it."""
        p = torch.softmax(self.inputs @ theta.T, 1)
        k, (n, d) = self.classes, self.inputs.shape
        blocks = theta.new_empty(k, d, k, d)
        for i in range(k):
            for j in range(i, k):
                curvature = p[:, i] * (int(i == j) - p[:, j]) / n
                block = (self.inputs * curvature[:, None]).T @ self.inputs
                blocks[i, :, j], blocks[j, :, i] = block, block
        return blocks.view(k * d, k * d) + self.l2 * torch.eye(k * d, dtype=theta.dtype, device=theta.device)

    def minimise(self, lam: float, start: Tensor | None = None) -> Tensor:
        """``(K, d)``: the minimiser of main + λ aux, of a gradient below 1e-11, by damped Newton steps.

        Raises:
            ArithmeticError: it was not reached.
        """
        theta = self.inputs.new_zeros(self.classes, self.inputs.shape[1]) if start is None else start
        weights = self.inputs.new_tensor([1.0, lam])
        for _ in range(_MOST_STEPS):
            gradient = self.gradient(theta, lam)
            if gradient.norm() < _ACCURACY:
                return theta
            hessian = (1 + lam) * self.hessian(theta)
            step = torch.linalg.solve(hessian, gradient.flatten()).view_as(theta)
            loss, slope, length = weights @ self.losses(theta), (step * gradient).sum(), 1.0
            while weights @ self.losses(theta - length * step) > loss - 1e-4 * length * slope + 1e-14 * loss:
                length /= 2
            theta = theta - length * step
        raise ArithmeticError(f"λ = {lam:g}: the gradient is {gradient.norm():.1e} after {_MOST_STEPS} steps")

    @cached_property
    def _targets(self) -> Tensor:
        return torch.nn.functional.one_hot(self.labels, self.classes).to(self.inputs.dtype)

    @cached_property
    def front(self) -> ExactFront:
        """Through the minimisers at 21 values of λ from 0 to 10."""
        positions = np.linspace(0, np.arcsinh(_LARGEST / _SCALE), _POINTS)
        theta, points = None, []
        for lam in (lams := _SCALE * np.sinh(positions)).tolist():
            theta = self.minimise(lam, theta)
            points.append(self.losses(theta).tolist())
        return ExactFront(lams, np.array(points))


@dataclass(frozen=True)
class ExactFront:
    """The front of two convex losses, by its tangents.

    The minimiser of main + λ aux lies on it, and there it falls with slope −λ. So the least main loss within
    an auxiliary loss a is the largest v(λ) − λ a over λ, where v(λ) is the minimum of main + λ aux (strong
    duality). v is known at the minimisers with its slope, the auxiliary loss; between them v / (1 + λ) is
    taken to be a cubic polynomial of arsinh(10 λ). What lies beyond the last λ is taken to go on straight.

    Args:
        lams: ``(m,)``, from 0 on, increasing.
        points: ``(m, 2)``, main and auxiliary loss of the minimiser at each.
    """

    lams: NDArray[np.float64]
    points: NDArray[np.float64]

    def main(self, aux: float) -> float:
        """The least main loss of all θ whose auxiliary loss is at most ``aux``."""
        lams, minima = self._tangents
        return float((minima - lams * aux).max())

    @cached_property
    def _tangents(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """λ and v(λ), densely."""
        from scipy.interpolate import CubicHermiteSpline

        (main, aux), weight = self.points.T, 1 + self.lams
        slope = (aux - main) / weight**2 * np.hypot(self.lams, _SCALE)
        shares = CubicHermiteSpline(np.arcsinh(self.lams / _SCALE), (main + self.lams * aux) / weight, slope)
        positions = np.linspace(shares.x[0], shares.x[-1], _TANGENTS)
        lams = _SCALE * np.sinh(positions)
        return lams, (1 + lams) * shares(positions)
