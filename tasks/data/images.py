"""Labelled images: read, checked and decoded once, kept on the device, served in batches."""

from __future__ import annotations

import io
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from scalpel_bench.tasks.data.batches import crop_flip, epochs, full_batches
from scalpel_bench.tasks.data.source import Data, DataError, cache_folder, open_hub

Batch = dict[str, Tensor]
CHUNK = 500


class ImageSet(NamedTuple):
    """A data set of the hub, and what its rows must be; ``shape`` is None where images differ in size."""

    name: str
    image: str
    label: str
    shape: tuple[int, int, int] | None
    classes: int


MNIST = ImageSet("ylecun/mnist", "image", "label", (28, 28, 1), 10)
CIFAR10 = ImageSet("uoft-cs/cifar10", "img", "label", (32, 32, 3), 10)


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
        """The first ``limit`` images of a split (all of them where it is None), not augmented, in chunks."""


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


def read_images(known: ImageSet, source: str) -> dict[str, Batch]:
    """The training and test images ``(N, H, W, C)`` uint8 and ``labels`` ``(N,)`` of a data set.

    What has been decoded once is kept in `cache_folder`, and mapped into memory from there.

    Raises:
        DataError: the data set is missing, or a split or a row is not what it should be.
    """
    hub = open_hub(known.name, source)
    for split in ("train", "test"):
        if split not in hub:
            raise DataError(f"data set {known.name} has no split {split!r}; it has {', '.join(hub)}")
    return {split: _decoded(known, split, hub[split]) for split in ("train", "test")}


def _decoded(known: ImageSet, split: str, rows: Any) -> Batch:
    where = f"data set {known.name}, split {split}"
    check_columns(known, where, rows)
    labels = _labels(known, where, rows)
    file = cache_folder() / f"{known.name.replace('/', '-')}-{split}-{rows._fingerprint}.npy"
    if not file.exists():
        decoded = _decode(known, where, rows)
        temporary = file.with_suffix(f".{os.getpid()}.npy")
        np.save(temporary, decoded)
        temporary.replace(file)
    return {"images": torch.from_numpy(np.load(file, mmap_mode="c")), "labels": labels}


def check_columns(known: ImageSet, where: str, rows: Any) -> None:
    """Refuse rows without the columns, or with another number of classes.

    Raises:
        DataError: one is missing, or not what it should be.
    """
    for column in (known.image, known.label):
        if column not in rows.features:
            raise DataError(f"{where}: no column {column!r}; it has {', '.join(rows.features)}")
    named = getattr(rows.features[known.label], "num_classes", known.classes)
    if named != known.classes:
        raise DataError(f"{where}: {named} classes in column {known.label!r}, expected {known.classes}")


def _labels(known: ImageSet, where: str, rows: Any) -> Tensor:
    labels = list(rows[known.label])
    for row, label in enumerate(labels):
        check_label(known, label, f"{where}, row {row}")
    return torch.tensor(labels, dtype=torch.int64)


def check_label(known: ImageSet, label: int | None, where: str) -> None:
    """Refuse a label that is missing or no class.

    Raises:
        DataError: it is.
    """
    if label is None or not 0 <= label < known.classes:
        problem = "no label" if label is None else f"label {label} is none of {known.classes} classes"
        raise DataError(f"{where}: {problem}")


def _decode(known: ImageSet, where: str, rows: Any) -> np.ndarray:
    import datasets

    encoded = rows.select_columns([known.image]).cast_column(known.image, datasets.Image(decode=False))
    cells = enumerate(encoded)
    return np.stack([decode(cell[known.image], known.shape, f"{where}, row {row}") for row, cell in cells])


def decode(cell: dict[str, Any] | None, shape: tuple[int, int, int] | None, where: str) -> np.ndarray:
    """The pixels ``(H, W, C)`` uint8 of an image as the hub stores it, of this shape (None: any, in colour).

    Raises:
        DataError: it is missing, cannot be decoded, or has another shape.
    """
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(cell["bytes"]) if cell and cell["bytes"] else (cell or {})["path"])
        pixels = np.asarray(image.convert("L" if shape and shape[2] == 1 else "RGB"))
    except (OSError, KeyError, TypeError, SyntaxError, ValueError) as error:
        raise DataError(f"{where}: the image is missing or corrupt ({type(error).__name__})") from error
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if shape and pixels.shape != shape:
        sizes = ["x".join(map(str, size[1::-1])) for size in (pixels.shape, shape)]
        raise DataError(f"{where}: the image is {sizes[0]} pixels, expected {sizes[1]}")
    return pixels
