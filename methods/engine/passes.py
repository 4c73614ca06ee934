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


def gram(rows: Sequence[Tensor]) -> Tensor:
    """Inner products of R rows.

    Args:
        rows: each ``(..., P)``; of less than float32, they are taken to float32 piece by piece.

    Returns:
        ``(..., R, R)`` in float64: pieces are summed in float64, products within one in the rows' precision.
    """
    first = rows[0]
    if first.is_cuda:
        products: Tensor = _compiled(_fused_products)(list(rows))
    elif first.numel() <= SHORT:
        stacked = working(torch.stack(list(rows), -2))
        return (stacked @ stacked.mT).double()
    else:
        products = torch.stack([_products(piece) for piece in _pieces(rows)]).sum(0)
    upper = products.index_select(-1, _symmetric(len(rows), first.device))
    return upper.view(*upper.shape[:-1], len(rows), len(rows))


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
    weights = coefficients.to(dtype)[..., None].unbind(-2)
    if direction.is_cuda:
        _compiled(_fused_write)(list(weights), list(rows), direction, list(moves))
        return
    for into, *piece in _pieces([direction, *rows]):
        _write(weights, piece, into, moves)


def working(rows: Tensor) -> Tensor:
    """Rows in the precision of the arithmetic: at least float32."""
    return rows.to(torch.promote_types(rows.dtype, torch.float32))


def _pieces(rows: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    length, numbers = rows[0].shape[-1], rows[0].numel()
    if numbers <= PIECE:
        yield list(rows)
        return
    size = max(PIECE * length // numbers, 1024)
    for start in range(0, length, size):
        yield [row[..., start : start + size] for row in rows]


def _products(rows: Sequence[Tensor]) -> Tensor:
    """``(..., R (R + 1) / 2)`` in float64: the upper triangle of G."""
    pairs = combinations_with_replacement([working(row) for row in rows], 2)
    return torch.stack([torch.linalg.vecdot(a, b) for a, b in pairs], -1).double()


def _write(
    weights: Sequence[Tensor],
    rows: Sequence[Tensor],
    direction: Tensor,
    moves: Sequence[tuple[int, int, float]],
) -> None:
    exact = [working(row) for row in rows]
    into = direction if direction.dtype == exact[0].dtype else torch.empty_like(exact[0])
    torch.mul(exact[0], weights[0], out=into)
    for row, weight in zip(exact[1:], weights[1:], strict=True):
        into.addcmul_(row, weight)
    if into is not direction:
        direction.copy_(into)
    for moved, source, rho in moves:
        rows[moved].lerp_(exact[source], rho)


def _fused_products(rows: list[Tensor]) -> Tensor:
    exact = [working(row) for row in rows]
    return torch.stack([(a * b).sum(-1) for a, b in combinations_with_replacement(exact, 2)], -1).double()


def _fused_write(
    weights: list[Tensor], rows: list[Tensor], direction: Tensor, moves: list[tuple[int, int, float]]
) -> None:
    exact = [working(row) for row in rows]
    direction.copy_(sum(row * weight for row, weight in zip(exact, weights, strict=True)))  # type: ignore[arg-type]
    for moved, source, rho in moves:
        rows[moved].lerp_(exact[source], rho)


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled on first use: the compiler takes seconds to import."""
    return torch.compile(function)


@cache
def _symmetric(count: int, device: torch.device) -> Tensor:
    """``(R R,)``: where each entry of G stands in its upper triangle."""
    upper = torch.triu_indices(count, count)
    index = torch.zeros(count, count, dtype=torch.int64)
    index[upper[0], upper[1]] = torch.arange(upper.shape[1])
    return torch.maximum(index, index.mT).flatten().to(device)
