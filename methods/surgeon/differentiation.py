"""From a loss to the gradients of leaves: past their hooks, past what averages them, one or all at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor
from torch.autograd.graph import Node

from .bucket import Bucket
from .distributed import UNSYNCHRONISED, check_synchronised, is_sharded, placed, together
from .graph import bounded, is_reentrant, kept
from .leaves import Others, Owned
from .streaming import Stream


def gradients(
    k: int, name: str, loss: Tensor, bucket: Bucket | Stream, owned: Owned, others: Others, keep: bool
) -> list[Tensor | None]:
    """The gradients of a loss by parameter, ready to be summed over processes.

    Args:
        k: its place among the losses.
        name: of the loss.
        loss: a scalar, scaled as it is to be differentiated.
        bucket: whose parameters are meant; a stream takes their gradients as they arrive, and gets none back.
        owned: the parameters that the Surgeon owns.
        others: they get their gradients.
        keep: whether the graph is kept for another loss.

    Raises:
        ValueError: the loss reaches no parameter, or a gradient is sparse.
        RuntimeError: the graph cannot be passed so.
    """
    parameters = bucket.parameters
    sharded = is_sharded(parameters[0])
    leaves = others.find(loss)
    if sharded:
        check_synchronised(others.nodes)
    reentrant = [node for node in others.nodes if is_reentrant(node)]
    if not keep:
        others.nodes.clear()

    def check_dense(index: int, gradient: Tensor | None) -> None:
        if gradient is not None and gradient.layout is not torch.strided:
            where = owned.describe(parameters[index])
            raise ValueError(f"the gradient of the {name} loss is sparse at {where}: set sparse=False there")

    def take(stream: Stream, index: int, gradient: Tensor) -> None:
        check_dense(index, gradient)
        stream.receive(index, gradient)

    receive = []
    if isinstance(bucket, Stream):
        receive = [partial(take, bucket, index) for index in range(len(parameters))]
    apart = bool(receive) or (together() and not sharded)
    with bounded(reentrant, [*parameters, *leaves]):
        found = differentiate(loss, [*parameters, *leaves], others.nodes, apart, receive)
    own = found[: len(parameters)]
    if all(gradient is None for gradient in own):
        remedy = UNSYNCHRONISED if sharded else "was its model another one, or were its parameters replaced?"
        raise ValueError(f"the {name} loss reaches no parameter of the Surgeon: {remedy}")
    for index, gradient in enumerate(own):
        check_dense(index, gradient)
    others.add(k, found[len(parameters) :])
    return own


def differentiate(
    loss: Tensor,
    leaves: Sequence[Tensor],
    keep: Collection[Node],
    apart: bool,
    receive: Sequence[Callable[[Tensor], None]] = (),
) -> list[Tensor | None]:
    """The gradients of a loss, None where it reaches no such leaf; no hook of a leaf runs.

    Args:
        loss: a scalar.
        leaves: they keep the ``.grad`` that they have.
        keep: the nodes of the graph where it is kept for another loss, else none.
        apart: by `torch.autograd.grad`, past what `DistributedDataParallel` has hung on the accumulation of
            gradients; else by ``backward()``, which also passes reentrant checkpoints, and scatters the
            gradients of ``fully_shard``.
        receive: where ``apart``, of the first leaves, what takes the gradient as soon as it is there; a zero
            without memory is returned for it.

    Raises:
        RuntimeError: the graph cannot be passed in this way, or not twice.
    """
    before = [leaf.grad for leaf in leaves]
    try:
        for leaf in leaves:
            leaf.grad = None
        with _silent(leaves), kept(keep), _explained(), _received(leaves, receive):
            if not apart:
                loss.backward(retain_graph=bool(keep))  # type: ignore[no-untyped-call]
                if not is_sharded(leaves[0]):
                    return [leaf.grad for leaf in leaves]
                return [None if leaf.grad is None else placed(leaf.grad, leaf) for leaf in leaves]
            found: list[Tensor | None] = list(
                torch.autograd.grad(loss, leaves, retain_graph=bool(keep), allow_unused=True)
            )
        if any(leaf.grad is not None for leaf in leaves):
            raise RuntimeError(_REENTRANT)
        return found
    finally:
        for leaf, gradient in zip(leaves, before, strict=True):
            leaf.grad = gradient


_REENTRANT = (
    "a reentrant checkpoint calls backward() inside of the graph, past what averages gradients or takes them "
    "as they arrive: checkpoint with use_reentrant=False"
)
_DONATED = (
    "a compiled model gave away what a second backward pass needs: pass functions, "
    "surgeon.backward(lambda: main, lambda: aux), each with a forward pass of its own"
)


@contextmanager
def _received(leaves: Sequence[Tensor], receive: Sequence[Callable[[Tensor], None]]) -> Iterator[None]:
    def hook(take: Callable[[Tensor], None], gradient: Tensor) -> Tensor:
        take(gradient)
        return gradient.new_zeros(()).expand_as(gradient)

    handles = [
        leaf.register_hook(partial(hook, take))  # type: ignore[no-untyped-call]
        for leaf, take in zip(leaves, receive, strict=False)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        for sign, remedy in (("donated buffers", _DONATED), ("use_reentrant=True", _REENTRANT)):
            if sign in str(error):
                raise RuntimeError(remedy) from error
        raise


@contextmanager
def _silent(leaves: Sequence[Tensor]) -> Iterator[None]:
    registered = [
        hooks
        for leaf in leaves
        for hooks in (leaf._backward_hooks, getattr(leaf, "_post_accumulate_grad_hooks", None))
        if hooks
    ]
    kept = [dict(hooks) for hooks in registered]
    for hooks in registered:
        hooks.clear()
    try:
        yield
    finally:
        for hooks, own in zip(registered, kept, strict=True):
            hooks.update(own)
