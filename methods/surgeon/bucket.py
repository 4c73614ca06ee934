"""One flat tensor for what a step gathers, so that processes average it in one collective."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from scalpel_bench.methods.surgeon.distributed import local


class Bucket:
    """The gradients of K losses, by parameter and as rows.

    Args:
        shared: the parameters that lie in the rows; P numbers in this process.
        heads: the parameters that keep the sum of the losses' gradients.
        k: how many losses.

    Raises:
        ValueError: the parameters lie on several devices.
    """

    def __init__(self, shared: Sequence[Tensor], heads: Sequence[Tensor], k: int) -> None:
        parameters = [local(parameter.detach()) for parameter in (*shared, *heads)]
        devices = sorted({str(parameter.device) for parameter in parameters})
        if len(devices) > 1:
            raise ValueError(f"the parameters lie on {', '.join(devices)}: a Surgeon works on one device")
        dtype = reduce(torch.promote_types, (p.dtype for p in parameters), torch.float32)
        rows, heads = parameters[: len(shared)], parameters[len(shared) :]
        size, own = sum(p.numel() for p in rows), sum(p.numel() for p in heads)
        sizes = [k * size, own, k, len(parameters)]
        self.flat = torch.zeros(sum(sizes), dtype=dtype, device=parameters[0].device)
        whole, self.own, self.losses, self._marks = torch.split(self.flat, sizes)
        self.rows = whole.view(k, size)
        """``(K, P)``."""
        self.reached = [False] * len(parameters)
        """Which parameters a loss reached in this step."""
        self.direction = self.flat.new_zeros(size + own)
        self.directions = _views(self.direction, parameters)
        """What goes into ``.grad``, by parameter."""
        views = _views(self.own, heads)
        self._gradients = [[*_views(row, rows), *views] for row in self.rows]
        self._count = len(rows)

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
            overwrite = first and i < self._count
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

    def finish(self, scale: Tensor | None) -> None:
        """Beside the direction, which is in its place: its scale, and what the heads keep."""
        size = self.rows.shape[1]
        if scale is not None:
            self.direction[:size] *= scale
        self.direction[size:].copy_(self.own)

    def mark(self) -> None:
        """Write into the flat tensor which parameters were reached, for a sum over processes."""
        self._marks.copy_(torch.tensor(self.reached, dtype=self.flat.dtype))

    def read_marks(self) -> None:
        """Count a parameter as reached where one process reached it."""
        self.reached = [count > 0 for count in self._marks.tolist()]


def _views(flat: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """Parts of a flat tensor ``(P,)`` in the shapes of the parameters, and where dense in their strides."""
    pieces = torch.split(flat, [parameter.numel() for parameter in parameters])
    return [_like(piece, parameter) for piece, parameter in zip(pieces, parameters, strict=True)]


def _like(piece: Tensor, parameter: Tensor) -> Tensor:
    # an optimiser that is fused walks parameter and gradient in the order of memory
    dense = torch.empty_like(parameter, device="meta").stride()
    return piece.as_strided(parameter.shape, dense)
