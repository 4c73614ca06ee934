"""The two passes of surgery over memory: one reads the rows into G = R Rᵀ, one writes what comes of them.

On the CPU both go through the rows piece by piece, so that a piece is still in the cache when the next inner
product, or the next term of the direction, needs it. On CUDA each is one fused kernel, and neither waits for
the device. Neither allocates anything of the rows' length.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import cache
from itertools import combinations_with_replacement
from typing import Any

import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

PIECE = 2**18
"""Numbers of a row, over all replicas, that are worked on at once: 1 MiB in float32."""
SHORT = 2**12
"""Numbers of a row up to which one product of stacked rows is quicker than a product per pair."""
IN_DOUBLE = 2**16
"""Numbers of a row that are taken to float64 at once: 512 KiB."""
APART = 2.0**-7
"""Least eigenvalue of the cosines of a piece above which float32 products of it decide nothing."""
HELD = 2.0**-126, 2.0**126
"""Coefficients that float32 holds in full."""
VARIANTS = 256
"""Most variants of a fused pass: of numbers of rows, shapes, types, and rows that move."""
ONE = {dtype: torch.ones((), dtype=dtype) for dtype in (torch.float32, torch.float64)}
"""What a row is multiplied by besides a number."""
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
    return gram_of_parts([rows], range(len(rows)))


def gram_of_parts(parts: Sequence[Sequence[Tensor]], chosen: range) -> Tensor:
    """`gram` of rows that lie in parts, R tensors ``(..., P_i)`` each: the sum over them.

    NaN for the rows that are not among the ``chosen``.
    """
    first, count = parts[0][0], len(parts[0])
    if not chosen:
        return first.new_full((*first.shape[:-1], count, count), torch.nan, dtype=torch.float64)
    places = _symmetric(count, chosen)
    parts = [rows[chosen.start : chosen.stop] for rows in parts]
    if first.is_cuda:
        fused = [_compiled(_fused_products)(list(rows)) for rows in parts]
        upper = fused[0] if len(fused) == 1 else torch.stack(fused).sum(0)
        upper = torch.nn.functional.pad(upper, (0, 1), value=torch.nan)
        square: Tensor = torch.stack([upper[..., i] for i in places], -1)
    else:
        is_cast = torch.is_autocast_enabled(first.device.type)  # it would multiply in half precision
        with torch.autocast(first.device.type, enabled=False) if is_cast else nullcontext():
            pieces = [_products(piece) for rows in parts for piece in _pieces(rows)]
        sums = pieces[0] if len(pieces) == 1 else [_sum(one) for one in zip(*pieces, strict=True)]
        padded = [[*one, math.nan] for one in sums]
        square = torch.tensor([[one[i] for i in places] for one in padded], dtype=torch.float64)
    return square.view(*first.shape[:-1], count, count)


def write(
    coefficients: Tensor, rows: Sequence[Tensor], direction: Tensor, moves: Sequence[tuple[int, int, float]]
) -> None:
    """Write d = cᵀR into ``direction`` ``(..., P)``, and move remembered rows, in place.

    Args:
        coefficients: ``(..., R)``.
        rows: R, each ``(..., P)``.
        direction: written; it may be one of the rows, which is then read before.
        moves: (r, i, ρ) for each row r to be moved to (1 − ρ) r + ρ i, after d has been computed from it.
    """
    write_parts(coefficients, [rows], [direction], moves)


def write_parts(
    coefficients: Tensor,
    parts: Sequence[Sequence[Tensor]],
    directions: Sequence[Tensor],
    moves: Sequence[tuple[int, int, float]],
) -> None:
    """`write` for rows that lie in parts, R tensors ``(..., P_i)`` each, and the direction's parts."""
    dtype = torch.promote_types(directions[0].dtype, torch.float32)
    if directions[0].is_cuda:
        factors = [list(factor.to(dtype)[..., None].unbind(-2)) for factor in _factors(coefficients)]
        for rows, direction in zip(parts, directions, strict=True):
            _write_fused(factors, rows, direction, moves)
        return
    values = (coefficients if coefficients.dim() == 1 else coefficients.flatten()).tolist()
    if not all(c == 0 or HELD[0] < abs(c) < HELD[1] for c in values):
        dtype = torch.float64
    weights: Sequence[Tensor | float] = values
    if coefficients.dim() > 1:
        weights = coefficients.to(dtype)[..., None].unbind(-2)
    for rows, direction in zip(parts, directions, strict=True):
        for into, *piece in _pieces([direction, *rows]):
            _write(weights, piece, into, moves, dtype)


def working(rows: Tensor) -> Tensor:
    """Rows in the precision of the arithmetic: at least float32."""
    return rows if rows.dtype == torch.float32 else rows.to(torch.promote_types(rows.dtype, torch.float32))


