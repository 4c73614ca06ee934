"""English-German pairs: a large generic corpus and a small specialised one, read a batch at a time."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from scalpel_bench.tasks.data import cldr
from scalpel_bench.tasks.data.source import DataError, check_source, open_hub

Pair = tuple[str, str]
Row = tuple[str, str, str]
"""Split, source and target."""

SPLITS = ("train", "validation", "test")
READ = 10_000
HELD_OUT = 2000
HELD_OUT_SHARE = 0.1
_COLUMNS = (("en", "de"), ("english", "non_english"))
_TEST = ("test", "validation", "dev")


@dataclass(frozen=True)
class Listing:
    """Where a corpus is found: the folder's name, and the hub's name and configuration if it has one.

    Args:
        advice: how to get what the hub does not have.
    """

    folder: str
    hub: tuple[str, str | None] | None = None
    advice: str = ""


CORPORA = {
    "tatoeba+multi30k": (
        Listing("tatoeba_en_de", ("sentence-transformers/parallel-sentences-tatoeba", "en-de")),
        Listing("multi30k", ("bentrevett/multi30k", None)),
    ),
    "paracrawl+wmt": (
        Listing(
            "para_crawl_en_de",
            advice="a train split with the columns en and de, such as the English-German file of "
            "paracrawl.eu as Parquet",
        ),
        Listing(
            "wmt_en_de",
            advice="train.jsonl (the test sets of WMT 2009-2019) and test.jsonl (WMT 2020) with the keys en "
            "and de; `sacrebleu -t wmt20 -l en-de --echo src ref` prints one of them",
        ),
    ),
}
"""By the value of the setting ``corpora``: main, auxiliary."""


@dataclass(frozen=True)
class Corpus:
    """The pairs of one objective.

    Args:
        name: the data set, as a reader would look it up.
        key: changes when the contents do.
        parts: the source's own splits, each as a function that reads its pairs in batches.
        share: how much of the train split is carved off for each split that the source lacks.
    """

    name: str
    key: str
    parts: Mapping[str, Callable[[], Iterable[Sequence[tuple[Any, Any]]]]]
    share: float

    def read(self) -> Iterator[tuple[list[Row], int]]:
        """All pairs with the split that they belong to, in batches, and how many rows had an empty side.

        The source's own held-out split is our test split. What the source lacks is carved from its train
        split by a hash of the English phrase, so that no phrase is on both sides.

        Raises:
            DataError: a row holds something else than text.
        """
        test = next((part for part in _TEST if part in self.parts), None)
        own = {"train": "train"} | ({test: "test"} if test else {})
        if test == "test" and "validation" in self.parts:
            own["validation"] = "validation"
        carved = [split for split in SPLITS if split not in own.values()]
        for part, split in own.items():
            for number, batch in enumerate(self.parts[part]()):
                rows = []
                for row, sides in enumerate(batch, number * READ):
                    source, target = (self._text(side, part, row) for side in sides)
                    if source and target:
                        index = int(_hash(source) / self.share) if part == "train" else len(carved)
                        rows.append((carved[index] if index < len(carved) else split, source, target))
                yield rows, len(batch) - len(rows)

    def _text(self, text: Any, part: str, row: int) -> str:
        if not isinstance(text, str | None):
            raise DataError(f"data set {self.name}, split {part}, row {row}: {text!r} is not text")
        return " ".join((text or "").split())


def open_corpora(source: str, corpora: str) -> tuple[Corpus, Corpus]:
    """The main and the auxiliary corpus; nothing of them is read yet.

    Args:
        source: ``"embedded"`` (CLDR through Babel: formatted quantities, and names), ``"hub"`` or a folder.
        corpora: a key of `CORPORA`, which embedded data does not use.

    Raises:
        DataError: a corpus is missing, or has no train split with English and German.
    """
    if corpora not in CORPORA:
        raise DataError(f"corpora must be one of {', '.join(CORPORA)}, got {corpora!r}")
    if check_source(source) == "embedded":
        return _embedded("formats", cldr.noisy_formats), _embedded("names", cldr.clean_names)
    main, aux = (_open(listing, source) for listing in CORPORA[corpora])
    return main, aux


def normalise(phrase: str) -> str:
    """The form in which phrases are compared across splits."""
    return " ".join(phrase.casefold().split())


def _hash(phrase: str) -> float:
    """A number in [0, 1) that depends on the normalised phrase alone."""
    return int.from_bytes(hashlib.sha256(normalise(phrase).encode()).digest()[:8]) / 2**64


def _embedded(kind: str, pairs: Callable[[], Iterator[Pair]]) -> Corpus:
    import babel

    name = f"CLDR {kind}"
    return Corpus(name, f"{name} {babel.__version__}", {"train": lambda: _batched(pairs())}, HELD_OUT_SHARE)


def _batched(pairs: Iterator[Pair]) -> Iterator[list[Pair]]:
    while batch := list(islice(pairs, READ)):
        yield batch


def _open(listing: Listing, source: str) -> Corpus:
    folder = check_source(source) == "folder"
    if not folder and listing.hub is None:
        raise DataError(
            f"data set {listing.folder}: the hub has none that can be loaded; give --data PATH where "
            f"PATH/{listing.folder} holds {listing.advice}"
        )
    name, config = (listing.folder, None) if folder or listing.hub is None else listing.hub
    try:
        parts = open_hub(name, source, config)
    except DataError as error:
        if isinstance(error.__cause__, UnicodeDecodeError):
            raise DataError(_undecodable(Path(source) / name, name)) from error
        raise DataError(
            f"{error}; {name} holds {listing.advice}" if listing.advice else str(error)
        ) from error
    if "train" not in parts:
        raise DataError(f"data set {name} has no split 'train'; it has {', '.join(parts)}")
    for part, rows in parts.items():
        _columns(name, part, rows)
    return Corpus(
        name,
        key=f"{name} {[rows._fingerprint for rows in parts.values()]}",
        parts={part: partial(_read, name, part, rows) for part, rows in parts.items()},
        share=min(HELD_OUT_SHARE, HELD_OUT / max(len(parts["train"]), 1)),
    )


def _columns(name: str, part: str, rows: Any) -> tuple[str, str]:
    if "translation" in rows.column_names:
        rows = rows.flatten()
    known = [(f"{prefix}{en}", f"{prefix}{de}") for prefix in ("", "translation.") for en, de in _COLUMNS]
    for columns in known:
        if set(columns) <= set(rows.column_names):
            return columns
    missing = [column for column in _COLUMNS[0] if column not in rows.column_names]
    raise DataError(f"data set {name}, split {part}: no column {missing[0]!r}; it has {rows.column_names}")


def _read(name: str, part: str, rows: Any) -> Iterator[list[tuple[Any, Any]]]:
    english, german = _columns(name, part, rows)
    rows = rows.flatten() if "." in english else rows
    batches = rows.select_columns([english, german]).iter(READ)
    for number in range(-(-len(rows) // READ)):
        try:
            batch = next(batches)
        except UnicodeDecodeError as error:
            row = _first_undecodable(rows, number * READ)
            raise DataError(
                f"data set {name}, split {part}, row {row}: not UTF-8 text ({error.reason})"
            ) from error
        yield list(zip(batch[english], batch[german], strict=True))


def _first_undecodable(rows: Any, start: int) -> int:
    for row in range(start, len(rows)):
        try:
            rows[row]
        except UnicodeDecodeError:
            return row
    return start


def _undecodable(folder: Path, name: str) -> str:
    """Which line of which file of a folder is not UTF-8."""
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as lines:
            for row, line in enumerate(lines):
                try:
                    line.decode()
                except UnicodeDecodeError as error:
                    split = file.name.split(".")[0]
                    return f"data set {name}, split {split}, row {row}: not UTF-8 text ({error.reason})"
    return f"data set {name}: not UTF-8 text"
