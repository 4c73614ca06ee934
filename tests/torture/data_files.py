"""Tables of text that were damaged in every way, in every format and packing."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import random
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from scalpel_bench.tasks.data import DataError
from scalpel_bench.tasks.data.tables import Table
from tests.torture.damage import damaged, is_fine

ROWS = [{"text": f'an article, number {n}; "quoted" λ', "other": None if n % 3 else "x"} for n in range(40)]
PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": partial(gzip.compress, mtime=0),
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


def _separated(delimiter: str) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(ROWS[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return text.getvalue().encode()


def _parquet() -> bytes:
    content = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_pylist(ROWS), content)
    return bytes(content.getvalue())


WHOLE = {
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
    ".json": json.dumps(ROWS).encode(),
    ".jsonl": "".join(json.dumps(row) + "\n" for row in ROWS).encode(),
    ".txt": "".join(f"{row['text']}\n" for row in ROWS).encode(),
    ".parquet": _parquet(),
}


def damaged_tables(count: int = 600) -> Iterator[dict[str, Any]]:
    """A row for each format; bad is what is neither rows of text nor a `DataError` of one line."""
    draw = random.Random(0)
    for suffix, whole in WHOLE.items():
        with tempfile.TemporaryDirectory() as base:
            bad = sum(
                not is_fine(partial(_is_text_or_refused, draw, Path(base), suffix, whole))
                for _ in range(count // len(WHOLE))
            )
        what = f"mutated {suffix} files: rows of text, or one clear line"
        yield {"what": what, "trials": count // len(WHOLE), "bad": bad}


def _is_text_or_refused(draw: random.Random, base: Path, suffix: str, whole: bytes) -> bool:
    packing = draw.choice(list(PACKINGS)) if suffix != ".parquet" else ""
    file = base / f"train{suffix}{packing}"
    pack = PACKINGS[packing]
    file.write_bytes(damaged(draw, pack(whole)) if draw.random() < 0.5 else pack(damaged(draw, whole)))
    try:
        rows = list(Table("made", "train", [file]).rows("text"))
    except DataError as error:
        return "\n" not in str(error)
    return all(row["text"] is None or isinstance(row["text"], str) for row in rows)
