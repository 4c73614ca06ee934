"""The largest singular value of a matrix that changes a little at every training step.

Training against spectral norms makes the top singular values crowd (differences of 1e-4 of their size, a
dozen at a time), where plain warm-started power iteration follows the wrong vector. A whole block of
vectors is kept instead, sharpened by a Chebyshev filter and separated exactly by Rayleigh-Ritz in float64.
Source of the filter: Zhou, Saad, Tiago, Chelikowsky 2006, "Self-consistent-field calculations using
Chebyshev-filtered subspace iteration".
"""

import math

import torch
from torch import Tensor

WIDTH = 32
DEGREE = 12
AMPLIFICATION = 2e4
"""How much the filter may favour the largest singular value: more than float32 columns can hold."""

_LEAST_CUT = 2 / (1 + math.cosh(math.log(2 * AMPLIFICATION) / DEGREE))


def start_basis(weight: Tensor) -> Tensor:
    """The exact basis to start from.

    Args:
        weight: ``(rows, columns)``.

    Returns:
        ``(n, b)`` in float64, n the shorter side, b = min(n, 32): the leading singular vectors of the shorter
        side, each as long as its singular value.
    """
    short = _short(weight).double()
    vectors, values, _ = torch.linalg.svd(short, full_matrices=False)
    basis: Tensor = vectors * values
    return basis[:, :WIDTH].contiguous()


def exact_log_norm(weight: Tensor) -> Tensor:
    """log of the largest singular value, by the eigenvalues of W Wᵀ in float64.

    Args:
        weight: ``(rows, columns)``; NaN where one of its numbers is not finite.
    """
    short = _short(weight).double()
    if not short.isfinite().all():
        return torch.full_like(short[0, 0], torch.nan)
    log: Tensor = torch.linalg.eigvalsh(short @ short.mT)[-1].log() / 2
    return log


def log_spectral_norm(weight: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """log of the largest singular value, with gradient u vᵀ / σ, and the basis for the next step.

    Args:
        weight: ``(rows, columns)``.
        basis: from `start_basis`, or from the last call on a nearby weight.

    Returns:
        a scalar, and the new basis ``(n, b)``.
    """
    short = _short(weight)
    with torch.no_grad():
        exact = short.double()
        span = torch.eye(*basis.shape, dtype=exact.dtype, device=exact.device)
        if basis.shape[0] > basis.shape[1]:
            span = torch.linalg.qr(_filter(short, basis)).Q
        image = span.mT @ exact
        finite = torch.nan_to_num(image @ image.mT, 0, 0, 0)  # a run that diverges must not raise
        values, rotation = torch.linalg.eigh(finite)
        values, rotation = values.flip(-1).clamp(min=0).sqrt(), rotation.flip(-1)
        vectors = span @ rotation
        left = vectors[..., 0].to(short.dtype)
        right = rotation[..., 0] @ image
        right = (right / torch.linalg.vector_norm(right)).to(short.dtype)
    return torch.log(left @ short @ right), vectors * values


def _filter(short: Tensor, basis: Tensor) -> Tensor:
    """The basis with all that lies under its smallest singular value damped; ``(n, b)`` in float64."""
    values = torch.linalg.vector_norm(basis, dim=-2)
    cut = torch.maximum(values[..., -1] ** 2, _LEAST_CUT * values[..., 0] ** 2).to(short.dtype)
    matrix = (short @ short.mT) * (2 / cut)
    matrix = matrix - torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    before = (basis / values).to(short.dtype)
    now = matrix @ before
    for _ in range(DEGREE - 1):
        before, now = now, 2 * (matrix @ now) - before
    filtered: Tensor = now.double() / torch.linalg.vector_norm(now, dim=-2)
    return filtered


def _short(weight: Tensor) -> Tensor:
    short: Tensor = weight if weight.shape[-2] <= weight.shape[-1] else weight.mT
    return short
