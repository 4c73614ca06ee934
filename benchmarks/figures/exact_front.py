"""Where runs come to rest beside an exact front: their distance to it, their place, and the best ρ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from ..analysis.analyses import TrainingAnalysis
from ..analysis.at_rest import rest_points
from ..records import Record
from . import style
from .panels import Drawn, caption, figures_of, legend, nearest_rate, side_by_side

BATCH, RHO = "task.batch_size", "method.rho"
_LEAST = 1e-5
"""Nats: the least distance that is drawn, as the exact front is known no better."""


@figures_of(TrainingAnalysis)
def draw(analysis: TrainingAnalysis) -> Drawn:
    """Distances over batch size and places at one rate; main loss over ρ at every rate; all at the least λ.

    The rate is the experiment's own, or of those that were run the nearest to it. None where the task does
    not know its exact front, which the analysis says.
    """
    experiment = analysis.compared
    if experiment.figure != "exact" or analysis.no_exact_front:
        return
    records = [r for r in analysis.records if r.status == "completed"]
    records = [r for r in records if not experiment.bounds(r.run.label)]
    points = rest_points(records, ("main", "aux", "excess", "regret"))
    points = points[points["lam"] > 0]
    if points.empty:
        return
    points = points[points["lam"] == points["lam"].min()]
    lr = nearest_rate(points, experiment)
    own = points[points["lr"] == lr]
    figure, (distance, plane, best) = side_by_side(3, width=4.2)
    for name, runs, look in _lines(own):
        by_batch = runs.groupby(BATCH)[["main", "aux", "regret"]].mean()
        spread = runs.groupby(BATCH)["regret"].agg(["min", "max"]).clip(lower=_LEAST)
        distance.plot(by_batch.index, by_batch["regret"].clip(lower=_LEAST), ms=5, lw=1, label=name, **look)
        distance.fill_between(
            spread.index, spread["min"], spread["max"], color=look["color"], alpha=0.15, lw=0
        )
        plane.plot(by_batch["aux"], by_batch["main"], ms=5, lw=0.7, **look)
    _exact(plane, records, own)
    _over_rho(best, points[points[BATCH] == points[BATCH].min()])
    rate = f"lr {lr:g}, λ {own['lam'].min():g}, {style.seeds(own)}"
    distance.set(xscale="log", yscale="log", xlabel="batch size (the last: all images)")
    distance.set(ylabel=f"distance to the exact front (nats; at least {_LEAST:g})", title=f"at rest: {rate}")
    distance.set_xticks(sorted(own[BATCH].unique()), [f"{b:g}" for b in sorted(own[BATCH].unique())])
    distance.xaxis.set_minor_locator(NullLocator())
    plane.set(
        xlabel=experiment.labels.aux, ylabel=experiment.labels.main, title="places; a line joins batch sizes"
    )
    legend(figure, distance)
    caption(figure, experiment)
    yield "exact", figure


def _lines(points: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, Mapping[str, Any]]]:
    """Legend, runs and look of each method, and of each ρ of those that have one, from dark to bright."""
    looks = style.looks(points["method"])
    for method in style.order(list(looks)):
        runs = points[points["method"] == method]
        look, values = looks[method], sorted(runs[RHO].dropna().unique()) if RHO in runs else []
        if not values:
            yield style.title(method), runs, look
        for value, color in zip(
            values, mpl.colormaps["plasma"](np.linspace(0.05, 0.9, len(values))), strict=True
        ):
            yield (
                f"{style.title(method)}, ρ = {value:.3g}",
                runs[runs[RHO] == value],
                {**look, "color": color},
            )


def _exact(axes: Axes, records: list[Record], points: pd.DataFrame) -> None:
    """The exact front where the points lie: every evaluation tells its place at one auxiliary loss."""
    rows = [row["train"] for record in records for row in record.trajectory]
    front = np.array(sorted((row["aux"], row["main"] - row["regret"]) for row in rows))
    margin = 0.1 * (points["aux"].max() - points["aux"].min())
    shown = (front[:, 0] > points["aux"].min() - margin) & (front[:, 0] < points["aux"].max() + margin)
    axes.plot(*front[shown].T, color="0.6", lw=3, alpha=0.6, zorder=0, label="exact front")
    axes.legend(fontsize=7)


def _over_rho(axes: Axes, points: pd.DataFrame) -> None:
    """Main loss above its minimum over ρ, a line per learning rate."""
    varied = points.dropna(subset=[RHO]) if RHO in points else points.iloc[:0]
    rates = sorted(varied["lr"].unique())
    for rate, color in zip(rates, mpl.colormaps["viridis"](np.linspace(0.1, 0.85, len(rates))), strict=True):
        by_rho = varied[varied["lr"] == rate].groupby(RHO)["excess"]
        mean, low, high = by_rho.mean(), by_rho.min(), by_rho.max()
        axes.plot(mean.index, mean, color=color, marker="o", ms=4, lw=1, label=f"lr {rate:g}")
        axes.fill_between(mean.index, low, high, color=color, alpha=0.15, lw=0)
    axes.set(xscale="log", yscale="log", xlabel="ρ", ylabel="main loss above its minimum (nats)")
    axes.set(title=f"batch {points[BATCH].min():g}, at rest")
    axes.legend(fontsize=7)
