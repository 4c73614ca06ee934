"""K gradients that lie in parts, as they come from the backward passes: one tensor per part and gradient."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor


class Parts:
    """K gradients of P parameters, cut into consecutive parts of P_i parameters.

    A method's `combine`, `gram` and `init` take it wherever they take a tensor ``(..., K, P)``.

    Args:
        parts: per part K tensors ``(..., P_i)``, main first.
    """

    def __init__(self, parts: Sequence[Sequence[Tensor]]) -> None:
        self.parts = [list(rows) for rows in parts]
        first = self.parts[0][0]
        self.dtype, self.device = first.dtype, first.device
        self.sizes = [rows[0].shape[-1] for rows in self.parts]
        self.shape = torch.Size([*first.shape[:-1], len(self.parts[0]), sum(self.sizes)])

    def row(self, k: int) -> Tensor:
        """Gradient k ``(..., P)``, put together where it is in several parts."""
        pieces = [rows[k] for rows in self.parts]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, -1)

    def whole(self) -> Tensor:
        """``(..., K, P)``."""
        return torch.stack([self.row(k) for k in range(self.shape[-2])], -2)

    def replicas(self, where: slice) -> Parts:
        """Some of those that the first dimension counts."""
        if where == slice(None):
            return self
        return Parts([[row[where] for row in rows] for rows in self.parts])


def rows_by_part(gradients: Tensor | Parts, memory: Tensor | None) -> list[list[Tensor]]:
    """The K gradients and the M remembered rows ``(..., M, P)``, by part."""
    parts = [list(gradients.unbind(-2))] if isinstance(gradients, Tensor) else gradients.parts
    if memory is None:
        return [list(rows) for rows in parts]
    remembered = cut(memory, [rows[0].shape[-1] for rows in parts])
    return [[*rows, *kept.unbind(-2)] for rows, kept in zip(parts, remembered, strict=True)]


def cut(vector: Tensor, sizes: Sequence[int]) -> Sequence[Tensor]:
    """Views of a vector ``(..., P)`` by part."""
    return [vector] if len(sizes) == 1 else torch.split(vector, list(sizes), -1)


def by_block(parts: Sequence[Tensor], blocks: Sequence[int]) -> list[list[Tensor]]:
    """A vector that lies in parts, by block of so many parameters each and part; without blocks it is one."""
    if not blocks:
        return [list(parts)]
    sizes = [part.shape[-1] for part in parts]
    return [
        [parts[i][..., where] for i, where in _within(end - size, end, sizes)]
        for size, end in zip(blocks, accumulate(blocks), strict=True)
    ]


def rows_by_block(parts: list[list[Tensor]], blocks: Sequence[int]) -> list[list[list[Tensor]]]:
    """Rows that lie in parts, by block and part."""
    if not blocks:
        return [parts]
    by_row = [by_block(row, blocks) for row in zip(*parts, strict=True)]
    return [[list(rows) for rows in zip(*block, strict=True)] for block in zip(*by_row, strict=True)]


def row_of(gradients: Tensor | Parts, k: int) -> Tensor:
    """Gradient k ``(..., P)``."""
    return gradients[..., k, :] if isinstance(gradients, Tensor) else gradients.row(k)


def sizes_of(gradients: Tensor | Parts) -> list[int]:
    """P_i of each part."""
    return [gradients.shape[-1]] if isinstance(gradients, Tensor) else gradients.sizes


def _within(start: int, end: int, sizes: Sequence[int]) -> list[tuple[int, slice]]:
    """Where a block of parameters lies: the parts that it meets, and what of each; one that may be empty."""
    ends = list(accumulate(sizes))
    met = [
        (i, slice(max(start, stop - size) - (stop - size), min(end, stop) - (stop - size)))
        for i, (size, stop) in enumerate(zip(sizes, ends, strict=True))
        if max(start, stop - size) < min(end, stop)
    ]
    return met or [(0, slice(0, 0))]
