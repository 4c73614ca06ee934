"""Fronts under each learning-rate protocol: what half of the seeds attain, and what the quartiles do."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from ..analysis.analyses import TrainingAnalysis
from ..analysis.comparisons import NO_FRONT
from ..experiments.box import Bounds
from ..experiments.schema import Labels
from . import style
from .panels import Drawn, by_protocol, figures_of, name_at_the_end, plain_ticks, say_inside

NO_MEDIAN = "half of the seeds have no front in the box"
OUTSIDE = "outside"
_SEEDS = 4
"""The quartiles of fewer are but the best and the worst."""
_MARGIN = 0.04
"""Of the frame around a box, as a share of its sides."""


@figures_of(TrainingAnalysis)
def draw(analysis: TrainingAnalysis) -> Drawn:
    """A figure per protocol, a panel per split: the median attainment surface of each method.

    Of methods in colour also the band between the surfaces that a quarter and three quarters of the seeds
    attain, where the seeds are enough for that.
    """
    experiment = analysis.compared
    if not experiment.compares_fronts:
        return
    looks, coloured = style.lines(analysis.summary["method"]), style.in_colour(analysis.summary["method"])

    def panel(axes: Axes, surfaces: pd.DataFrame, protocol: str, split: str) -> set[str]:
        frame_of(axes, analysis, surfaces, protocol, split)
        return draw_panel(axes, surfaces, looks, coloured)

    yield from by_protocol(analysis, shown_surfaces(analysis), "fronts", experiment.labels.main, panel)


def shown_surfaces(analysis: TrainingAnalysis) -> pd.DataFrame:
    """The attainment surfaces that figures show: of few seeds the medians alone.

    Of more than two losses without the models that were trained on one alone, which are on no front of two.
    """
    surfaces, seeds = analysis.attainment, analysis.summary["seed"].nunique()
    if len(alone := analysis.compared.alone) > 2:
        surfaces = surfaces[~surfaces["method"].isin(alone.values())]
    return surfaces if seeds >= _SEEDS else surfaces[surfaces["percentile"] == 50]


def draw_panel(axes: Axes, surfaces: pd.DataFrame, looks: style.Looks, coloured: set[str]) -> set[str]:
    """Median staircases in the frame, in colour with corners and quartiles; grey ones end on a name.

    A triangle at the upper edge stands for one in colour that lies above it.

    Args:
        axes: framed.
        surfaces: the attainment surfaces of one protocol and split.
        looks: of its methods, with their lines.
        coloured: those that are not grey.

    Returns:
        the methods that are drawn; not those that lie right of the frame.
    """
    (left, right), (_, top) = axes.get_xlim(), axes.get_ylim()
    medians = surfaces[surfaces["percentile"] == 50]
    ends, seen = {}, set()
    for method in style.order(list(medians["method"].unique())):
        own, look = medians[medians["method"] == method].sort_values("aux"), looks[method]
        own = own[own["aux"] <= right]
        if own.empty:
            continue
        seen.add(method)
        aux, main = [own["aux"].iloc[0], *own["aux"], right], [top, *own["main"], own["main"].iloc[-1]]
        if method in coloured:
            _draw_quartiles(axes, surfaces[surfaces["method"] == method], look["color"])
            axes.step(aux, main, where="post", color=look["color"], ls=look["ls"], lw=1.6, zorder=3)
            axes.plot(own["aux"], own["main"], ms=4, mew=0, zorder=4, **{**look, "ls": ""})
            axes.plot([], [], lw=1.6, ms=4, label=style.title(method), **look)
            if own["main"].min() > top:
                beyond = {"marker": "^", "ms": 6, "color": look["color"], "clip_on": False, "zorder": 5}
                axes.plot(max(own["aux"].iloc[-1], left), top, gid=OUTSIDE, **beyond)
        else:
            axes.step(aux, main, where="post", color=style.GREY, lw=0.8, zorder=2)
            ends[style.title(method)] = float(main[-1])
    plain_ticks(axes.xaxis)
    plain_ticks(axes.yaxis)
    name_at_the_end(axes, ends)
    return seen


def _draw_quartiles(axes: Axes, surfaces: pd.DataFrame, color: str) -> None:
    """The band between the surfaces that a quarter and three quarters of the seeds attain, if given."""
    if set(surfaces["percentile"]) == {50}:
        return
    (_, right), (_, top) = axes.get_xlim(), axes.get_ylim()
    sides = [surfaces[surfaces["percentile"] == share].sort_values("aux") for share in (25, 75)]
    places = np.unique(np.concatenate([*(side["aux"] for side in sides), [right]]))
    places = places[places <= right]
    low, high = (
        np.array([top, *side["main"]])[np.searchsorted(side["aux"], places, side="right")] for side in sides
    )
    axes.fill_between(places, low, high, step="post", color=color, alpha=0.16, lw=0, zorder=1)


def frame_of(
    axes: Axes, analysis: TrainingAnalysis, surfaces: pd.DataFrame, protocol: str, split: str
) -> None:
    """Frame the surfaces of one protocol and split, and say so where no front enters the box."""
    experiment = analysis.compared
    box = experiment.box.of(split) if experiment.box else None
    if not frame(axes, surfaces, experiment.labels, box):
        say_inside(axes, NO_FRONT if (protocol, split) in analysis.outside else NO_MEDIAN)


def frame(axes: Axes, surfaces: pd.DataFrame, labels: Labels, box: Bounds | None) -> bool:
    """Show the box from the best main loss in it; axes as labels say.

    Without a box all there is, and where no front enters it, that and the upper bounds of the box.

    Returns:
        whether the median of a front enters the box, if there is one.
    """
    medians = surfaces[surfaces["percentile"] == 50]
    shown = surfaces if medians.empty else medians
    aux, main = ((shown[loss].min(), shown[loss].max()) for loss in ("aux", "main"))
    entered = True
    if box:
        inside = medians[(medians["aux"] <= box.aux[1]) & (medians["main"] < box.main[1])]
        entered = len(inside) > 0
        if entered:
            aux, main = box.aux, (inside["main"].clip(lower=box.main[0]).min(), box.main[1])
        else:
            aux = min(aux[0], box.aux[0]), max(aux[1], box.aux[1])
            main = min(main[0], box.main[1]), max(main[1], box.main[1])
        corner, sides = (box.aux[0], box.main[0]), (box.aux[1] - box.aux[0], box.main[1] - box.main[0])
        axes.add_patch(Rectangle(corner, *sides, fill=False, ec="0.6", lw=0.8, ls=":", zorder=1))
    if labels.log_aux and aux[0] > 0:
        axes.set_xscale("log")
    if labels.log_main and main[0] > 0:
        axes.set_yscale("log")
    axes.set_xlim(_around(*aux, axes.get_xscale() == "log"))
    axes.set_ylim(_around(*main, axes.get_yscale() == "log"))
    return entered


def _around(low: float, high: float, log: bool) -> tuple[float, float]:
    if log:
        margin = (high / low) ** _MARGIN if high > low else 1.1
        return low / margin, high * margin
    margin = _MARGIN * (high - low) or 0.1 * abs(low) or 1.0
    return low - margin, high + margin
