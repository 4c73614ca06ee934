"""Autograd's graph below a loss: its leaves, and what keeps it fit for another backward pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import Node

_ACCUMULATE: Any = torch._C._functions.AccumulateGrad


def walk(loss: Tensor, seen: set[Node]) -> list[Tensor]:
    """The leaves of a loss's graph, but for the parts of it that were seen.

    Args:
        loss: its root.
        seen: nodes; those of this graph are added.
    """
    if loss.grad_fn is None:
        return [loss]
    leaves = []
    stack: list[Any] = [loss.grad_fn]
    seen.add(loss.grad_fn)
    while stack:
        node = stack.pop()
        for child, _ in node.next_functions:
            if child is None or child in seen:
                continue
            seen.add(child)
            if isinstance(child, _ACCUMULATE):
                leaves.append(child.variable)
            else:
                stack.append(child)
    return leaves


def is_reentrant(node: Node) -> bool:
    """Whether it is a checkpoint with ``use_reentrant=True``."""
    return isinstance(node, BackwardCFunction) and hasattr(node, "run_function")


@contextmanager
def bounded(nodes: Iterable[Node], leaves: Iterable[Tensor]) -> Iterator[None]:
    """A backward pass whose reentrant checkpoints among these nodes reach no other leaves than these.

    Such a checkpoint runs its function again within the pass, and calls ``backward()`` on a graph of its own,
    which writes into ``.grad`` whatever leaves it reaches: no walk from the loss finds them.

    Raises:
        RuntimeError: one reaches another leaf.
    """
    wrapped: dict[Any, Any] = {}
    known = {id(leaf) for leaf in leaves}

    def wrap(node: Any) -> None:
        function = wrapped[node] = node.run_function

        def run(*inputs: Any) -> Any:
            outputs = function(*inputs)
            inside = known | {id(value) for value in inputs}
            seen: set[Node] = set()
            for output in outputs if isinstance(outputs, tuple | list) else [outputs]:
                if isinstance(output, Tensor) and output.requires_grad:
                    for leaf in walk(output, seen):
                        if id(leaf) not in inside:
                            raise RuntimeError(f"{REENTRANT} (a leaf of shape {tuple(leaf.shape)})")
            for inner in filter(is_reentrant, seen):
                wrap(inner)
            return outputs

        node.run_function = run

    try:
        for node in nodes:
            wrap(node)
        yield
    finally:
        for node, function in wrapped.items():
            node.run_function = function


REENTRANT = (
    "a reentrant checkpoint calls backward() within the graph, and would write into leaves that the Surgeon "
    "does not own: checkpoint with use_reentrant=False"
)


@contextmanager
def kept(nodes: Iterable[Node]) -> Iterator[None]:
    """A backward pass through these nodes that leaves compiled ones fit for another.

    What `torch.compile` made works in the memory of the tensors that it saved ("donated buffers"), and
    refuses to keep its graph. Here it is compiled to leave them alone; where it was compiled before, they are
    put back. PyTorch's cache on disk does not tell the one from the other: hence a tag of its own.
    """
    compiled: list[Any] = [node for node in nodes if isinstance(node, BackwardCFunction)]
    found: list[Any] = [(node, getattr(node._forward_cls, "metadata", None)) for node in compiled]
    made = [(node, metadata) for node, metadata in found if hasattr(metadata, "bw_donated_idxs")]
    if not made:
        yield
        return
    import torch._functorch.config
    import torch.compiler.config

    donated: list[Tensor] = []
    for node, metadata in made:
        saved = [*node.saved_tensors, *getattr(node, "_tensors_no_vc_check", ())]
        start = metadata.num_symints_saved_for_bw
        donated += [saved[i - start] for i in metadata.bw_donated_idxs or ()]
    copies = [tensor.detach().clone() for tensor in donated]
    tag = torch.compiler.config.cache_key_tag + "kept"
    with (
        torch._functorch.config.patch(donated_buffer=False),
        torch.compiler.config.patch(cache_key_tag=tag),  # type: ignore[attr-defined]
    ):
        yield
    for tensor, copy in zip(donated, copies, strict=True):
        tensor.data.copy_(copy)


@contextmanager
def kept_graph(loss: Tensor) -> Iterator[None]:
    """`kept` for the whole graph of a loss, when ``retain_graph=True`` is to be used on a compiled model."""
    nodes: set[Node] = set()
    walk(loss, nodes)
    with kept(nodes):
        yield
