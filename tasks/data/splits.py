"""Splits that are the same for every seed."""

import torch
from torch import Tensor

_ORDER_SEED = 20240202


def carve(tensors: dict[str, Tensor], fraction: float) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Split off a fraction of the rows, chosen by an order that is fixed once for all.

    Args:
        tensors: tensors with the same number of rows.
        fraction: the share to split off, in [0, 1).

    Returns:
        what is left, and what was split off.

    Raises:
        ValueError: the fraction lies outside its range.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"the fraction to split off must lie in [0, 1), got {fraction}")
    size = len(next(iter(tensors.values())))
    order = fixed_order(size)
    count = round(size * fraction)
    taken, left = order[:count].sort().values, order[count:].sort().values
    return {n: t[left] for n, t in tensors.items()}, {n: t[taken] for n, t in tensors.items()}


def fixed_order(size: int) -> Tensor:
    """A random order of so many rows, the same for all: ``(size,)``."""
    return torch.randperm(size, generator=torch.Generator().manual_seed(_ORDER_SEED))


def with_validation(
    train: dict[str, Tensor], test: dict[str, Tensor], fraction: float
) -> dict[str, dict[str, Tensor]]:
    """Train, validation and test, validation carved from train; without validation where it is empty.

    Raises:
        ValueError: nothing is left to train on.
    """
    size = len(next(iter(train.values())))
    train, validation = carve(train, fraction)
    if not len(next(iter(train.values()))):
        raise ValueError(f"validation_fraction {fraction} leaves none of the {size} training examples")
    splits = {"train": train, "validation": validation, "test": test}
    return {split: tensors for split, tensors in splits.items() if len(next(iter(tensors.values())))}
