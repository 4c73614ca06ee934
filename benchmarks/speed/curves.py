"""Curves of what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, ScalarFormatter

from ..figures import style
from .bench import BenchRecord
from .measurements import Measurement

SETTINGS: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "svg.hashsalt": "scalpel",
}


def draw(names: Sequence[str], folder: Path, record: BenchRecord) -> None:
    """Draw curves of a record as ``NAME.svg``; names that are none of theirs are passed over."""
    for name in names:
        if name in _FIGURES:
            with mpl.rc_context(SETTINGS):
                _FIGURES[name](record).savefig(folder / f"{name}.svg", metadata={"Date": None})


def _combine(record: BenchRecord) -> Figure:
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    against, growth = figure.subplots(1, 2)
    rows = _curve(record, "c", "P")
    sizes = [row.at["P"] for row in rows]
    _band(against, sizes, rows)
    against.axhline(1, color="0.6", lw=1)
    against.set(xscale="log", yscale="log", xlabel="parameters P", ylabel="time / copying as many bytes")
    _ticks(against.yaxis, [1, 2, 3, 5, 10, 20])
    against.set_title("direction of Bloop against a copy")
    _line(growth, sizes, [row.milliseconds or 0 for row in rows])
    growth.set(xscale="log", yscale="log", xlabel="parameters P", ylabel="milliseconds")
    growth.set_title(_fitted(record, "time of Bloop's direction against P"))
    return figure


def _populations(record: BenchRecord) -> Figure:
    figure = Figure(figsize=(4.2, 3.2), layout="constrained")
    axes = figure.subplots()
    rows = _curve(record, "d", "N")
    _band(axes, [row.at["N"] for row in rows], rows)
    axes.axhline(1, color="0.6", lw=1)
    axes.set(xscale="log", xlabel="replicas N", ylabel="runs per hour / one by one")
    axes.set_ylim(bottom=0)
    _ticks(axes.xaxis, [row.at["N"] for row in rows])
    axes.set_title(f"populations of smooth_mlp ({record.environment['device']})")
    return figure


def _growth(record: BenchRecord) -> Figure:
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    by_objectives, by_replicas, by_parameters = figure.subplots(1, 3)
    for axes, variable, name in ((by_objectives, "K", "PCGrad"), (by_replicas, "N", "Bloop")):
        rows = _curve(record, "e", variable)
        _line(axes, [row.at[variable] for row in rows], [row.value or 0 for row in rows])
        first = rows[0].at[variable]
        axes.set(xscale="log", yscale="log", ylabel=f"time of a direction / at {variable} = {first}")
        axes.set_title(_fitted(record, f"time of the direction of {name} against {variable}"))
        _ticks(axes.xaxis, [row.at[variable] for row in rows if row.at[variable] not in (3, 6, 12)])
        _ticks(axes.yaxis, [2**n for n in range(0, 10, 2)])
    by_objectives.set_xlabel("objectives K")
    by_replicas.set_xlabel("replicas N")
    rows = _curve(record, "e", "P")
    values = [row.value or 0 for row in rows]
    _line(by_parameters, [row.at["P"] for row in rows], values)
    by_parameters.set(xscale="log", xlabel="parameters P", ylabel="peak memory of a step, in vectors")
    by_parameters.set_ylim(0, 1.2 * max(values))
    by_parameters.set_title(_fitted(record, "peak memory of a step of Bloop against P"))
    return figure


_FIGURES = {"combine": _combine, "populations": _populations, "growth": _growth}


def _curve(record: BenchRecord, part: str, variable: str) -> list[Measurement]:
    return [row for row in record.rows if row.part == part and variable in row.at]


def _fitted(record: BenchRecord, what: str) -> str:
    (row,) = [row for row in record.rows if row.figure == f"exponent of {what}"]
    return f"exponent {row.measured}"


def _band(axes: Axes, places: list[int], rows: list[Measurement]) -> None:
    values = [row.value or 0 for row in rows]
    low, high = [row.low or 0 for row in rows], [row.high or 0 for row in rows]
    axes.fill_between(places, low, high, color=style.look("bloop")["color"], alpha=0.2, lw=0)
    _line(axes, places, values)


def _line(axes: Axes, places: list[int], values: list[float]) -> None:
    axes.plot(places, values, **style.look("bloop"), ms=5)


def _ticks(axis: Axis, values: list[int]) -> None:
    """Plain numbers where powers of ten say too little; those within the range of the data."""
    low, high = axis.get_view_interval()
    axis.set_ticks([value for value in values if low <= value <= high])
    axis.set_major_formatter(ScalarFormatter())
    axis.set_minor_locator(NullLocator())
