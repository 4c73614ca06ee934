"""What the report's figures are drawn from: columns of numbers, short enough for a page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from ..analysis.analyses import TrainingAnalysis
from ..analysis.diagnostics import Row, as_projected
from ..analysis.summary import SPLITS
from ..experiments.box import Boxes
from ..figures.relative import WIDEST
from ..figures.style import Looks, in_colour, on_dark, order, title
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


def block(analysis: TrainingAnalysis, looks: Looks, budget: int) -> tuple[dict[str, Any], str]:
    """The data of one experiment.

    Args:
        analysis: of its records.
        looks: of its methods, and of all others of the page.
        budget: how many numbers the trajectories may have.

    Returns:
        data: runs and their end values as columns; fronts, attainment surfaces and what is relative to `sum`
        by protocol and split; trajectories as one list per run and quantity.
        notice: what was left out of the trajectories, or nothing.
    """
    experiment, summary = analysis.compared, analysis.summary
    own = [analysis.sweep.by_id[identity] for identity in summary["id"]]
    labels = order(list(summary["method"].unique()))
    coloured = in_colour(labels)
    position = {label: index for index, label in enumerate(labels)}
    splits = [split for split in SPLITS if any(split in row for record in own for row in record.trajectory)]
    rows = [row for record in own for row in record.trajectory]
    metrics = list(dict.fromkeys(key for row in rows for split in splits for key in row.get(split, {})))
    place = {run: index for index, run in enumerate(_told_apart(summary))}
    curves, notice = _curves(own, splits, metrics, budget)
    return {
        "labels": experiment.labels.model_dump(),
        "boxes": {split: _box(experiment.box.of(split)) for split in splits} if experiment.box else {},
        "methods": [
            {
                **_method(label, looks[label]),
                "quiet": label not in coloured,
                "bound": experiment.bounds(label),
            }
            for label in labels
        ],
        "splits": splits,
        "metrics": metrics,
        "diagnostics": DIAGNOSTICS,
        "protocols": [
            {"name": p.name, "note": p.note, "runs": [place[run] for run in _told_apart(p.runs)]}
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
        "fronts": _grouped(analysis.fronts, position, "seed", ["aux", "main"]),
        "attainment": _grouped(analysis.attainment, position, "percentile", ["aux", "main"]),
        "relative": _grouped(analysis.relative_curves, position, None, ["aux", "low", "median", "high"]),
        "widest": WIDEST,
        "relative_points": _relative_points(analysis.relative_points, place),
        "curves": curves,
    }, notice


def _method(label: str, look: Mapping[str, str]) -> dict[str, str]:
    return {"label": label, "title": title(label), **look, "dark": on_dark(look["color"])}


def shorten(value: Any, digits: int = 6) -> float | int | None:
    """So many significant digits; None for what is not a finite number."""
    if value is None or pd.isna(value) or not math.isfinite(value):
        return None
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < 1e6 else short


def _box(box: Boxes) -> dict[str, Any]:
    return {"aux": box.aux, "main": box.main, "tighter": box.tighter.aux}


def _grouped(
    rows: pd.DataFrame, position: dict[str, int], by: str | None, columns: list[str]
) -> list[dict[str, Any]]:
    """Columns of numbers for each protocol, split and method, and each value of one key more."""
    keys = ["protocol", "split", "method", *([by] if by else [])]
    return [
        {
            "protocol": key[0],
            "split": key[1],
            "method": position[str(key[2])],
            **({by: shorten(key[3])} if by else {}),
            **{name: [shorten(value) for value in own[name]] for name in columns},
        }
        for key, own in rows.groupby(keys, sort=False)
    ]


def _told_apart(runs: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Method and id of each row: a run may be of several methods."""
    return zip(runs["method"], runs["id"], strict=True)


def _relative_points(points: pd.DataFrame, place: dict[tuple[str, str], int]) -> list[dict[str, Any]]:
    return [
        {
            "protocol": protocol,
            "split": split,
            "run": [place[run] for run in _told_apart(own)],
            **{name: [shorten(value) for value in own[name]] for name in ("aux", "ratio")},
        }
        for (protocol, split), own in points.groupby(["protocol", "split"], sort=False)
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
    values["diagnostics"] = _diagnostics(
        [as_projected(record, rows) for record, rows in zip(records, kept, strict=True)]
    )
    thinned = f"trajectories show {most} of up to {longest} evaluations per run" if longest > most else ""
    return {"grids": [list(epochs) for epochs in grids], "grid": grid, **values}, thinned


def _evenly(rows: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    if len(rows) <= most:
        return rows
    return [rows[round(i * (len(rows) - 1) / (most - 1))] for i in range(most)]


def _diagnostics(measured: list[list[Row]]) -> dict[str, list[list[Any]]]:
    columns = {
        key: [[shorten(row.get(key), CURVE_DIGITS) for row in rows] for rows in measured]
        for key in DIAGNOSTICS
    }
    return {key: runs for key, runs in columns.items() if any(v is not None for run in runs for v in run)}
