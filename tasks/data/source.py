"""The three sources of data, and what is recorded of them."""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from ...words import first_line


class DataError(ValueError):
    """Data that is missing, or not what a task needs; the message says how to provide it."""


@dataclass(frozen=True)
class Data:
    """The tensors of each split, and where they come from.

    Args:
        source: ``"embedded"``, ``"hub"`` or ``"folder"``.
        name: the data set, as a reader would look it up.
        splits: for each of train, validation and test that has data, its tensors by name.
        notes: what a reader of the run should know of the data, such as how many rows were skipped.
    """

    source: str
    name: str
    splits: dict[str, dict[str, Tensor]]
    notes: dict[str, int] = field(default_factory=dict, kw_only=True)

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of a SHA-256 over every split's contents."""
        digest = hashlib.sha256()
        for split, tensors in self.splits.items():
            for name, tensor in tensors.items():
                digest.update(f"{split}/{name}/{tensor.dtype}/{tuple(tensor.shape)}".encode())
                digest.update(tensor.cpu().contiguous().numpy().data)
        return digest.hexdigest()[:16]

    def to(self, device: str) -> Self:
        """The same data on another device."""
        moved = {s: {n: t.to(device) for n, t in tensors.items()} for s, tensors in self.splits.items()}
        return replace(self, splits=moved)


def cache_folder() -> Path:
    """Where decoded data is kept between runs: ``$XDG_CACHE_HOME/scalpel`` (default ``~/.cache/scalpel``)."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "scalpel"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def check_source(source: str) -> str:
    """The kind of a ``--data`` value: ``"embedded"``, ``"hub"`` or ``"folder"``.

    Raises:
        DataError: it is neither of the two words nor a folder.
    """
    if source in ("embedded", "hub"):
        return source
    if not Path(source).is_dir():
        raise DataError(
            f"--data {source}: no such folder; give a folder in the hub's layout, 'hub', or 'embedded'"
        )
    return "folder"


def open_hub(
    name: str, source: str, config: str | None = None, streaming: bool = False, cache: Path | None = None
) -> Any:
    """The hub data set ``name`` (such as ``ylecun/mnist``) from the hub or a folder, as a ``DatasetDict``.

    ``config`` names one of the hub's configurations; a folder holds only one. With ``streaming``, an
    ``IterableDatasetDict``, of which nothing is read yet. ``cache`` is where ``datasets`` keeps what it has
    read of a folder: it takes a file for unchanged where its time is.

    Raises:
        DataError: it is not there, or cannot be read.
    """
    folder = _folder(name, source)
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(logging.CRITICAL)  # what goes wrong is raised, in one line
    try:
        if folder:
            return datasets.load_dataset(str(folder), streaming=streaming, cache_dir=cache)
        return datasets.load_dataset(name, config, streaming=streaming)
    except Exception as error:
        raise _unreadable(name, folder, error) from error


def list_files(name: str, source: str) -> dict[str, list[str]]:
    """The files of each split of a data set that `open_hub` opens; hub addresses hold the revision.

    Raises:
        DataError: it is not there, or has no files of data.
    """
    folder = _folder(name, source)
    import datasets

    try:
        builder = datasets.load_dataset_builder(str(folder or name))
    except Exception as error:
        raise _unreadable(name, folder, error) from error
    return {str(split): list(files) for split, files in (builder.config.data_files or {}).items()}


def _folder(name: str, source: str) -> Path | None:
    """The folder of a data set; None for one of the hub."""
    if check_source(source) != "folder":
        return None
    folder = Path(source) / name
    if not folder.is_dir():
        raise _missing(name, f"the folder {source} has no {name}/")
    return folder


def _unreadable(name: str, folder: Path | None, error: Exception) -> DataError:
    root = error.__cause__ or error
    cause = first_line(root) or type(root).__name__
    return _missing(name, f"{'folder' if folder else 'hub'}: {cause}")


def _missing(name: str, cause: str) -> DataError:
    return DataError(
        f"data set {name} could not be read ({cause}); provide it with --data hub (downloads it), "
        f"--data PATH (a folder that holds {name}/ in the hub's layout), or use --data embedded"
    )
