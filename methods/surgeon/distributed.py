"""Surgery over several processes: which gradients to average, and over whom to sum G.

Nothing here imports `torch.distributed.tensor` before its user did: that import takes a second.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

import torch.distributed as dist
from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def is_sharded(tensor: Tensor) -> TypeGuard[DTensor]:
    """Whether it is a `DTensor`, as the parameters of ``fully_shard`` are."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def local(tensor: Tensor) -> Tensor:
    """The part of a tensor that lies in this process."""
    return tensor.to_local() if is_sharded(tensor) else tensor


def together() -> bool:
    """Whether a process group was initialised."""
    return dist.is_available() and dist.is_initialized()


def processes(group: Any) -> int:
    """How many processes hold replicas of plain parameters: 1 where no process group was initialised.

    Raises:
        ValueError: this process is not one of them.
    """
    count = dist.get_world_size(group) if together() else 1
    if count < 1:
        raise ValueError("this process is not in the Surgeon's group: give it the group that it trains in")
    return count


def check_alike(parameters: Sequence[Tensor], describe: Callable[[Tensor], str]) -> None:
    """Refuse parameters that are not cut over the same processes: their parts of G could not be added.

    Raises:
        ValueError: they are not, or they are of the older FSDP.
    """
    for parameter in parameters:
        if getattr(parameter, "_is_flat_param", False) or getattr(parameter, "_fsdp_flattened", False):
            raise ValueError(
                f"{describe(parameter)} belongs to FullyShardedDataParallel: use fully_shard instead"
            )
        if _cut(parameter) != _cut(parameters[0]):
            raise ValueError(
                f"{describe(parameter)} is not sharded as {describe(parameters[0])} is: "
                "apply fully_shard to the whole model, and make the Surgeon after it"
            )


def check_synchronised(nodes: Iterable[Any]) -> None:
    """Refuse a graph whose gradients ``fully_shard`` was told to keep whole.

    Raises:
        RuntimeError: it was.
    """
    if any(getattr(getattr(node, "param_group", None), "reduce_grads", True) is False for node in nodes):
        raise RuntimeError(UNSYNCHRONISED)


UNSYNCHRONISED = (
    "fully_shard keeps the gradients of both losses in one sum while its synchronisation is off: leave "
    "set_requires_gradient_sync(True) in every micro-batch"
)


def like(part: Tensor, parameter: DTensor) -> DTensor:
    """A local part as a gradient of its parameter, which is a `DTensor`."""
    from torch.distributed.tensor import DTensor

    return DTensor.from_local(
        part,
        parameter.device_mesh,
        parameter.placements,
        run_check=False,
        shape=parameter.shape,
        stride=parameter.stride(),
    )


def placed(gradient: Tensor, parameter: Tensor) -> Tensor:
    """The part of a gradient that belongs to this process's part of the parameter."""
    if is_sharded(gradient) and is_sharded(parameter) and gradient.placements != parameter.placements:
        gradient = gradient.redistribute(placements=parameter.placements)
    return local(gradient)


def reduce_shards(gram: Tensor, averaged: Sequence[Tensor], parameter: DTensor) -> None:
    """In place: G summed over the shards, other values averaged over all processes of the mesh."""
    mesh = parameter.device_mesh
    for dimension, placement in enumerate(parameter.placements):
        group = mesh.get_group(dimension)
        for value in averaged:
            dist.all_reduce(value.div_(mesh.size(dimension)), group=group)
        if placement.is_shard():
            dist.all_reduce(gram, group=group)


def _cut(parameter: Tensor) -> object:
    if not is_sharded(parameter):
        return None
    return parameter.device_mesh, [placement.is_shard() for placement in parameter.placements]
