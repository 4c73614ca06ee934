"""The headline: main loss relative to `sum` at equal auxiliary loss, under each learning-rate protocol."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from ..analysis.analyses import TrainingAnalysis
from ..analysis.comparisons import NO_FRONT
from ..analysis.protocols import REFERENCE
from ..experiments.box import Boxes
from . import style
from .fronts import OUTSIDE
from .panels import (
    SHOWN_SPLITS,
    Drawn,
    by_protocol,
    figures_of,
    name_at_the_end,
    plain_ticks,
    say_inside,
)

MAIN = "main loss relative to the sum"
WIDEST = 4.0
"""Ratios beyond this factor from 1 are drawn at the edge, with triangles."""
_LEAST = 1.02
_MARGIN = 1.01


@figures_of(TrainingAnalysis)
def draw(analysis: TrainingAnalysis) -> Drawn:
    """A figure per protocol, a panel per split: medians over seeds, of methods in colour quartiles too."""
    experiment = analysis.compared
    if not experiment.compares_fronts or experiment.box is None:
        return
    box, curves, points = experiment.box, analysis.relative_curves, analysis.relative_points
    looks, coloured = style.lines(analysis.summary["method"]), style.in_colour(analysis.summary["method"])
    lines = curves[curves["split"].isin(SHOWN_SPLITS) & curves["method"].isin(coloured)]

    def panel(axes: Axes, own: pd.DataFrame, protocol: str, split: str) -> set[str]:
        limit(axes, lines[lines["protocol"] == protocol])
        if (protocol, split) in analysis.outside:
            say_inside(axes, NO_FRONT)
        ends = points_without_line(points, own, protocol, split)
        draw_panel(axes, own, ends, box.of(split), looks, coloured)
        return {REFERENCE, *own["method"], *ends["method"]}

    yield from by_protocol(analysis, curves, "relative", MAIN, panel, height=3.7)


def points_without_line(
    points: pd.DataFrame, curves: pd.DataFrame, protocol: str, split: str
) -> pd.DataFrame:
    """The end points of one protocol and split, of methods that have no curve there."""
    own = points[(points["protocol"] == protocol) & (points["split"] == split)]
    return own[~own["method"].isin({*curves["method"], REFERENCE})]


def draw_panel(
    axes: Axes,
    curves: pd.DataFrame,
    points: pd.DataFrame,
    box: Boxes,
    looks: style.Looks,
    coloured: set[str],
) -> None:
    """Lines of the methods, in colour with quartiles; end points of those that have no line."""
    axes.axvspan(*box.tighter.aux, color="0.96", lw=0, zorder=0)
    axes.axhline(1.0, color=style.look(REFERENCE)["color"], lw=1.4, label=style.title(REFERENCE), zorder=2)
    ends = {}
    for method in style.order(list(curves["method"].unique())):
        own, color, dash = curves[curves["method"] == method], looks[method]["color"], looks[method]["ls"]
        last, seen = float(own["median"].iloc[-1]), own["median"].clip(*axes.get_ylim())
        line: dict[str, Any] = {"where": "post", "color": style.GREY, "lw": 0.8, "zorder": 3}
        if method in coloured:
            quartiles = (own["aux"], own["low"], own["high"])
            axes.fill_between(*quartiles, step="post", color=color, alpha=0.16, lw=0, zorder=1)
            line |= {"color": color, "ls": dash, "lw": 1.8, "zorder": 4, "label": style.title(method)}
            _mark_beyond(axes, own["aux"], own["median"], color)
        if method not in coloured or last != seen.iloc[-1]:
            ends[style.title(method)] = last
        axes.step(own["aux"], seen, **line)
    for method in style.order(list(points["method"].unique())):
        own = points[points["method"] == method]
        look = {**looks[method], "ls": "", "ms": 5}
        if method not in coloured:
            look |= {"ms": 3.5, "color": style.GREY}
        axes.plot(own["aux"], own["ratio"], mew=0, alpha=0.8, zorder=5, label=style.title(method), **look)
        _mark_beyond(axes, own["aux"], own["ratio"], look["color"])
    axes.set_xlim(box.aux)
    plain_ticks(axes.xaxis)
    name_at_the_end(axes, ends)


def _mark_beyond(axes: Axes, aux: pd.Series, ratios: pd.Series, color: str) -> None:
    """A triangle at the edge where ratios leave the axis, at the least such auxiliary loss."""
    low, high = axes.get_ylim()
    for marker, edge, beyond in (("^", high, ratios > high), ("v", low, ratios < low)):
        if beyond.any():
            look: Any = {"marker": marker, "ms": 6, "color": color, "clip_on": False, "zorder": 5}
            axes.plot(aux[beyond].min(), edge, gid=OUTSIDE, **look)


def limit(axes: Axes, curves: pd.DataFrame) -> None:
    """A logarithmic axis that holds the medians up to a factor of 4 from 1."""
    medians = curves["median"].clip(1 / WIDEST, WIDEST)
    low, high = min([1 / _LEAST, *medians]), max([_LEAST, *medians])
    axes.set_yscale("log")
    axes.set_ylim(low / _MARGIN, high * _MARGIN)
    plain_ticks(axes.yaxis)
