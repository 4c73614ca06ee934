"""Small arithmetic that methods share: batched, branch-free, without a word to the host."""

import math

import torch
from torch import Tensor


def divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    """``numerator / denominator``, and 0 where the denominator is 0: the projection on a zero vector."""
    zero = denominator == 0
    return torch.where(zero, 0.0, numerator / torch.where(zero, 1.0, denominator))


def row_cosine(gram: Tensor, i: int, j: int) -> Tensor:
    """``(...)``: the cosine between rows i and j of ``gram`` ``(..., R, R)``; 0 where either is zero."""
    length = gram[..., i, i].sqrt() * gram[..., j, j].sqrt()
    return divide(gram[..., i, j], length).clamp(-1, 1)


def rounding(gram: Tensor) -> float:
    """The relative rounding of the rows that a Gram matrix is of: at 1 ± this they may be the same numbers.

    `Method.combine` writes it on the matrix that it gives to `Method.coefficients`; any other, such as a part
    of that one, is taken to be of rows in its own precision.
    """
    return float(getattr(gram, "rounding", torch.finfo(gram.dtype).eps))


def rounded(gram: Tensor, rounding: float) -> Tensor:
    """The Gram matrix, with the relative rounding of its rows written on it."""
    gram.rounding = rounding  # type: ignore[attr-defined]
    return gram


def check_rho(rho: float, name: str = "rho") -> None:
    """Refuse an EMA coefficient outside (0, 1].

    Raises:
        ValueError: it is.
    """
    if not (math.isfinite(rho) and 0 < rho <= 1):
        raise ValueError(f"{name} must lie in (0, 1], got {rho}")


def uniform(counter: Tensor, count: int) -> Tensor:
    """Uniform numbers in [0, 1) that depend on a counter alone, so that methods draw from their own state.

    Args:
        counter: ``(...)`` int64; one value per call, such as the number of the step.
        count: how many numbers per value.

    Returns:
        ``(..., count)`` in float64, 53 bits each, by the SplitMix64 generator (Steele, Lea & Flood 2014,
        "Fast splittable pseudorandom number generators"), whose stream position is counter * count + index.
    """
    index = torch.arange(1, count + 1, device=counter.device)
    z = (counter[..., None] * count + index) * _GOLDEN
    z = (z ^ _shift(z, 30)) * _MIX_1
    z = (z ^ _shift(z, 27)) * _MIX_2
    z = z ^ _shift(z, 31)
    return _shift(z, 11).double() * 2.0**-53


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


_GOLDEN, _MIX_1, _MIX_2 = map(_signed, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def _shift(value: Tensor, bits: int) -> Tensor:
    """A logical shift to the right: int64 shifts its sign along."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)
