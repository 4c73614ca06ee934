"""A GPU that is not there: tensors on it have shapes and no numbers, those on the CPU are as ever."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
import torch._dynamo
from torch import Tensor
from torch._subclasses import FakeTensor, FakeTensorMode
from torch.utils._pytree import tree_leaves, tree_map_only

from scalpel_bench.methods.engine import passes

aten = torch.ops.aten

WAITING = {
    aten._local_scalar_dense,
    aten.is_nonzero,
    aten.equal,
    aten.nonzero,
    aten.masked_select,
    aten._unique2,
    aten.bincount,
    aten.repeat_interleave,
    aten._linalg_check_errors,
    aten._linalg_eigh,
    aten._linalg_svd,
    aten._linalg_eigvals,
}
"""Operations that read a number from the device, or the code that tells whether they went well."""


class WaitedError(AssertionError):
    """Something waited for the device."""


class GPU(FakeTensorMode):
    """Operations on tensors of the GPU compute shapes, types and devices; all others compute numbers.

    Whatever would fail on a GPU for the device of a tensor fails here. What is read from the GPU is 1.

    Args:
        may_wait: whether the host may wait for the device; it may be set at any time.

    Attributes:
        excused: operations that may wait all the same.
        numbers_stay: whether tensors of one number on the CPU are refused too, which a GPU takes as they are
            (and which `torch.func.vmap` makes of Python's numbers).
    """

    def __init__(self, may_wait: bool = True) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self.may_wait = may_wait
        self.excused: set[Any] = set()
        self.numbers_stay = False
        self._inside = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet, kwargs = func.overloadpacket, kwargs or {}
        if torch.device(kwargs.get("device") or "cpu").type == "meta":
            kwargs = {**kwargs, "device": torch.device("cuda", 0)}
        if self._inside:
            return super().__torch_dispatch__(func, types, args, kwargs)
        if packet is aten.is_pinned:
            return getattr(args[0], "pinned", False)
        if packet is aten._pin_memory:
            copied = args[0].clone()
            copied.pinned = True
            return copied
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        wanted = torch.device(kwargs.get("device") or "cpu")
        if wanted.type == "cpu" and not any(isinstance(tensor, FakeTensor) for tensor in tensors):
            return func(*args, **kwargs)
        if not self.may_wait and packet not in self.excused and (how := _waits(packet, args, kwargs)):
            raise WaitedError(f"{func}: {how}")
        copied = packet in (aten._to_copy, aten.copy_)
        if self.numbers_stay and not copied and not all(tensor.is_cuda for tensor in tensors):
            raise WaitedError(f"{func}: a number from the CPU")
        if packet.__name__.startswith("_fused_"):
            assert all(tensor.is_cuda for tensor in tensors)
            return None
        if packet is aten._local_scalar_dense:
            return torch.ones((), dtype=args[0].dtype).item()
        self._inside = True
        try:
            result = super().__torch_dispatch__(func, types, args, kwargs)
        finally:
            self._inside = False
        if packet is aten.copy_ and not args[0].is_cuda:
            return args[0].fill_(1)
        return tree_map_only(FakeTensor, _arrived, result)


def _arrived(result: FakeTensor) -> Tensor:
    """What has come to the CPU is a tensor of ones."""
    return result if result.is_cuda else torch.ones(result.shape, dtype=result.dtype)


def _waits(packet: Any, args: Any, kwargs: Any) -> str | None:
    """How an operation makes the host wait for the device; None where it does not."""
    if packet in WAITING and not (packet is aten.repeat_interleave and kwargs.get("output_size")):
        return "the host needs the result"
    if packet in (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_):
        indices = [index for index in args[1] if index is not None]
        if any(index.dtype in (torch.bool, torch.uint8) for index in indices):
            return "the size of what a mask selects"
        return None if all(index.is_cuda for index in indices) else "an index from the CPU"
    if packet in (aten._to_copy, aten.copy_):
        target = args[0] if packet is aten.copy_ else kwargs.get("device", args[0].device)
        source = args[1] if packet is aten.copy_ else args[0]
        to_gpu = torch.device(getattr(target, "device", target)).type == "cuda"
        if source.is_cuda and not to_gpu:
            return "a copy to the CPU"
        unpinned = not (
            getattr(source, "pinned", False) and (kwargs.get("non_blocking") or args[2:3] == (True,))
        )
        if not source.is_cuda and to_gpu and unpinned:
            return "a copy from the CPU that is not asynchronous out of pinned memory"
        return None
    return None


@contextmanager
def fake_gpu() -> Iterator[GPU]:
    """A GPU for the time being; what the suite keeps from call to call is forgotten before and after."""

    def hidden(cls: Any, data: Any, *args: Any, dispatch_device: bool = False, **kwargs: Any) -> Any:
        return make(cls, data, *args, **kwargs)

    make = torch.Tensor._make_subclass
    with (
        patch.object(passes, "_compiled", lambda function: function),
        patch.object(passes, "_apart", lambda tensors: tensors),
        patch.object(torch.Tensor, "_make_subclass", hidden),
        patch.object(FakeTensor, "is_cuda", property(lambda self: self.device.type == "cuda"), create=True),
    ):
        _forget()
        try:
            with GPU() as gpu:
                yield gpu
        finally:
            _forget()


def _forget() -> None:
    """Empty the caches of the methods and tasks: they hold tensors of a GPU."""
    for name, module in list(sys.modules.items()):
        if name.startswith(("scalpel_bench.methods", "scalpel_bench.tasks")):
            for value in list(vars(module).values()):
                if hasattr(value, "cache_clear"):
                    value.cache_clear()