def _pieces(rows: Sequence[Tensor], most: int = PIECE) -> Iterator[list[Tensor]]:
    length, numbers = rows[0].shape[-1], rows[0].numel()
    if numbers <= most:
        yield list(rows)
        return
    size = max(most * length // numbers, 1024)
    for start in range(0, length, size):
        yield [row[..., start : start + size] for row in rows]


def _products(rows: Sequence[Tensor]) -> list[list[float]]:
    """The upper triangle of G of a piece, per replica; multiplied in float32 where that loses nothing.

    In Python's numbers: on the CPU a call into torch takes longer than all that is decided by them.
    """
    multiply = _of_stacked if rows[0].numel() <= SHORT else _of_pairs
    seen = [working(row) for row in rows]
    products = multiply(seen)
    if seen[0].dtype == torch.float64:
        return products
    apart = [_are_apart(one, len(rows)) for one in products]
    if all(apart):
        return products
    doubled = [multiply([row.double() for row in piece]) for piece in _pieces(rows, IN_DOUBLE)]
    return [
        one if kept else _sum(again)
        for one, kept, again in zip(products, apart, zip(*doubled, strict=True), strict=True)
    ]


def _sum(products: Sequence[list[float]]) -> list[float]:
    return [sum(of_pair) for of_pair in zip(*products, strict=True)]


def _of_pairs(rows: Sequence[Tensor]) -> list[list[float]]:
    pairs = combinations_with_replacement(rows, 2)
    if rows[0].dim() == 1:
        return [[torch.dot(a, b).item() for a, b in pairs]]
    products = torch.stack([torch.linalg.vecdot(a, b) for a, b in pairs], -1)
    found: list[list[float]] = products.view(-1, products.shape[-1]).tolist()
    return found


def _of_stacked(rows: Sequence[Tensor]) -> list[list[float]]:
    stacked, count = torch.stack(list(rows), -2), len(rows)
    squares = (stacked @ stacked.mT).view(-1, count, count).tolist()
    return [[entry for i, row in enumerate(square) for entry in row[i:]] for square in squares]


def _are_apart(upper: Sequence[float], count: int) -> bool:
    """Whether the rows of one G are far from dependent, and their squares within the range of float32."""
    numbers = iter(upper)
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
    weights: Sequence[Tensor | float],
    rows: Sequence[Tensor],
    direction: Tensor,
    moves: Sequence[tuple[int, int, float]],
    dtype: torch.dtype,
) -> None:
    """Of one piece, in ``dtype``. Numbers are multiplied by as tensors of them are, to the bit."""
    exact = [row if row.dtype == dtype else row.to(dtype) for row in rows]
    read_later = {*range(1, len(rows)), *(source for _, source, _ in moves)}
    plain = direction.dtype == exact[0].dtype and not any(_is_same(direction, rows[i]) for i in read_later)
    into = direction if plain else torch.empty_like(exact[0])
    as_it_is = isinstance(weights[0], float) and weights[0] == 1 and len(rows) > 1
    total = exact[0] if as_it_is else torch.mul(exact[0], weights[0], out=into)
    for row, weight in zip(exact[1:], weights[1:], strict=True):
        if isinstance(weight, float):
            total = torch.addcmul(total, ONE[dtype], row, value=weight, out=into)
        else:
            total = torch.addcmul(total, row, weight, out=into)
    for moved, source, rho in moves:
        rows[moved].lerp_(exact[source].to(rows[moved].dtype), rho)
    if into is not direction:
        direction.copy_(into)


def _is_same(a: Tensor, b: Tensor) -> bool:
    return _storage(a) == _storage(b) and bool(a.storage_offset() == b.storage_offset())


def _write_fused(
    factors: Sequence[list[Tensor]],
    rows: Sequence[Tensor],
    direction: Tensor,
    moves: Sequence[tuple[int, int, float]],
) -> None:
    """Of one part, in one kernel that gets the direction once, though it be a row."""
    place = next((i for i, row in enumerate(rows) if _is_same(row, direction)), len(rows))
    tensors = [*rows, direction] if place == len(rows) else list(rows)
    weights, powers = factors
    _compiled(_fused_write)(weights, powers, _apart(tensors), place, list(moves))


def _apart(tensors: list[Tensor]) -> list[Tensor]:
    """The same memory, as if each lay in a storage of its own.

    What is compiled for views of one storage, some of which it writes, goes by the places where the first
    views lay: given others, it would write there.
    """
    if len({_storage(tensor) for tensor in tensors}) == len(tensors):
        return tensors
    return [from_dlpack(tensor) for tensor in tensors]


def _storage(tensor: Tensor) -> int:
    """What tells its memory from that of others; views share it."""
    place: int = tensor.untyped_storage()._cdata
    return place


def _fused_products(rows: list[Tensor]) -> Tensor:
    exact = [row.double() for row in rows]
    return torch.stack([(a * b).sum(-1) for a, b in combinations_with_replacement(exact, 2)], -1)


def _fused_write(
    weights: list[Tensor],
    powers: list[Tensor],
    tensors: list[Tensor],
    place: int,
    moves: list[tuple[int, int, float]],
) -> None:
    """The rows are the first of the tensors, as many as weights; the direction is the one at ``place``."""
    exact = [working(row) for row in tensors[: len(weights)]]
    terms = [row * weight * power for row, weight, power in zip(exact, weights, powers, strict=True)]
    total = sum(terms)
    for moved, source, rho in moves:
        tensors[moved].lerp_(exact[source], rho)
    tensors[place].copy_(total)  # type: ignore[arg-type]


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
def _symmetric(count: int, chosen: range) -> list[int]:
    """``(R R,)``: where each entry of G stands in the upper triangle of the chosen rows; at −1 of others."""
    pairs = list(combinations_with_replacement(chosen, 2))
    entries = [(min(i, j), max(i, j)) for i in range(count) for j in range(count)]
    return [pairs.index(entry) if entry in pairs else -1 for entry in entries]
