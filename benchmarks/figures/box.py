"""The measure in one picture: two fronts inside a box, the step functions, the difference that counts."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..analysis.fronts import Points
from ..analysis.indicators import attained, front_ratio
from ..experiments.box import Bounds
from . import style

BOX = Bounds(aux=(1.0, 6.0), main=(0.8, 2.4))
SUM: Points = np.array([(2.05, 1.5), (1.6, 2.4), (1.35, 3.6), (1.2, 5.2), (1.15, 6.7)])
BLOOP: Points = np.array([(2.6, 1.35), (1.5, 2.1), (1.15, 3.2), (1.0, 4.6), (0.95, 6.4)])


def draw(file: Path) -> None:
    """Draw it as SVG, the same bytes each time."""
    with mpl.rc_context({"font.size": 9, "svg.hashsalt": "scalpel", "axes.spines.top": False}):
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.subplots()
        axes.spines["right"].set_visible(False)
        _box(axes)
        _difference(axes)
        for label, points in (("sum", SUM), ("bloop", BLOOP)):
            _front(axes, label, points)
        axes.set(
            xlim=(0.6, 7.0),
            ylim=(0.72, 2.8),
            yscale="log",
            xlabel="auxiliary loss a",
            ylabel="main loss (log)",
        )
        axes.set_yticks([0.8, 1.0, 1.5, 2.0, 2.4], ["0.8", "1.0", "1.5", "2.0", "2.4"])
        axes.minorticks_off()
        ratio = float(front_ratio(BLOOP, SUM, BOX))
        axes.set_title(f"front ratio = exp(mean over a of log A(Bloop) − log A(sum)) = {ratio:.3f}")
        figure.legend(loc="outside lower center", frameon=False, ncols=2)
        figure.savefig(file, metadata={"Date": None})


def _box(axes: Axes) -> None:
    (left, right), (low, high) = BOX.aux, BOX.main
    axes.add_patch(Rectangle((left, low), right - left, high - low, facecolor="0.96", edgecolor="0.5", lw=1))
    axes.annotate("the cap: what is not reached", (left + 0.05, high), (0, 4), textcoords="offset points")
    axes.annotate("the box", (right - 0.05, low), (0, 5), textcoords="offset points", ha="right")


def _difference(axes: Axes) -> None:
    (ours_at, ours), (theirs_at, theirs) = attained(BLOOP, BOX), attained(SUM, BOX)
    edges = np.union1d(ours_at, theirs_at)
    ours, theirs = (
        steps[np.searchsorted(at[1:-1], edges[:-1], side="right")]
        for at, steps in ((ours_at, ours), (theirs_at, theirs))
    )
    for label, lower, higher in (("bloop", ours, theirs), ("sum", theirs, ours)):
        lower = np.minimum(lower, higher)
        axes.stairs(higher, edges, baseline=lower, fill=True, color=style.look(label)["color"], alpha=0.2)


def _front(axes: Axes, label: str, points: Points) -> None:
    edges, main = attained(points, BOX)
    look = style.look(label)
    axes.stairs(
        main, edges, baseline=None, color=look["color"], lw=1.5, label=f"A(a) of {style.title(label)}"
    )
    axes.plot(points[:, 1], points[:, 0], look["marker"], color=look["color"], ms=6)
