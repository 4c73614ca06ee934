"""The two passes of surgery over memory: one reads the rows into G = R Rᵀ, one writes what comes of them.

On the CPU both go through the rows piece by piece, so that a piece is still in the cache when the next inner
product, or the next term of the direction, needs it. On CUDA each is one fused kernel. Neither waits for the
device, nor allocates anything of the rows' length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import combinations_with_replacement
from typing import Any

import torch
from torch import Tensor

PIECE = 2**18
"""Numbers of a row, over all replicas, that are worked on at once: 1 MiB in float32."""
SHORT = 2**14
"""Numbers of a row up to which one product of stacked rows is quicker than a product per pair."""
IN_DOUBLE = 2**16
"""Numbers of a row that are taken to float64 at once: 512 KiB."""
APART = 2.0**-7
"""Least eigenvalue of the cosines of a piece above which float32 products of it decide nothing."""
HELD = 2.0**-126, 2.0**126
"""Coefficients that float32 holds in full."""
VARIANTS = 256
"""Most variants of a fused pass: of numbers of rows, shapes, types, and rows that move."""
IN_RANGE = 2.0**-80, 2.0**100
"""Squared lengths of a piece that float32 sums without loss."""


def gram(rows: Sequence[Tensor]) -> Tensor:
    """Inner products of R rows.

    On CUDA all products are taken in float64. On the CPU that would cost half of a step of surgery more, so
    that a piece of less than float64 is multiplied in float32 first, and again in float64, while it is still
    in the cache, where that could matter: where its rows are nearly dependent or their squares leave the
    range of float32. For any coefficients c the error of cᵀGc is thus at most about 1e-5 of itself, which no
    small eigenvalue of G gets lost in.

    Args:
        rows: each ``(..., P)``.

    Returns:
        ``(..., R, R)`` in float64.
    """
    first = rows[0]
    if first.is_cuda:
        upper: Tensor = _compiled(_fused_products)(list(rows))
    elif first.numel() <= SHORT:
        upper = _products(rows, _of_stacked)
    else:
        upper = torch.stack([_products(piece, _of_pairs) for piece in _pieces(rows)]).sum(0)
    square = upper.index_select(-1, _symmetric(len(rows), first.device))
    return square.view(*upper.shape[:-1], len(rows), len(rows))


def write(
    coefficients: Tensor, rows: Sequence[Tensor], direction: Tensor, moves: Sequence[tuple[int, int, float]]
) -> None:
    """Write d = cᵀR into ``direction`` ``(..., P)``, and move remembered rows, in place.

    Args:
        coefficients: ``(..., R)``.
        rows: R, each ``(..., P)``.
        direction: written.
        moves: (r, i, ρ) for each row r to be moved to (1 − ρ) r + ρ i, after d has been computed from it.
    """
    dtype = torch.promote_types(direction.dtype, torch.float32)
    if direction.is_cuda:
        factors = [factor.to(dtype)[..., None].unbind(-2) for factor in _factors(coefficients)]
        _compiled(_fused_write)(*map(list, factors), list(rows), direction, list(moves))
        return
    if not all(c == 0 or HELD[0] < abs(c) < HELD[1] for c in coefficients.flatten().tolist()):
        dtype = torch.float64
    weights = coefficients.to(dtype)[..., None].unbind(-2)
    for into, *piece in _pieces([direction, *rows]):
        _write(weights, piece, into, moves)


def working(rows: Tensor) -> Tensor:
    """Rows in the precision of the arithmetic: at least float32."""
    return rows.to(torch.promote_types(rows.dtype, torch.float32))


def _pieces(rows: Sequence[Tensor], most: int = PIECE) -> Iterator[list[Tensor]]:
    length, numbers = rows[0].shape[-1], rows[0].numel()
    if numbers <= most:
        yield list(rows)
        return
    size = max(most * length // numbers, 1024)
    for start in range(0, length, size):
        yield [row[..., start : start + size] for row in rows]


def _products(rows: Sequence[Tensor], multiply: Callable[[Sequence[Tensor]], Tensor]) -> Tensor:
    """``(..., R (R + 1) / 2)`` in float64: G of a piece, multiplied in float32 where that loses nothing."""
    products = multiply([working(row) for row in rows])
    if products.dtype == torch.float64:
        return products
    apart = [_are_apart(one, len(rows)) for one in products.reshape(-1, products.shape[-1])]
    if all(apart):
        return products.double()
    doubled = [multiply([row.double() for row in piece]) for piece in _pieces(rows, IN_DOUBLE)]
    kept = torch.tensor(apart).view(products.shape[:-1])[..., None]
    return torch.where(kept, products.double(), torch.stack(doubled).sum(0))


def _of_pairs(rows: Sequence[Tensor]) -> Tensor:
    pairs = combinations_with_replacement(rows, 2)
    return torch.stack([torch.linalg.vecdot(a, b) for a, b in pairs], -1)


def _of_stacked(rows: Sequence[Tensor]) -> Tensor:
    stacked = torch.stack(list(rows), -2)
    return (stacked @ stacked.mT).flatten(-2).index_select(-1, _upper(len(rows), stacked.device))


def _are_apart(upper: Tensor, count: int) -> bool:
    """Whether the rows of one G are far from dependent, and their squares within the range of float32.

    In Python's numbers: a call into torch takes longer than all of these.
    """
    numbers = iter(upper.tolist())
    left = [[0.0] * i + [next(numbers) for _ in range(i, count)] for i in range(count)]
    for i, row in enumerate(left):
        if not IN_RANGE[0] < row[i] < IN_RANGE[1]:
            return False
        row[i] *= 1 - APART
    for i, row in enumerate(left):  # Gaussian elimination: what has positive pivots is positive definite
        if not row[i] > 0:
            return False
        for j in range(i + 1, count):
            share = row[j] / row[i]
            for k in range(j, count):
                left[j][k] -= share * row[k]
    return True


def _write(
    weights: Sequence[Tensor],
    rows: Sequence[Tensor],
    direction: Tensor,
    moves: Sequence[tuple[int, int, float]],
) -> None:
    exact = [row.to(weights[0].dtype) for row in rows]
    into = direction if direction.dtype == exact[0].dtype else torch.empty_like(exact[0])
    torch.mul(exact[0], weights[0], out=into)
    for row, weight in zip(exact[1:], weights[1:], strict=True):
        into.addcmul_(row, weight)
    if into is not direction:
        direction.copy_(into)
    for moved, source, rho in moves:
        rows[moved].lerp_(exact[source].to(rows[moved].dtype), rho)


def _fused_products(rows: list[Tensor]) -> Tensor:
    exact = [row.double() for row in rows]
    return torch.stack([(a * b).sum(-1) for a, b in combinations_with_replacement(exact, 2)], -1)


def _fused_write(
    weights: list[Tensor],
    powers: list[Tensor],
    rows: list[Tensor],
    direction: Tensor,
    moves: list[tuple[int, int, float]],
) -> None:
    exact = [working(row) for row in rows]
    terms = [row * weight * power for row, weight, power in zip(exact, weights, powers, strict=True)]
    direction.copy_(sum(terms))  # type: ignore[arg-type]
    for moved, source, rho in moves:
        rows[moved].lerp_(exact[source], rho)


def _factors(coefficients: Tensor) -> tuple[Tensor, Tensor]:
    """The coefficients, and powers of two to multiply by after them, both within the range of float32."""
    power = torch.exp2(torch.log2(coefficients.abs()).floor().clamp(-126, 126))
    return coefficients / power, power


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled on first use: the compiler takes seconds to import.

    Beyond its usual 8 variants of a function it would run the next as it is written, without a word.
    """
    compiled = torch.compile(function)
    limited: Callable[..., Any] = torch._dynamo.config.patch(recompile_limit=VARIANTS)(compiled)
    return limited


@cache
def _symmetric(count: int, device: torch.device) -> Tensor:
    """``(R R,)``: where each entry of G stands in its upper triangle."""
    upper = torch.triu_indices(count, count)
    index = torch.zeros(count, count, dtype=torch.int64)
    index[upper[0], upper[1]] = torch.arange(upper.shape[1])
    return torch.maximum(index, index.mT).flatten().to(device)


@cache
def _upper(count: int, device: torch.device) -> Tensor:
    """``(R (R + 1) / 2,)``: where each entry of the upper triangle stands in G."""
    row, column = torch.triu_indices(count, count)
    upper: Tensor = row * count + column
    return upper.to(device)
