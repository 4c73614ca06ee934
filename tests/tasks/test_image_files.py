"""Sets of images as other programs write them: labels, empty files, and what ``datasets`` would convert."""

import io
import json
import os
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from scalpel_bench.tasks import DataError
from scalpel_bench.tasks.data.images import MNIST, read_images


def png(seed: int = 0) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (28, 28), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def decoded(image: bytes) -> bytes:
    return np.asarray(Image.open(io.BytesIO(image))).tobytes()


IMAGE = png()


@pytest.fixture
def written(tmp_path, monkeypatch):
    """MNIST as other programs than ``datasets`` write it: tables or bytes by the names of the files."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def write(files: dict) -> str:
        for name, content in files.items():
            file = tmp_path / "data" / MNIST.name / name
            file.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                file.write_bytes(content)
            else:
                pq.write_table(content, file)
        return str(tmp_path / "data")

    return write


def table(labels, image=None, names: list[str] | None = None):
    cells = image or {"bytes": IMAGE, "path": None}
    written = pa.table({"image": [cells] * len(labels), "label": labels})
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": names}}
    described = {"huggingface": json.dumps({"info": {"features": features}})}
    return written.replace_schema_metadata(described) if names else written


def test_tables_without_a_card_are_read(written) -> None:
    tables = {f"{split}.parquet": table([3, 1, 4]) for split in ("train", "test")}
    splits = read_images(MNIST, written(tables))
    expected = np.asarray(Image.open(io.BytesIO(IMAGE)))[..., None]
    assert splits["test"]["labels"].tolist() == [3, 1, 4]
    assert all(np.array_equal(pixels.numpy(), expected) for pixels in splits["train"]["images"])


def test_folders_of_classes_are_read(written) -> None:
    files = {f"{split}/{i}/a.png": IMAGE for split in ("train", "test") for i in range(10)}
    assert read_images(MNIST, written(files))["test"]["labels"].tolist() == list(range(10))


def test_rows_that_lie_sorted_by_class_are_mixed_alike_every_time(written) -> None:
    labels = [label for label in range(10) for _ in range(5)]
    pixels = [png(number) for number in range(50)]
    cells = pa.table({"image": [{"bytes": image, "path": None} for image in pixels], "label": labels})
    folder = written({"train.parquet": cells, "test.parquet": table([1, 0])})
    train, again = (read_images(MNIST, folder)["train"] for _ in range(2))
    assert len(train["labels"][:12].unique()) > 5
    for image, label in zip(train["images"], train["labels"].tolist(), strict=True):
        assert image.numpy().tobytes() in {decoded(one) for one in pixels[5 * label : 5 * label + 5]}
    assert torch.equal(train["images"], again["images"])
    assert read_images(MNIST, folder)["test"]["labels"].tolist() == [1, 0]


def test_a_split_of_which_files_are_missing_is_refused(written) -> None:
    folder = written({"train-00001-of-00003.parquet": table([1]), "test-00000-of-00001.parquet": table([1])})
    told = "split train: 2 of 3 files are missing, first train-00000-of-00003$"
    with pytest.raises(DataError, match=told):
        read_images(MNIST, folder)


def test_a_file_that_is_replaced_is_read_though_it_has_the_size_and_the_time_of_the_first(written) -> None:
    folder = written({f"{split}.parquet": table([3, 1, 4]) for split in ("train", "test")})
    assert read_images(MNIST, folder)["train"]["labels"].tolist() == [3, 1, 4]
    file = next(Path(folder).rglob("train.parquet"))
    before = file.stat()
    written({"train.parquet": table([4, 1, 3])})
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    assert read_images(MNIST, folder)["train"]["labels"].tolist() == [4, 1, 3]


NAMES = [f"class {i}" for i in range(10)]
EXPECTED = "expected a whole number from 0 to 9"
LABELS = {
    "text": (["7", "8"], f"label '7' is none of 10 classes, {EXPECTED}"),
    "names": (["seven", "eight"], f"label 'seven' is none of 10 classes, {EXPECTED}"),
    "fractions": ([3.7, 1.0], "label 3.7 is none of 10 classes"),
    "whole numbers that were rounded": ([3.0, 1.0], "label 3.0 is none of 10 classes"),
    "not a number": ([float("nan"), 1.0], "label nan is none of 10 classes"),
    "booleans": ([True, False], "label True is none of 10 classes"),
    "negative": ([-1, 1], "label -1 is none of 10 classes"),
    "one class more": ([10, 1], "label 10 is none of 10 classes"),
    "missing": ([None, 1], f"no label, {EXPECTED}"),
}


@pytest.mark.parametrize("case", LABELS)
def test_a_label_is_a_whole_number(written, case: str) -> None:
    labels, message = LABELS[case]
    folder = written({"train.parquet": table(labels), "test.parquet": table([1])})
    with pytest.raises(DataError, match=f"^data set ylecun/mnist, split train, row 0: {message}"):
        read_images(MNIST, folder)


FILES = {
    "labels of another kind": (
        {"train.parquet": table([1]), "test.parquet": table(["7"])},
        "split test, test.parquet: labels are string, expected whole numbers as in train.parquet",
    ),
    "classes in another order": (
        {"train.parquet": table([1], names=NAMES), "test.parquet": table([1], names=NAMES[::-1])},
        "split test, test.parquet: the classes are named class 9, .* as in train.parquet: class 0,",
    ),
    "an empty file": (
        {"train.parquet": b"", "test.parquet": table([1])},
        "split train, train.parquet: expected a Parquet file .*0 bytes",
    ),
    "no rows": (
        {"train.parquet": table([1]), "test.parquet": table([1])[:0]},
        "split test, test.parquet: no rows",
    ),
    "numbers as images": (
        {"train.parquet": table([1], image=[0, 1]), "test.parquet": table([1], image=[0, 1])},
        "split train: column 'image' holds List.*, expected files of images as bytes",
    ),
    "an empty image file": (
        {f"{split}/{i}/a.png": IMAGE if i else b"" for split in ("train", "test") for i in range(10)},
        r"split train, row 0: the image is missing or corrupt, expected a whole file \(no bytes\)",
    ),
    "a folder too few": (
        {f"{split}/{i}/a.png": IMAGE for split in ("train", "test") for i in range(9)},
        "split train: 9 classes in column 'label', expected 10",
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_nothing_is_converted_without_a_word(written, case: str) -> None:
    files, message = FILES[case]
    with pytest.raises(DataError, match=f"^data set ylecun/mnist, {message}") as caught:
        read_images(MNIST, written(files))
    assert "\n" not in str(caught.value)


def test_an_empty_folder_is_named(tmp_path) -> None:
    (tmp_path / MNIST.name).mkdir(parents=True)
    with pytest.raises(DataError, match="data set ylecun/mnist could not be read .*--data PATH"):
        read_images(MNIST, str(tmp_path))
