"""Labelled images in memory, on the device, served in batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import Data, crop_flip, epochs, full_batches

Batch = dict[str, Tensor]
CHUNK = 500
"""Images that are evaluated at once."""


class Images(Data, ABC):
    """Labelled images, wherever they lie. A batch: ``images`` ``(B, H, W, C)`` uint8, ``labels`` int64."""

    @property
    @abstractmethod
    def classes(self) -> int:
        """How many values ``labels`` has."""

    @abstractmethod
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel of the training images, ``(C,)``, from 0 to 255."""

    @abstractmethod
    def steps(self, batch_size: int) -> int:
        """Full batches in the training split."""

    @abstractmethod
    def batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Shuffled and augmented training batches without end, which only ``generator`` decides."""

    @abstractmethod
    def in_order(self, split: str, limit: int | None = None) -> Iterator[Batch]:
        """``limit`` images from the beginning of a split (None for all), not augmented, in chunks."""


@dataclass(frozen=True)
class ResidentImages(Images):
    """Labelled images in memory, perhaps with more labels than one.

    Args:
        padding: training images are shifted by up to so many pixels, in either direction.
        flip: training images are mirrored with probability 1/2.
    """

    padding: int = 0
    flip: bool = False

    @property
    def classes(self) -> int:
        """One more than the largest training label."""
        return int(self.splits["train"]["labels"].max()) + 1

    def moments(self) -> tuple[Tensor, Tensor]:
        """Those of all training pixels."""
        pixels = self.splits["train"]["images"].flatten(0, 2).cpu()
        counts = torch.stack(
            [torch.bincount(channel, minlength=256) for channel in pixels.unbind(1)]
        ).double()
        values = torch.arange(256, dtype=torch.float64)
        mean = counts @ values / len(pixels)
        return mean.float(), (counts @ values.square() / len(pixels) - mean.square()).sqrt().float()

    def steps(self, batch_size: int) -> int:
        """Full batches in the training split."""
        return full_batches(len(self.splits["train"]["images"]), batch_size)

    def batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Cropped and mirrored on the device, each image by itself."""
        for batch in epochs(self.splits["train"], batch_size, generator):
            images = crop_flip(batch["images"], self.padding, self.flip, generator)
            yield {**batch, "images": images}

    def in_order(self, split: str, limit: int | None = None) -> Iterator[Batch]:
        """As they are."""
        first = {name: tensor[:limit] for name, tensor in self.splits[split].items()}
        chunks = zip(*(torch.split(tensor, CHUNK) for tensor in first.values()), strict=True)
        return (dict(zip(first, chunk, strict=True)) for chunk in chunks)
