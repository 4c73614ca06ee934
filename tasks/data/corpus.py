"""Flat files of bytes: filled once from streamed documents, then mapped into memory."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...words import first_line
from .source import DataError, cache_folder

SEPARATOR = 0xFF
"""The byte after every document; UTF-8 never uses it."""
TEST_DOCUMENTS = 1000
"""How many of the source's held-out documents are read at most."""
_SAVE_EVERY = 10_000
_VERSION = 2
"""Of the way in which files are read: what was kept by another is read again."""


@dataclass(frozen=True)
class Documents:
    """Where the documents of a corpus come from.

    Args:
        name: the data set.
        splits: for ``"train"`` and ``"validation"``, what opens its rows, with the text in the column
            ``text``: a ``datasets.IterableDataset``, or a `tables.Resumable`.
        identity: what the rows depend on, as JSON; equal identities share their files.
    """

    name: str
    splits: dict[str, Callable[[], Any]]
    identity: Any


@dataclass
class _Progress:
    """How far a file has come, so that a stream that was stopped continues at the same row."""

    rows: int = 0
    skipped: int = 0
    documents: int = 0
    sizes: dict[str, int] = field(default_factory=dict)
    stream: Any = None
    digests: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Corpus:
    """A corpus on disk: its files by split, and the digests and counts of its rows."""

    name: str
    folder: Path
    digests: dict[str, str]
    notes: dict[str, int]

    def bytes(self, split: str, least: int) -> Tensor:
        """The memory-mapped bytes ``(N,)`` uint8 of a split: documents, each followed by `SEPARATOR`.

        Raises:
            DataError: they are fewer than ``least``.
        """
        file = self.folder / split
        if (size := file.stat().st_size) < least:
            raise DataError(
                f"data set {self.name}, split {split}: "
                + (f"{size} bytes of text, fewer than a window's {least}" if size else "no text")
            )
        return torch.from_file(str(file), shared=False, size=size, dtype=torch.uint8)


def read_corpus(
    documents: Documents, count: int, validation_fraction: float, further: int | None = None
) -> Corpus:
    """The first ``count`` documents of train, split evenly into train and validation, and those of the test.

    With ``further``, all of these are for training, and so many after them for validation. The source's
    ``validation`` (its first `TEST_DOCUMENTS`) is our test. Rows without text are skipped and counted.
    Nothing is held in memory but one document.

    Raises:
        DataError: a split or the column ``text`` is missing, a row is not UTF-8, or the cache cannot be
            written.
    """
    from filelock import FileLock

    held_out = {"further": further} if further else validation_fraction
    key = json.dumps([_VERSION, documents.name, documents.identity, count, held_out])

    def choose(document: int) -> str:
        share = validation_fraction
        kept = document >= count if further else int((document + 1) * share) > int(document * share)
        return "validation" if kept else "train"

    names = ["train", "validation"] if further or validation_fraction else ["train"]
    try:
        folder = cache_folder() / "text" / hashlib.sha256(key.encode()).hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):
            train = _fill(documents, "train", folder, count + (further or 0), names, choose)
            test = _fill(documents, "validation", folder, TEST_DOCUMENTS, ["test"], lambda document: "test")
    except OSError as error:
        raise DataError(
            f"data set {documents.name} cannot be kept in the cache (XDG_CACHE_HOME): {error}"
        ) from error
    notes = {
        f"{split} {what}": value
        for split, progress in (("train", train), ("test", test))
        for what, value in (("documents", progress.documents), ("rows skipped", progress.skipped))
    }
    return Corpus(documents.name, folder, train.digests | test.digests, notes)


def _fill(
    documents: Documents,
    split: str,
    folder: Path,
    count: int,
    names: list[str],
    choose: Callable[[int], str],
) -> _Progress:
    """Write the first ``count`` documents of a split of the source to the files that ``choose`` names."""
    state = folder / f"{split}.json"
    progress = _Progress(**json.loads(state.read_text())) if state.exists() else _Progress()
    if progress.digests:
        return progress
    rows = documents.splits[split]()
    if progress.stream is not None:
        rows.load_state_dict(progress.stream)
    with ExitStack() as stack:
        files = {name: stack.enter_context((folder / name).open("ab")) for name in names}
        for name, file in files.items():
            file.truncate(progress.sizes.get(name, 0))
            file.seek(0, os.SEEK_END)

        def save() -> None:
            for file in files.values():
                file.flush()
            progress.sizes = {name: file.tell() for name, file in files.items()}
            temporary = state.with_suffix(".tmp")
            temporary.write_text(json.dumps(asdict(progress)))
            temporary.replace(state)

        for text in _texts(rows, f"data set {documents.name}, split {split}", progress):
            files[choose(progress.documents)].write(text + bytes([SEPARATOR]))
            progress.documents += 1
            if progress.documents == count:
                break
            if progress.rows % _SAVE_EVERY == 0:
                progress.stream = rows.state_dict()
                save()
        for name, file in files.items():
            file.flush()
            with (folder / name).open("rb") as whole:
                progress.digests[name] = hashlib.file_digest(whole, "sha256").hexdigest()
        save()
    return progress


def _texts(rows: Any, where: str, progress: _Progress) -> Iterator[bytes]:
    """The rows that have text, as UTF-8; counts rows and those skipped."""
    iterator = iter(rows)
    while True:
        place = f"{where}, row {progress.rows}"
        try:
            row = next(iterator)
        except StopIteration:
            return
        except DataError:
            raise
        except Exception as error:
            cause = first_line(error)
            raise DataError(f"{place} or a later one cannot be read: {cause}") from error
        progress.rows += 1
        if "text" not in row:
            raise DataError(f"{place}: no column 'text', only {', '.join(row)}")
        text = row["text"]
        if text is None or text == "":
            progress.skipped += 1
            continue
        if not isinstance(text, str):
            raise DataError(f"{place}: the column 'text' holds {text!r}, which is no text")
        try:
            yield text.encode()
        except UnicodeEncodeError as error:
            raise DataError(f"{place}: not UTF-8 ({error})") from error
