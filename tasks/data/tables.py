"""Columns of text from the files of a folder: CSV, TSV, JSON, JSON lines, plain text and Parquet.

Nothing is guessed. Files are UTF-8. Every field of a CSV is text, whatever it says (``None``, ``NA``,
``1.0``), and every row has as many fields as the header. Every row of JSON is an object with the columns
that are asked for, and their values are text or null. Anything else is refused, with the file and the line.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import lzma
import re
import reprlib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

from ...utf8 import NotUTF8, decode_utf8
from ...words import first_line
from .source import DataError, list_files

Row = dict[str, str | None]
_Numbered = Iterator[tuple[str, dict[str, Any]]]
"""Rows, each with its place in the file, such as ``line 3``."""

_PACKED: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_SPLIT_WORDS = {"train", "training", "validation", "valid", "val", "dev", "test", "testing"}
_BATCH = 1000


class _Fault(Exception):
    """What is wrong with a row, and where in its file that is."""

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(problem)
        self.place, self.problem = place, problem


class Table:
    """The rows of one split of a data set, read from its files whenever they are asked for.

    Args:
        name: the data set, for messages.
        split: the split.
        files: each with a suffix of `READERS`, alone or before ``.gz``, ``.bz2`` or ``.xz``.
    """

    def __init__(self, name: str, split: str, files: Sequence[Path]) -> None:
        self.where = f"data set {name}, split {split}"
        self.files = files

    def rows(self, *columns: str) -> Iterator[Row]:
        """These columns of every row; ``a.b`` is the column ``b`` inside the column ``a``.

        Raises:
            DataError: a file cannot be read or has no rows, a column is missing, or a cell is no text.
        """
        row = 0
        for file in self.files:
            before = row
            for place, cells in self._read(file, row, columns):
                for column in columns:
                    if column not in cells:
                        known = f"only {', '.join(cells)}" if cells else "nor any other"
                        raise self._error(file, row, place, f"no column {column!r}, {known}")
                    if problem := _problem(cells[column]):
                        raise self._error(file, row, place, f"the column {column!r} holds {problem}")
                yield {column: cells[column] for column in columns}
                row += 1
            if row == before:
                raise self._empty(file)

    def columns(self) -> list[str]:
        """The columns of the first row; ``a.b`` is the column ``b`` inside the column ``a``.

        Raises:
            DataError: there is no such row, or it cannot be read.
        """
        for _, cells in self._read(self.files[0], 0, None):
            return list(cells)
        raise self._empty(self.files[0])

    def count(self) -> int:
        """How many rows there are; the files are read to count them.

        Raises:
            DataError: as `rows`.
        """
        return sum(1 for _ in self.rows())

    def identity(self) -> list[Any]:
        """What tells one content from another, without reading it: names, sizes and times of the files."""
        stats = [(file, file.stat()) for file in self.files]
        return [(str(file.resolve()), stat.st_size, stat.st_mtime_ns) for file, stat in stats]

    def _read(self, file: Path, row: int, columns: Sequence[str] | None) -> _Numbered:
        """The rows of a file, the first of which is number ``row`` of the split."""
        rows = _rows(file, columns)
        while True:
            try:
                numbered = next(rows, None)
            except NotUTF8 as error:
                raise self._error(file, row, f"line {error.line}", error.problem) from error
            except _Fault as fault:
                raise self._error(file, row, fault.place, fault.problem) from fault
            except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
                cause = first_line(error)
                raise DataError(
                    f"{self.where}, row {row} or a later one ({file.name}) cannot be read: {cause}"
                ) from error
            if numbered is None:
                return
            yield numbered
            row += 1

    def _empty(self, file: Path) -> DataError:
        return DataError(f"{self.where}: {file.name} has no rows, expected at least one")

    def _error(self, file: Path, row: int, place: str, problem: str) -> DataError:
        place = ", ".join(filter(None, [file.name, place]))
        return DataError(f"{self.where}, row {row} ({place}): {problem}")


class Resumable:
    """The rows of a table, from any row on, as a ``datasets.IterableDataset`` serves them."""

    def __init__(self, table: Table, *columns: str) -> None:
        self.table, self.columns, self.row = table, columns, 0

    def __iter__(self) -> Iterator[Row]:
        """The rows from the one that the state names."""
        for row in islice(self.table.rows(*self.columns), self.row, None):
            self.row += 1
            yield row

    def state_dict(self) -> dict[str, int]:
        """How many rows were served."""
        return {"row": self.row}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after the rows that were served."""
        self.row = state["row"]


def open_tables(name: str, folder: str) -> dict[str, Table]:
    """The splits of the data set ``name`` in a folder of the hub's layout; no row is read yet.

    Raises:
        DataError: it is not there, or has a file that cannot be read.
    """
    splits = list_files(name, folder)
    read = {Path(file) for files in splits.values() for file in files}
    for file in sorted(read):
        if _suffix(file) not in READERS:
            raise DataError(
                f"data set {name}: {file.name} is no table of text; expected one of {', '.join(READERS)}, "
                f"or such a file packed as {', '.join(_PACKED)}"
            )
    kinds = {_suffix(file) for file in read}
    for file in sorted((Path(folder) / name).rglob("*")):
        suffix = _suffix(file)
        named = _SPLIT_WORDS & set(re.split(r"[^a-z]+", file.name.lower()))
        if named and suffix in READERS and suffix not in kinds:
            raise DataError(
                f"data set {name}: {file.name} would be left out beside {min(read).name}; "
                "write all splits in the same format"
            )
    tables = {}
    for split, files in splits.items():
        stems: dict[Path, Path] = {}
        for file in map(Path, files):
            other = stems.setdefault(_stem(file), file)
            if other != file:
                raise DataError(
                    f"data set {name}, split {split}: {other.name} and {file.name} seem to hold the same "
                    "rows; remove one"
                )
        tables[split] = Table(name, split, [Path(file) for file in files])
    return tables


