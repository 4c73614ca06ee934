"""What the report's figures are drawn from: columns of numbers, short enough for a page."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from ..analysis.analyses import TrainingAnalysis
from ..analysis.summary import SPLITS
from ..figures.style import look, on_dark, order, title
from ..records import Record

NUMBERS = 350_000
"""How many numbers of trajectories one page may hold: about 2 MB."""
CURVE_DIGITS = 3
"""Significant digits of these numbers: about what a figure shows."""

DIAGNOSTICS = {
    "main_aux_cosine": "cos(g_m, g_a)",
    "direction_main_cosine": "cos(d, g_m)",
    "direction_aux_cosine": "cos(d, g_a)",
    "memory_main_cosine": "cos(m, g_m)",
    "direction_memory_cosine": "cos(d, m)",
    "projected_share": "projected part of g_a, as a share",
    "main_norm": "‖g_m‖",
    "aux_norm": "‖g_a‖",
    "direction_norm": "‖d‖",
    "memory_norm": "‖m‖",
    "step_norm": "length of the step in parameters",
}


def block(analysis: TrainingAnalysis, budget: int) -> tuple[dict[str, Any], str]:
    """The data of one experiment.

    Args:
        analysis: of its records.
        budget: how many numbers the trajectories may have.

    Returns:
        data: runs and their end values as columns; fronts and attainment surfaces by protocol and split;
        trajectories as one list per run and quantity.
        notice: what was left out of the trajectories, or nothing.
    """
    experiment, summary = analysis.compared, analysis.summary
    own = [analysis.sweep.by_id[identity] for identity in summary["id"]]
    labels = order(list(summary["method"].unique()))
    position = {label: index for index, label in enumerate(labels)}
    splits = [split for split in SPLITS if any(split in row for record in own for row in record.trajectory)]
    rows = [row for record in own for row in record.trajectory]
    metrics = list(dict.fromkeys(key for row in rows for split in splits for key in row.get(split, {})))
    place = {identity: index for index, identity in enumerate(summary["id"])}
    curves, notice = _curves(own, splits, metrics, budget)
    return {
        "labels": experiment.labels.model_dump(),
        "caps": {split: experiment.box.of(split).main[1] for split in splits} if experiment.box else {},
        "methods": [_method(label) for label in labels],
        "splits": splits,
        "metrics": metrics,
        "diagnostics": DIAGNOSTICS,
        "protocols": [
            {"name": p.name, "note": p.note, "runs": [place[identity] for identity in p.runs["id"]]}
            for p in analysis.protocols
        ],
        "runs": {
            "id": list(summary["id"]),
            "method": [position[label] for label in summary["method"]],
            "status": list(summary["status"]),
            **{key: [shorten(value) for value in summary[key]] for key in ("lam", "seed", "lr")},
        },
        "ends": {
            split: {
                key: [shorten(value) for value in summary[f"{split}_{key}"]]
                for key in metrics
                if f"{split}_{key}" in summary
            }
            for split in splits
        },
        "fronts": _fronts(analysis.fronts, position),
        "attainment": _attainment(analysis.attainment, position),
        "curves": curves,
    }, notice


def _method(label: str) -> dict[str, str]:
    seen = look(label)
    return {"label": label, "title": title(label), **seen, "dark": on_dark(seen["color"])}


def shorten(value: Any, digits: int = 6) -> float | int | None:
    """So many significant digits; None for what is not a finite number."""
    if value is None or pd.isna(value) or not math.isfinite(value):
        return None
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < 1e6 else short


def _fronts(fronts: pd.DataFrame, position: dict[str, int]) -> list[dict[str, Any]]:
    keys = ["protocol", "split", "method", "seed"]
    return [
        {
            "protocol": protocol,
            "split": split,
            "method": position[str(method)],
            "aux": [shorten(value) for value in points["aux"]],
            "main": [shorten(value) for value in points["main"]],
        }
        for (protocol, split, method, _), points in fronts.groupby(keys, sort=False)
    ]


def _attainment(surfaces: pd.DataFrame, position: dict[str, int]) -> list[dict[str, Any]]:
    keys = ["protocol", "split", "method", "percentile"]
    return [
        {
            "protocol": protocol,
            "split": split,
            "method": position[str(method)],
            "percentile": shorten(percentile),
            "aux": [shorten(value) for value in points["aux"]],
            "main": [shorten(value) for value in points["main"]],
        }
        for (protocol, split, method, percentile), points in surfaces.sort_values("aux").groupby(keys)
    ]


def _curves(
    records: list[Record], splits: list[str], metrics: list[str], budget: int
) -> tuple[dict[str, Any], str]:
    """Trajectories, thinned evenly to the budget; the first and the last evaluation always stay."""
    columns = len(splits) * len(metrics) + len(DIAGNOSTICS)
    longest = max((len(record.trajectory) for record in records), default=0)
    most = max(2, budget // max(1, columns * len(records)))
    kept = [_evenly(record.trajectory, most) for record in records]
    grids: dict[tuple[Any, ...], int] = {}
    grid = [grids.setdefault(tuple(shorten(row.get("epoch")) for row in rows), len(grids)) for rows in kept]

    def column(split: str, key: str) -> list[list[float | int | None]]:
        return [[shorten(row.get(split, {}).get(key), CURVE_DIGITS) for row in rows] for rows in kept]

    values: dict[str, Any] = {split: {key: column(split, key) for key in metrics} for split in splits}
    values["diagnostics"] = _diagnostics(kept)
    thinned = f"trajectories show {most} of up to {longest} evaluations per run" if longest > most else ""
    return {"grids": [list(epochs) for epochs in grids], "grid": grid, **values}, thinned


def _evenly(rows: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    if len(rows) <= most:
        return rows
    return [rows[round(i * (len(rows) - 1) / (most - 1))] for i in range(most)]


def _diagnostics(kept: list[list[dict[str, Any]]]) -> dict[str, list[list[Any]]]:
    measured = [[row.get("diagnostics") or {} for row in rows] for rows in kept]
    columns = {
        key: [[shorten(row.get(key), CURVE_DIGITS) for row in rows] for rows in measured]
        for key in DIAGNOSTICS
    }
    return {key: runs for key, runs in columns.items() if any(v is not None for run in runs for v in run)}
