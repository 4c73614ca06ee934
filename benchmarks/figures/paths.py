"""Section 3.3: paths in the plane of the two parameters, and the distance to the bilevel solution."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..analysis.analyses import TrainingAnalysis
from . import style
from .panels import Drawn, caption, figures_of, nearest_rate, side_by_side


@figures_of(TrainingAnalysis)
def draw(analysis: TrainingAnalysis) -> Drawn:
    """Paths at the least λ above 0, and end points over λ, at the own rate; none where λ is a bound."""
    experiment, summary = analysis.compared, analysis.summary
    positive = [lam for lam in experiment.lam if lam > 0]
    if experiment.figure != "paths" or not positive:
        return
    looks = style.looks(summary["method"])
    figure, (plane, distance) = side_by_side(2, width=4.0)
    for method in style.order([m for m in summary["method"].unique() if not experiment.bounds(m)]):
        look = looks[method]
        runs = summary[summary["method"] == method]
        runs = runs[(runs["lam"] > 0) & (runs["lr"] == nearest_rate(runs, experiment))]
        for identity in runs.sort_values(["lam", "seed"])["id"].head(1):
            path = pd.DataFrame([row["train"] for row in analysis.sweep.by_id[identity].trajectory])
            if {"a", "b"} <= set(path):
                plane.plot(path["a"], path["b"], ms=3, lw=1, markevery=5, label=style.title(method), **look)
        if "train_distance" in runs:
            distance.plot(runs["lam"], runs["train_distance"].clip(lower=1e-9), ms=5, lw=1, **look)
    grid = np.geomspace(min(positive), max(positive), 100)
    distance.plot(grid, grid / (1 + grid), color="0.6", lw=3, alpha=0.5, zorder=0, label="λ / (1 + λ)")
    plane.plot([0], [0], marker="+", ms=12, color="0.3", ls="")
    plane.set(xlabel="a", ylabel="b", title="paths at the least λ of each; + is the bilevel solution")
    plane.legend(fontsize=7)
    distance.set(
        xscale="log", yscale="log", xlabel="λ", ylabel="distance to the bilevel solution", title="end points"
    )
    distance.legend(fontsize=7)
    caption(figure, experiment)
    yield "paths", figure
