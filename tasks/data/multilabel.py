"""A table with many labels: functions of the genes of yeast."""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from .source import Data, DataError, check_source
from .splits import carve, with_validation

FEATURES, LABELS = 103, 14
_FILE = "yeast.csv.gz"
_TEST_FRACTION = 0.3
_COLUMNS = [*(f"Att{i}" for i in range(1, FEATURES + 1)), *(f"Class{i}" for i in range(1, LABELS + 1))]


def load_yeast(source: str, validation_fraction: float) -> Data:
    """Genes of yeast: ``features`` ``(N, 103)``, less their mean in train and over their deviation there, and
    ``labels`` ``(N, 14)`` of 0 and 1, which of 14 groups of functions a gene has.

    2,417 genes (Elisseeff & Weston 2001, "A kernel method for multi-labelled classification"), as the package
    ``river`` ships them, which is read and not imported; or the file ``yeast/yeast.csv.gz`` of a folder. Test
    is three tenths of them, validation is carved from the rest.

    Raises:
        DataError: the file is missing, or not what it should be.
    """
    kind = check_source(source)
    features, labels = _read(_path(source, kind))
    train, test = carve({"features": features, "labels": labels}, _TEST_FRACTION)
    splits = with_validation(train, test, validation_fraction)
    deviation, mean = torch.std_mean(splits["train"]["features"], dim=0, correction=0)
    for split in splits.values():
        split["features"] = ((split["features"] - mean) / deviation.clamp(min=1e-12)).float()
    return Data(kind, "yeast", splits)


def _path(source: str, kind: str) -> Path:
    ways = "install it (pip install river), or give --data PATH, a folder that holds yeast/yeast.csv.gz"
    if kind == "hub":
        raise DataError("data set yeast is not on the hub: use --data embedded, of the package river")
    if kind == "folder":
        file = Path(source) / "yeast" / _FILE
    elif (spec := find_spec("river")) and spec.submodule_search_locations:
        file = Path(spec.submodule_search_locations[0]) / "datasets" / _FILE
    else:
        raise DataError(f"data set yeast is in the package river, which is not installed: {ways}")
    if not file.is_file():
        raise DataError(f"data set yeast: {file}: no such file: {ways}")
    return file


def _read(file: Path) -> tuple[Tensor, Tensor]:
    """Features ``(N, 103)`` float64 and labels ``(N, 14)`` float32."""
    try:
        with gzip.open(file, "rt", encoding="utf-8-sig", newline="") as text:
            lines = list(csv.reader(text, strict=True))
    except (OSError, EOFError, ValueError, zlib.error, csv.Error) as error:
        raise DataError(f"data set yeast: {file}: {error}") from error
    if len(lines) < 2 or lines[0] != _COLUMNS:
        raise DataError(f"data set yeast: {file}: expected rows of Att1 to Att103 and Class1 to Class14")
    found = []
    for place, row in enumerate(lines[1:]):
        try:
            numbers = [float(cell.replace("_", "?")) for cell in row]  # Python takes 1_0 for 10
        except ValueError:
            numbers = []
        right = len(numbers) == len(_COLUMNS) and all(map(math.isfinite, numbers))
        if not right or not {*numbers[FEATURES:]} <= {0.0, 1.0}:
            raise DataError(f"data set yeast: {file}: row {place}: expected 103 numbers, and 14 of 0 or 1")
        found.append(numbers)
    table = torch.tensor(found, dtype=torch.float64)
    return table[:, :FEATURES], table[:, FEATURES:].float()
