"""Labelled images that do not fit in memory: streamed, decoded and augmented by worker processes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ....words import plain
from .. import DataError, check_source, full_batches, list_files, open_hub
from .decoding import decode
from .reading import ImageSet, check_columns, check_files, check_label
from .resident import CHUNK, Batch, Images

IMAGENET = ImageSet("ILSVRC/imagenet-1k", "image", "label", None, 1000)
SPLITS = {"train": "train", "test": "validation"}
"""The hub's names of our splits: the labels of ImageNet's own test split are not public."""
SHUFFLE_BUFFER = 10_000
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class StreamedImages(Images):
    """Images that are read while they are used; ``splits`` holds the streams of encoded rows.

    A training image is a crop of random size and place, mirrored with probability 1/2; else it is the middle
    of the image, whose shorter side is scaled to 8/7 of ``side``.

    Args:
        known: the data set.
        sizes: images per split.
        fingerprint: of the files.
        side: images are scaled to ``(side, side, 3)``.
        workers: processes that decode; their number has a part in the order of the images.
        device: where batches go.
    """

    known: ImageSet = IMAGENET
    sizes: dict[str, int] | None = None
    fingerprint: str = ""
    side: int = 224
    workers: int = 8
    device: str = "cpu"

    def to(self, device: str) -> Self:
        """The same images, with batches on another device."""
        return replace(self, device=device)

    @property
    def classes(self) -> int:
        """Those of the data set."""
        return self.known.classes

    def moments(self) -> tuple[Tensor, Tensor]:
        """The usual constants of ImageNet."""
        return torch.tensor(_MEAN), torch.tensor(_STD)

    def steps(self, batch_size: int) -> int:
        """Full batches in the training split."""
        assert self.sizes
        return full_batches(self.sizes["train"], batch_size)

    def batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """A pass after the other, each through a shuffle buffer and with files in another order.

        Raises:
            ValueError: there are fewer images than one batch takes.
        """
        self.steps(batch_size)
        while True:
            seed = int(torch.randint(2**31, (), generator=generator))
            rows = self.splits["train"].shuffle(seed=seed, buffer_size=SHUFFLE_BUFFER)  # type: ignore[attr-defined]
            yield from _whole(
                self._load(rows, "train", augment(self.side), batch_size, generator), batch_size
            )

    def in_order(self, split: str, limit: int | None = None) -> Iterator[Batch]:
        """The middle of each image; the first ones of each worker's files where there is a ``limit``."""
        rows: Any = self.splits[split]
        rows = rows if limit is None else rows.take(limit)
        generator = torch.Generator().manual_seed(0)
        return self._load(rows, split, centre(self.side), CHUNK, generator)

    def _load(
        self,
        rows: Any,
        split: str,
        transform: Callable[[Any], Any],
        batch_size: int,
        generator: torch.Generator,
    ) -> Iterator[Batch]:
        where = f"data set {self.known.name}, split {SPLITS[split]}"
        decoded = rows.map(partial(_example, self.known, where, transform), with_indices=True)
        loader = DataLoader(
            decoded.select_columns(["images", "labels"]),
            batch_size,
            num_workers=max(1, min(self.workers, decoded.num_shards)),
            generator=generator,
            pin_memory=self.device.startswith("cuda"),
        )
        try:
            for batch in loader:
                yield {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}
        except (OSError, ValueError) as error:  # a worker process's, with the lines of its traceback
            last = plain(str(error).strip() or type(error).__name__).splitlines()[-1]
            known = isinstance(error, DataError)
            raise DataError(last.rpartition("DataError: ")[2] if known else f"{where}: {last}") from None


def _whole(batches: Iterator[Batch], size: int) -> Iterator[Batch]:
    """Batches of ``size`` from those of workers, each of which ends with a smaller one; a rest is left."""
    left: Batch = {}
    for batch in batches:
        joined = {name: torch.cat([left[name], tensor]) if left else tensor for name, tensor in batch.items()}
        full = len(joined["labels"]) >= size
        if full:
            yield {name: tensor[:size] for name, tensor in joined.items()}
        left = {name: tensor[size:] for name, tensor in joined.items()} if full else joined


def stream_images(known: ImageSet, source: str, side: int = 224, workers: int = 8) -> StreamedImages:
    """The streams of a data set's splits; no image is read yet.

    Raises:
        DataError: the data set is missing, or its splits or columns are not what they should be.
    """
    import datasets

    files = check_files(known, source, SPLITS.values())
    hub = open_hub(known.name, source, streaming=True)
    files = files or list_files(known.name, source)
    streams, sizes, digest = {}, {}, hashlib.sha256()
    for split, name in SPLITS.items():
        where = f"data set {known.name}, split {name}"
        if name not in hub:
            raise DataError(f"data set {known.name} has no split {name!r}; it has {', '.join(hub)}")
        rows = hub[name]
        check_columns(known, where, rows)
        streams[split] = rows.cast_column(known.image, datasets.Image(decode=False))
        sizes[split] = _count(rows, where, name, files[name])
        digest.update(f"{name} {sizes[split]} {[_identity(file) for file in files[name]]}".encode())
    identity = digest.hexdigest()[:16]
    return StreamedImages(check_source(source), known.name, streams, known, sizes, identity, side, workers)


def _count(rows: Any, where: str, split: str, files: list[str]) -> int:
    """The number of images: on disk as the files say, on the hub as the data set's card does."""
    from pyarrow.parquet import read_metadata

    if all(Path(file).is_file() for file in files):
        if not all(file.endswith(".parquet") for file in files):
            raise DataError(f"{where}: {Path(files[0]).name} cannot be streamed, expected Parquet files")
        count = sum(int(read_metadata(file).num_rows) for file in files)
    elif rows.info.splits:
        count = int(rows.info.splits[split].num_examples)
    else:
        raise DataError(f"{where}: the data set's card does not say how many images there are")
    if not count:
        raise DataError(f"{where}: no rows")
    return count


def _identity(file: str) -> str:
    """What tells a file from another: on the hub its address holds the revision, on disk name and size do."""
    local = Path(file)
    return f"{local.name} {local.stat().st_size}" if local.exists() else file


def augment(side: int) -> Callable[[Any], Any]:
    """A random crop of an image at ``side`` x ``side``, mirrored with probability 1/2."""
    from torchvision.transforms import v2

    transforms = [v2.RandomResizedCrop(side, antialias=True), v2.RandomHorizontalFlip()]
    return cast(Callable[[Any], Any], v2.Compose(transforms))


def centre(side: int) -> Callable[[Any], Any]:
    """The middle of an image at ``side`` x ``side``."""
    from torchvision.transforms import v2

    transforms = [v2.Resize(round(side * 8 / 7), antialias=True), v2.CenterCrop(side)]
    return cast(Callable[[Any], Any], v2.Compose(transforms))


def _example(
    known: ImageSet, where: str, transform: Callable[[Any], Any], row: dict[str, Any], index: int
) -> dict[str, Any]:
    cell = row[known.image]
    place = f"{where}, row {index} of the stream ({(cell or {}).get('path') or 'no file name'})"
    check_label(known, row[known.label], place)
    pixels = torch.from_numpy(np.array(decode(cell, known.shape, place))).permute(2, 0, 1)
    return {"images": transform(pixels).permute(1, 2, 0).numpy(), "labels": row[known.label]}
