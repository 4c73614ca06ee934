"""What a step costs, as the bench recorded it: the runs of a busy sweep say nothing about time."""

from __future__ import annotations

import json
from pathlib import Path

from .protocols import REFERENCE
from .statistics import Estimate

MEASURE = "`scalpel bench --part a --device cpu` measures it"


def step_ratio(results: Path, method: str, model: str, passes: str) -> Estimate:
    """The time of a training step of a method over that of one of `sum`, with the quartiles over turns.

    Args:
        results: the folder of all results, with the bench's record in ``bench/quick.json``.
        method: its name.
        model: how the record's row begins its name.
        passes: what the step of `sum` takes: ``two gradients``, or ``one backward pass``.

    Returns:
        no value where the record, or its row, is missing; ``note`` says so.
    """
    path = results / "bench" / "quick.json"
    start = f"step of {method} / step of {REFERENCE} with {passes} ({model}"
    try:
        for row in json.loads(path.read_text(encoding="utf-8"))["rows"]:
            if row["part"] == "a" and row["figure"].startswith(start) and row["value"] is not None:
                low, high = (None if row.get(key) is None else float(row[key]) for key in ("low", "high"))
                return Estimate(float(row["value"]), low, high)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Estimate(
            None, note=f"{path.parent.name}/{path.name} cannot be read: `scalpel bench --device cpu` makes it"
        )
    return Estimate(None, note=f"the bench has no row {start} …): {MEASURE}")