def _problem(cell: Any) -> str | None:
    """Why a cell is neither text nor null, if it is not."""
    if cell is None:
        return None
    if not isinstance(cell, str):
        return f"{reprlib.repr(cell)}, which is no text"
    try:
        cell.encode()
    except UnicodeEncodeError:
        return f"{reprlib.repr(cell)}, half a character: not UTF-8 text"
    return None


def _rows(file: Path, columns: Sequence[str] | None) -> _Numbered:
    suffix = _suffix(file)
    return _parquet(file, columns) if suffix == ".parquet" else READERS[suffix](_lines(file))


def _open(file: Path) -> IO[bytes]:
    opened: IO[bytes] = _PACKED.get(file.suffix.lower(), open)(file, "rb")
    return opened


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    with _open(file) as lines:
        for number, line in enumerate(lines, 1):
            yield number, decode_utf8(line, number)


def _separated(delimiter: str, lines: Iterator[tuple[int, str]]) -> _Numbered:
    """Rows of separated values, quoted as RFC 4180 says."""
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader((line for _, line in lines), delimiter=delimiter, strict=True)
    header: list[str] = []
    while True:
        place = f"line {reader.line_num + 1}"
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise _Fault(place, f"not separated by {delimiter!r} and quoted with '\"' ({error})") from error
        if fields is None:
            return
        if not fields:
            continue
        if not header:
            header = fields
            if doubled := [name for name in header if header.count(name) > 1]:
                raise _Fault(place, f"two columns are named {doubled[0]!r}")
        elif len(fields) != len(header):
            raise _Fault(place, f"fields: {len(fields)}, expected {len(header)} ({', '.join(header)})")
        else:
            yield place, dict(zip(header, fields, strict=True))


def _json_lines(lines: Iterable[tuple[int, str]]) -> _Numbered:
    for number, line in lines:
        if line.strip():
            yield _object(_parsed(line, number), f"line {number}")


def _json(lines: Iterator[tuple[int, str]]) -> _Numbered:
    """Objects, one a line or all in one list."""
    for number, line in lines:
        if line.lstrip().startswith("["):
            items = _parsed("".join(chain([line], (rest for _, rest in lines))), number)
            yield from (_object(item, f"item {index} of its list") for index, item in enumerate(items))
        elif line.strip():
            yield from _json_lines(chain([(number, line)], lines))


def _parsed(text: str, first: int) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        place = f"line {first + error.lineno - 1}"
        raise _Fault(place, f"not JSON ({error.msg} at column {error.colno})") from error
    except (ValueError, RecursionError) as error:
        raise _Fault(f"line {first}", f"not JSON ({error})") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(pairs)) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)!r} twice in one object")
    return found


def _object(value: Any, place: str) -> tuple[str, dict[str, Any]]:
    if not isinstance(value, dict):
        raise _Fault(place, f'{reprlib.repr(value)} is no JSON object, such as {{"column": "text"}}')
    return place, _flat(value)


def _flat(cells: dict[str, Any]) -> dict[str, Any]:
    """The same with the columns inside a column, as ``a.b``."""
    flat = dict(cells)
    for name, cell in cells.items():
        if isinstance(cell, dict):
            flat |= {f"{name}.{inner}": value for inner, value in cell.items()}
    return flat


def _text(lines: Iterable[tuple[int, str]]) -> _Numbered:
    return ((f"line {number}", {"text": line.rstrip("\r\n")}) for number, line in lines)


def _parquet(file: Path, columns: Sequence[str] | None) -> _Numbered:
    from pyarrow.parquet import ParquetFile

    with ParquetFile(file) as parquet:
        names = parquet.schema_arrow.names
        if doubled := [name for name in names if names.count(name) > 1]:
            raise _Fault("", f"two columns are named {doubled[0]!r}")
        wanted = {part for column in columns or names for part in (column, column.partition(".")[0])}
        for batch in parquet.iter_batches(_BATCH, columns=[name for name in names if name in wanted] or None):
            try:
                rows: Iterable[dict[str, Any]] = batch.to_pylist()
            except UnicodeDecodeError:
                rows = (batch.slice(index, 1).to_pylist()[0] for index in range(len(batch)))
            try:
                yield from (("", _flat(cells)) for cells in rows)
            except UnicodeDecodeError as error:
                raise _Fault("", f"not UTF-8 text ({error.reason})") from error


def _stem(file: Path) -> Path:
    """The path without the suffixes of format and packing."""
    if file.suffix.lower() in _PACKED:
        file = file.with_suffix("")
    return file.with_suffix("")


def _suffix(file: Path) -> str:
    """The suffix of the format, such as ``.csv`` of ``train.csv.gz``."""
    if file.suffix.lower() in _PACKED:
        file = file.with_suffix("")
    return file.suffix.lower()


READERS: dict[str, Any] = {
    ".csv": partial(_separated, ","),
    ".tsv": partial(_separated, "\t"),
    ".json": _json,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".txt": _text,
    ".parquet": None,
}
"""What reads the lines of a file, by its suffix; Parquet has no lines."""
