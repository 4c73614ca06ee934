"""Lengths of directions, from the Gram matrix of the rows that they are made of."""

import torch
from torch import Tensor

from .arithmetic import divide
from .solvers import times, tolerance


def ratio_of_lengths(plain: Tensor, own: Tensor, gram: Tensor) -> Tensor:
    """‖plainᵀR‖ / ‖ownᵀR‖ ``(..., 1)``, and 0 where the latter is zero to the rounding of the rows.

    Args:
        plain: ``(..., K)``, of the gradients alone.
        own: ``(..., R)``.
        gram: ``(..., R, R)``, with the rounding of its rows.
    """
    diagonal, k = gram.diagonal(dim1=-2, dim2=-1), plain.shape[-1]
    longest = diagonal.amax(-1, keepdim=True)
    unit = divide(gram, longest[..., None])
    of_sum = _squared_length(plain, unit[..., :k, :k])
    of_own = _squared_length(own, unit)
    lost = tolerance(gram) * (own**2 * divide(diagonal, longest)).sum(-1, keepdim=True)
    return divide(of_sum, torch.where(of_own > lost, of_own, 0.0)).sqrt()


def _squared_length(coefficients: Tensor, gram: Tensor) -> Tensor:
    return (times(gram, coefficients) * coefficients).sum(-1, keepdim=True).clamp(min=0)
