"""Labelled images from the hub or a folder: checked, decoded once, and mapped into memory."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ....words import first_line
from .. import DataError, cache_folder, check_source, fixed_order, list_files, open_hub
from .decoding import decode
from .resident import Batch

_VERSION = 2
"""Of the way in which images are decoded: what was kept by another is decoded again."""
_NUMBERED = re.compile(r"(.*)-(\d+)-of-(\d+)")
"""How one of several files of a split is named."""


class ImageSet(NamedTuple):
    """A data set of the hub, and what its rows must be; ``shape`` is None where images differ in size."""

    name: str
    image: str
    label: str
    shape: tuple[int, int, int] | None
    classes: int


MNIST = ImageSet("ylecun/mnist", "image", "label", (28, 28, 1), 10)
CIFAR10 = ImageSet("uoft-cs/cifar10", "img", "label", (32, 32, 3), 10)


def read_images(known: ImageSet, source: str) -> dict[str, Batch]:
    """The training and test images ``(N, H, W, C)`` uint8 and ``labels`` ``(N,)`` of a data set.

    Where they lie sorted by class, as from a folder for each class, they come in a fixed random order, so
    that the first of them are of all classes. What has been decoded once is kept in `cache_folder`, and
    mapped into memory from there.

    Raises:
        DataError: the data set is missing, or a split or a row is not what it should be.
    """
    files = check_files(known, source, ("train", "test"))
    contents = _contents(files) if files else None
    hub = open_hub(known.name, source, cache=cache_folder() / contents if contents else None)
    for split in ("train", "test"):
        if split not in hub:
            raise DataError(f"data set {known.name} has no split {split!r}; it has {', '.join(hub)}")
    return {split: _mixed(_decoded(known, split, hub[split], contents)) for split in ("train", "test")}


def _contents(files: dict[str, list[str]]) -> str:
    """A digest of the files of each split."""
    digest = hashlib.sha256()
    for split, of_split in sorted(files.items()):
        for file in map(Path, sorted(of_split)):
            digest.update(f"{split} {file.name} {file.stat().st_size} ".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _mixed(rows: Batch) -> Batch:
    moves = rows["labels"].diff()
    if (moves < 0).any() or not ((moves > 0).any() and (moves == 0).any()):
        return rows
    order = fixed_order(len(rows["labels"]))
    return {name: tensor[order] for name, tensor in rows.items()}


def _decoded(known: ImageSet, split: str, rows: Any, contents: str | None) -> Batch:
    where = f"data set {known.name}, split {split}"
    check_columns(known, where, rows)
    if not len(rows):
        raise DataError(f"{where}: no rows")
    labels = _labels(known, where, rows)
    name = f"{known.name.replace('/', '-')}-{split}-{contents or rows._fingerprint}-{_VERSION}.npy"
    file = cache_folder() / name
    if not file.exists():
        decoded = _decode(known, where, rows)
        temporary = file.with_suffix(f".{os.getpid()}.npy")
        np.save(temporary, decoded)
        temporary.replace(file)
    return {"images": torch.from_numpy(np.load(file, mmap_mode="c")), "labels": labels}


def check_columns(known: ImageSet, where: str, rows: Any) -> None:
    """Refuse rows without the columns, with something else than encoded images, or with other classes.

    Raises:
        DataError: a column is missing, or not what it should be.
    """
    import datasets

    for column in (known.image, known.label):
        if column not in rows.features:
            raise DataError(f"{where}: no column {column!r}; it has {', '.join(rows.features)}")
    image = rows.features[known.image]
    encoded = isinstance(image, datasets.Image) or (isinstance(image, dict) and "bytes" in image)
    if not encoded and getattr(image, "dtype", None) not in ("binary", "large_binary"):
        raise DataError(f"{where}: column {known.image!r} holds {image}, expected files of images as bytes")
    named = getattr(rows.features[known.label], "num_classes", known.classes)
    if named != known.classes:
        raise DataError(f"{where}: {named} classes in column {known.label!r}, expected {known.classes}")


def check_files(known: ImageSet, source: str, splits: Iterable[str]) -> dict[str, list[str]]:
    """The files of each split of a folder; none of the hub.

    Refused are Parquet files of which some are missing, or that ``datasets`` would convert. It casts every
    file to the columns of the first without a word: booleans, fractions and text to whole numbers, and the
    names of classes to those of the first file, in its order.

    Raises:
        DataError: a file is missing by the names of the others, cannot be read, has no rows, or has other
            labels than the first.
    """
    if check_source(source) != "folder":
        return {}
    from pyarrow import types
    from pyarrow.parquet import read_metadata

    files = list_files(known.name, source)
    first: tuple[str, Any, list[str]] | None = None
    for split in splits:
        _check_numbers(f"data set {known.name}, split {split}", files.get(split, []))
        for file in map(Path, files.get(split, [])):
            if file.suffix != ".parquet":
                continue
            where = f"data set {known.name}, split {split}, {file.name}"
            try:
                metadata = read_metadata(file)
            except (OSError, ValueError) as error:
                raise DataError(f"{where}: expected a Parquet file ({first_line(error)})") from error
            if not metadata.num_rows:
                raise DataError(f"{where}: no rows")
            schema = metadata.schema.to_arrow_schema()
            if schema.names.count(known.label) > 1:
                raise DataError(f"{where}: two columns are named {known.label!r}")
            if known.label not in schema.names:
                continue
            kind, names = schema.field(known.label).type, _class_names(known, schema)
            first = first or (file.name, kind, names)
            if types.is_integer(first[1]) and not types.is_integer(kind):
                raise DataError(f"{where}: labels are {kind}, expected whole numbers as in {first[0]}")
            if names != first[2]:
                raise DataError(
                    f"{where}: the classes are named {', '.join(names) or 'nothing'}, expected as in "
                    f"{first[0]}: {', '.join(first[2]) or 'nothing'}"
                )
    return files


def _check_numbers(where: str, files: Iterable[str]) -> None:
    names = [match for file in files if (match := _NUMBERED.match(Path(file).stem))]
    for stem, count in dict.fromkeys((match[1], match[3]) for match in names):
        there = {int(match[2]) for match in names if (match[1], match[3]) == (stem, count)}
        if lost := sorted({*range(int(count))} - there):
            told = f"{stem}-{lost[0]:0{len(count)}}-of-{count}"
            raise DataError(f"{where}: {len(lost)} of {int(count)} files are missing, first {told}")


def _class_names(known: ImageSet, schema: Any) -> list[str]:
    written = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = written.get("info", {}).get("features", {})
    names: list[str] = features.get(known.label, {}).get("names", [])
    return names


def _labels(known: ImageSet, where: str, rows: Any) -> Tensor:
    labels = list(rows[known.label])
    for row, label in enumerate(labels):
        check_label(known, label, f"{where}, row {row}")
    return torch.tensor(labels, dtype=torch.int64)


def check_label(known: ImageSet, label: Any, where: str) -> None:
    """Refuse a label that is missing, or not the number of a class.

    Raises:
        DataError: it is.
    """
    expected = f"expected a whole number from 0 to {known.classes - 1}"
    if label is None:
        raise DataError(f"{where}: no label, {expected}")
    if type(label) is not int or not 0 <= label < known.classes:
        raise DataError(f"{where}: label {label!r} is none of {known.classes} classes, {expected}")


def _decode(known: ImageSet, where: str, rows: Any) -> np.ndarray:
    import datasets

    encoded = rows.select_columns([known.image]).cast_column(known.image, datasets.Image(decode=False))
    cells = enumerate(encoded)
    return np.stack([decode(cell[known.image], known.shape, f"{where}, row {row}") for row, cell in cells])
