"""English-German pairs: a large generic corpus and a small specialised one, read a batch at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from . import cldr
from .source import DataError, check_source, open_hub
from .tables import Table, open_tables

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
    share: Callable[[], float]

    def read(self) -> Iterator[tuple[list[Row], int]]:
        """All pairs with the split that they belong to, in batches, and how many rows had an empty side.

        The source's own held-out split is our test split. What the source lacks is carved from its train
        split by a hash of the English phrase, so that no English phrase is on both sides.

        Raises:
            DataError: a row holds something else than text.
        """
        test = next((part for part in _TEST if part in self.parts), None)
        own = {"train": "train"} | ({test: "test"} if test else {})
        if test == "test" and "validation" in self.parts:
            own["validation"] = "validation"
        carved = [split for split in SPLITS if split not in own.values()]
        share = self.share() if carved else 1.0
        for part, split in own.items():
            for number, batch in enumerate(self.parts[part]()):
                rows = []
                for row, sides in enumerate(batch, number * READ):
                    source, target = (self._text(side, part, row) for side in sides)
                    if source and target:
                        index = int(_hash(source) / share) if part == "train" else len(carved)
                        rows.append((carved[index] if index < len(carved) else split, source, target))
                yield rows, len(batch) - len(rows)

    def _text(self, text: Any, part: str, row: int) -> str:
        if not isinstance(text, str | None):
            raise DataError(f"data set {self.name}, split {part}, row {row}: {text!r} is no text")
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
    parts = {"train": lambda: _batched(pairs())}
    return Corpus(name, f"{name} {babel.__version__}", parts, lambda: HELD_OUT_SHARE)


def _batched(pairs: Iterator[Any]) -> Iterator[list[Any]]:
    while batch := list(islice(pairs, READ)):
        yield batch


def _open(listing: Listing, source: str) -> Corpus:
    if check_source(source) == "folder":
        return _from_folder(listing, source)
    if listing.hub is None:
        raise DataError(
            f"data set {listing.folder}: the hub has none that can be loaded; give --data PATH where "
            f"PATH/{listing.folder} holds {listing.advice}"
        )
    name, config = listing.hub
    splits = open_hub(name, source, config)
    _need_train(name, splits)
    parts = {}
    for part, rows in splits.items():
        flat = rows.flatten()
        columns = _columns(name, part, flat.column_names)
        parts[part] = partial(_read_hub, flat.select_columns(list(columns)), columns)
    key = f"{name} {[rows._fingerprint for rows in splits.values()]}"
    return Corpus(name, key, parts, lambda: _share(len(splits["train"])))


def _from_folder(listing: Listing, folder: str) -> Corpus:
    name = listing.folder
    try:
        tables = open_tables(name, folder)
    except DataError as error:
        raise DataError(
            f"{error}; {name} holds {listing.advice}" if listing.advice else str(error)
        ) from error
    _need_train(name, tables)
    parts = {
        part: partial(_read_table, table, _columns(name, part, table.columns()))
        for part, table in tables.items()
    }
    key = f"{name} {[(part, table.identity()) for part, table in tables.items()]}"
    return Corpus(name, key, parts, lambda: _share(tables["train"].count()))


def _share(rows: int) -> float:
    return min(HELD_OUT_SHARE, HELD_OUT / max(rows, 1))


def _need_train(name: str, splits: Mapping[str, Any]) -> None:
    if "train" not in splits:
        raise DataError(f"data set {name} has no split 'train'; it has {', '.join(splits)}")


def _columns(name: str, part: str, known: list[str]) -> tuple[str, str]:
    for prefix in ("", "translation."):
        for english, german in _COLUMNS:
            if {prefix + english, prefix + german} <= set(known):
                return prefix + english, prefix + german
    missing = [column for column in _COLUMNS[0] if column not in known]
    raise DataError(f"data set {name}, split {part}: no column {missing[0]!r}; it has {known}")


def _read_hub(rows: Any, columns: tuple[str, str]) -> Iterator[list[tuple[Any, Any]]]:
    english, german = columns
    for batch in rows.iter(READ):
        yield list(zip(batch[english], batch[german], strict=True))


def _read_table(table: Table, columns: tuple[str, str]) -> Iterator[list[tuple[Any, Any]]]:
    return _batched(tuple(row.values()) for row in table.rows(*columns))
