"""What explains a front: how surgery changed the length and the heading of the steps that led to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ... import methods
from ..experiments.settings import TrainingRun
from ..records import Record

Row = Mapping[str, float | None]
_COSINES = ("memory_main_cosine", "direction_memory_cosine")

PANELS = {
    "relative_length": "‖d‖ / ‖g_m‖",
    "direction_main_cosine": "cos(d, g_m)",
    "direction_memory_cosine": "cos(d, EMA of g_m)",
    "step_norm": "length of the step in parameters",
}
LOGARITHMIC = ("relative_length", "step_norm")


def frame(summary: pd.DataFrame, records: Mapping[str, Record]) -> pd.DataFrame:
    """The diagnostics of every run, averaged over the evaluations of the second half of its training.

    Lengths are averaged as logarithms, those that are 0 left out. A run without diagnostics has no row; a
    method without an EMA no ``direction_memory_cosine``.

    Returns:
        columns ``id``, ``method``, ``lam``, ``lr``, ``seed`` and those of `PANELS`.
    """
    rows = []
    for run in summary[summary["status"] == "completed"].itertuples():
        record = records[str(run.id)]
        last = record.trajectory[-1]["step"]
        late = pd.DataFrame(
            as_projected(record, [row for row in record.trajectory if 2 * row["step"] > last])
        )
        if "direction_norm" not in late:
            continue
        late = late.astype(float)
        with np.errstate(divide="ignore", invalid="ignore"):
            late["relative_length"] = late["direction_norm"] / late["main_norm"]
            lengths = [name for name in LOGARITHMIC if name in late]
            late[lengths] = np.log(late[lengths])
        late = late.replace([np.inf, -np.inf], np.nan)
        mean = late.reindex(columns=list(PANELS)).mean()
        mean[list(LOGARITHMIC)] = np.exp(mean[list(LOGARITHMIC)])
        rows.append(
            {"id": run.id, "method": run.method, "lam": run.lam, "lr": run.lr, "seed": run.seed, **mean}
        )
    return pd.DataFrame(rows, columns=["id", "method", "lam", "lr", "seed", *PANELS])


def as_projected(record: Record, rows: list[dict[str, Any]]) -> list[Row]:
    """The diagnostics of rows of a run; its EMA of g_m as the direction was computed from it.

    Recorded is the EMA as the step left it: one that moves after the direction holds g_m of this batch
    already, and is moved back. Nothing is told of it where the method is not here to say how it moves.
    """
    measured: list[Row] = [row.get("diagnostics") or {} for row in rows]
    if not any("memory_norm" in row for row in measured):
        return measured
    assert isinstance(record.run, TrainingRun)
    try:
        ema = methods.create(**record.run.method).remembered(2)[0]
    except ValueError:
        return [{key: value for key, value in row.items() if "memory" not in key} for row in measured]
    return [_moved_back(row, ema.rho) for row in measured] if ema.order == "after" else measured


def _moved_back(row: Row, rho: float) -> Row:
    """The diagnostics with m in place of m' = (1 − ρ) m + ρ g_m; without it where they do not tell it."""
    names = ("memory_norm", "main_norm", *_COSINES, "direction_main_cosine")
    norm, main, to_main, to_direction, between = (np.float64(row.get(name)) for name in names)
    with np.errstate(divide="ignore", invalid="ignore"):
        onto_main = (to_main * norm - rho * main) / (1 - rho)
        onto_direction = (to_direction * norm - rho * between * main) / (1 - rho)
        length = np.sqrt(norm**2 - 2 * rho * (1 - rho) * onto_main * main - (rho * main) ** 2) / (1 - rho)
        told = (length, onto_main / length, onto_direction / length)
    finite = (float(value) if np.isfinite(value) else None for value in told)
    return {**row, **dict(zip(("memory_norm", *_COSINES), finite, strict=True))}
