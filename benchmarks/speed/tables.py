"""Tables of what was measured."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from .bench import BenchRecord
from .measurements import Measurement


def chosen(record: BenchRecord, what: str) -> pd.DataFrame:
    """The rows that a document asks for: ``targets`` (those with one), ``all``, or a letter of `PARTS`."""
    if what == "targets":
        return table([row for row in record.rows if row.target is not None])
    return table([row for row in record.rows if what in ("all", row.part)])


def table(rows: Sequence[Measurement]) -> pd.DataFrame:
    """A line per measurement: part, figure, value with its interval, target, verdict."""
    return pd.DataFrame(
        {
            "": row.part,
            "figure": row.figure,
            "measured": row.measured,
            "target": row.sought,
            "verdict": row.note or ("" if row.target is None else row.verdict),
        }
        for row in rows
    )
