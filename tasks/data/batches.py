"""Batches of tensors that lie in memory."""

from collections.abc import Iterator

import torch
from torch import Tensor


def on_device(tensor: Tensor, device: str | torch.device) -> Tensor:
    """A tensor of the CPU on another device, copied out of pinned memory so that nothing waits for a GPU."""
    if torch.device(device).type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def full_batches(size: int, batch_size: int) -> int:
    """How many batches of ``batch_size`` an epoch over ``size`` examples has.

    Raises:
        ValueError: an epoch has not even one.
    """
    if not 1 <= batch_size <= size:
        raise ValueError(f"batch_size must lie between 1 and the {size} training examples, got {batch_size}")
    return size // batch_size


def epochs(
    data: dict[str, Tensor], batch_size: int, generator: torch.Generator
) -> Iterator[dict[str, Tensor]]:
    """Shuffled full batches without end; each epoch's remainder is dropped.

    Raises:
        ValueError: a batch is larger than the data.
    """
    size = len(next(iter(data.values())))
    steps = full_batches(size, batch_size)
    while True:
        order = torch.randperm(size, generator=generator)
        for rows in torch.split(order[: steps * batch_size], batch_size):
            yield {name: tensor[on_device(rows, tensor.device)] for name, tensor in data.items()}


def crop_flip(images: Tensor, padding: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Each image of a batch shifted by up to ``padding`` pixels, and mirrored with probability 1/2.

    Args:
        images: ``(B, H, W, C)``; pixels that come from outside are zero (black).
        padding: the largest shift in either direction, in pixels.
        flip: whether to mirror left and right.
        generator: decides shifts and mirrors; on the CPU.

    Returns:
        ``(B, H, W, C)``.
    """
    size, height, width, _ = images.shape
    top, left = torch.randint(2 * padding + 1, (2, size, 1), generator=generator)
    rows = top + torch.arange(height)
    columns = left + torch.arange(width)
    if flip:
        mirrored = torch.rand(size, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    padded = torch.nn.functional.pad(images, (0, 0, padding, padding, padding, padding))
    rows, columns = on_device(rows, images.device), on_device(columns, images.device)
    batch = torch.arange(size, device=images.device)
    return padded[batch[:, None, None], rows[:, :, None], columns[:, None, :]]
