"""One flat tensor for what a step gathers, so that processes average it in one collective."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from .distributed import local


class Layout:
    """Where each parameter's numbers lie in a flat vector: one after the other, each in its order in memory.

    Args:
        parameters: P numbers in this process.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = list(parameters)
        self._seen = _form(self.parameters)
        parts = [local(parameter.detach()) for parameter in parameters]
        self.device = parts[0].device if parts else None
        self.dtype = reduce(torch.promote_types, (part.dtype for part in parts), torch.float32)
        self.shapes = [part.shape for part in parts]
        # an optimiser that is fused walks parameter and gradient in the order of memory
        self.strides = [torch.empty_like(part, device="meta").stride() for part in parts]
        self.sizes = [part.numel() for part in parts]

    @property
    def size(self) -> int:
        """P."""
        return sum(self.sizes)

    def fits(self, parameters: Sequence[Tensor]) -> bool:
        """Whether these are its parameters, with the shapes, types and places that they had."""
        return len(parameters) == len(self.parameters) and _form(parameters) == self._seen

    def views(self, flat: Tensor) -> list[Tensor]:
        """Parts of ``(P,)`` in the shapes of the parameters, and where dense in their strides."""
        start, views = flat.storage_offset(), []
        for shape, stride, size in zip(self.shapes, self.strides, self.sizes, strict=True):
            views.append(flat.as_strided(shape, stride, start))
            start += size
        return views

    def in_order(self, flat: Tensor) -> Tensor:
        """A copy of ``(P,)`` with each parameter's numbers row by row, however they lie in memory."""
        return torch.cat([view.reshape(-1) for view in self.views(flat)])

    def from_order(self, ordered: Tensor) -> Tensor:
        """The inverse of `in_order`."""
        flat = torch.empty_like(ordered)
        for view, piece in zip(self.views(flat), torch.split(ordered, self.sizes), strict=True):
            view.copy_(piece.view(view.shape))
        return flat


class Bucket:
    """The gradients of K losses, by parameter and as rows.

    Args:
        shared: the parameters that lie in the rows; P numbers in this process.
        heads: the parameters that keep the sum of the losses' gradients.
        k: how many losses.
    """

    def __init__(self, shared: Layout, heads: Layout, k: int) -> None:
        self.shared, self.heads = shared, heads
        self.parameters = [*shared.parameters, *heads.parameters]
        sizes = [k * shared.size, heads.size, k, len(self.parameters)]
        dtype = torch.promote_types(shared.dtype, heads.dtype)
        self.flat = torch.zeros(sum(sizes), dtype=dtype, device=shared.device)
        whole, self.own, self.losses, self._marks = torch.split(self.flat, sizes)
        self.rows = whole.view(k, shared.size)
        """``(K, P)``."""
        self.sequence = range(k)
        """The objectives in the order in which their gradients arrive."""
        self.reached = [False] * len(self.parameters)
        """Which parameters a loss reached in this step."""
        views = heads.views(self.own)
        self._gradients = [[*shared.views(row), *views] for row in self.rows]

    def clear(self) -> None:
        """Start a step; the first gradients overwrite the rows."""
        self.flat[self.rows.numel() :].zero_()
        self.reached = [False] * len(self.reached)

    def add(self, k: int, gradients: Sequence[Tensor | None], first: bool) -> None:
        """Add the gradients of loss k by parameter, None where it reaches none; ``first`` overwrites rows."""
        copied: list[tuple[Tensor, Tensor]] = []
        added: list[tuple[Tensor, Tensor]] = []
        missed: list[Tensor] = []
        for i, (view, gradient) in enumerate(zip(self._gradients[k], gradients, strict=True)):
            overwrite = first and i < len(self.shared.parameters)
            if gradient is not None:
                self.reached[i] = True
                (copied if overwrite else added).append((view, gradient))
            elif overwrite:
                missed.append(view)
        for pairs, apply in ((copied, torch._foreach_copy_), (added, torch._foreach_add_)):
            if pairs:
                apply([view for view, _ in pairs], [gradient for _, gradient in pairs])
        if missed:
            torch._foreach_zero_(missed)

    def blank(self) -> Tensor:
        """A new vector for the direction ``(P,)``, and behind it for what the heads keep."""
        return self.flat.new_empty(self.shared.size + self.heads.size)

    def directions(self, flat: Tensor) -> list[Tensor]:
        """Such a vector by parameter."""
        return [*self.shared.views(flat), *self.heads.views(flat[self.shared.size :])]

    def mark(self) -> None:
        """Write into the flat tensor which parameters were reached, for a sum over processes."""
        self._marks.copy_(torch.tensor(self.reached, dtype=self.flat.dtype))

    def read_marks(self) -> None:
        """Count a parameter as reached where one process reached it."""
        self.reached = [count > 0 for count in self._marks.tolist()]


def _form(parameters: Sequence[Tensor]) -> list[tuple[object, ...]]:
    return [(id(p), p.shape, p.stride(), p.dtype, p.device) for p in parameters]
