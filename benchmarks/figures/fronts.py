"""Fronts under each learning-rate protocol: end points, the fronts of every seed, trajectories of one."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes

from ..analysis.analyses import TrainingAnalysis
from ..experiments.schema import Experiment
from . import style
from .panels import (
    SHOWN_SPLITS,
    Drawn,
    caption,
    figures_of,
    legend,
    plain_ticks,
    side_by_side,
)


@figures_of(TrainingAnalysis)
def draw(analysis: TrainingAnalysis) -> Drawn:
    """A figure per protocol, a panel per split."""
    experiment = analysis.compared
    if not experiment.compares_fronts:
        return
    for protocol, fronts in analysis.fronts.groupby("protocol", sort=False):
        used = _used(analysis, str(protocol), fronts)
        splits = [split for split in SHOWN_SPLITS if split in set(fronts["split"])]
        figure, panels = side_by_side(len(splits))
        for axes, split in zip(panels, splits, strict=True):
            _panel(axes, analysis, fronts[fronts["split"] == split], used, split)
        if splits:
            panels[0].set_ylabel(experiment.labels.main)
            legend(figure, panels[0])
        caption(figure, experiment, f", learning rate {protocol}")
        yield "fronts" if protocol == "fixed" else f"fronts_{protocol}", figure


def _used(analysis: TrainingAnalysis, protocol: str, fronts: pd.DataFrame) -> pd.DataFrame:
    """The runs whose end points are shown: under a single rate, those at that rate."""
    used = analysis.summary[analysis.summary["status"] == "completed"]
    if protocol != "per-method":
        used = used[used["lr"].isin(fronts["lr"].unique())]
    return used if 0.0 in analysis.compared.lam else used[used["lam"] > 0]


def _panel(
    axes: Axes, analysis: TrainingAnalysis, fronts: pd.DataFrame, used: pd.DataFrame, split: str
) -> None:
    experiment = analysis.compared
    for method in style.order(list(used["method"].unique())):
        look = style.look(method)
        runs = used[used["method"] == method]
        for run in runs[runs["seed"] == runs["seed"].min()].itertuples():
            path = pd.DataFrame([row[split] for row in analysis.sweep.by_id[str(run.id)].trajectory])
            axes.plot(path["aux"], path["main"], color=look["color"], lw=0.5, alpha=0.35, zorder=1)
        axes.plot(runs[f"{split}_aux"], runs[f"{split}_main"], ls="", ms=4, mew=0, alpha=0.8, **look)
        own = fronts[(fronts["method"] == method) & (fronts["main"] <= 2 * _cap(experiment, split))]
        for _, points in own.groupby("seed"):
            axes.plot(points["aux"], points["main"], color=look["color"], lw=1.1, alpha=0.8)
        axes.plot([], [], ms=5, lw=1.1, label=style.title(method), **look)
    axes.set(xlabel=experiment.labels.aux, title=f"{split} ({style.seeds(used)})")
    _frame(axes, used, split, experiment)
    plain_ticks(axes.xaxis)
    plain_ticks(axes.yaxis)


def _frame(axes: Axes, runs: pd.DataFrame, split: str, experiment: Experiment) -> None:
    """Show the box's main losses and their surroundings, and say how many end points lie outside."""
    main, aux, cap = runs[f"{split}_main"], runs[f"{split}_aux"], _cap(experiment, split)
    near = (main <= 2 * cap) & (main > 0)
    if experiment.labels.log_main:
        axes.set_yscale("log")
    if experiment.labels.log_aux:
        axes.set_xscale("log")
    if experiment.box:
        axes.axhline(cap, color="0.6", lw=0.8, ls=":")
    if not near.any():
        return
    cap = min(cap, main[near].max()) if math.isinf(cap) else cap
    if experiment.labels.log_main:
        low, high = main[near].min(), max(main[near].max(), cap)
        margin = (high / low) ** 0.06
        axes.set_ylim(low / margin, high * margin)
    else:
        axes.set_ylim(main[near].min() * 0.98, min(main[near].max() * 1.02, 2 * cap))
    within = aux[main <= cap] if (main <= cap).any() else aux[near]
    low, high = within.min(), within.max()
    if experiment.labels.log_aux and low > 0:
        axes.set_xlim(low / 1.2, high * 1.2)
    elif high > low:
        axes.set_xlim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    shown = aux.between(*axes.get_xlim()) & main.between(*axes.get_ylim())
    if outside := int((~shown).sum()):
        text = f"{outside} end points outside"
        axes.text(0.99, 0.99, text, transform=axes.transAxes, ha="right", va="top", fontsize=6.5, color="0.4")


def _cap(experiment: Experiment, split: str) -> float:
    """The upper bound of the box's main losses, infinity without a box."""
    return experiment.box.of(split).main[1] if experiment.box else math.inf
