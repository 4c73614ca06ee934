"""Figures, each as PNG and PDF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from torch import Tensor

from scalpel_bench.benchmarks.analysis import diagnostics, mixed_loss
from scalpel_bench.benchmarks.analysis.tables import Tables
from scalpel_bench.benchmarks.experiments.schema import (
    AnyExperiment,
    Experiment,
    MixedLossExperiment,
    NoiseExperiment,
    RatesExperiment,
)
from scalpel_bench.benchmarks.experiments.settings import TrainingRun
from scalpel_bench.benchmarks.figures import convergence_rates, noise, style, trajectories
from scalpel_bench.benchmarks.records.folder import Record

_SETTINGS: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "savefig.dpi": 160,
    "pdf.fonttype": 42,
}

SIMULATIONS = {"noise": noise.draw, "rates": convergence_rates.draw}
"""What draws the rows of a simulation, by kind."""


def draw(folder: Path, tables: Tables, records: list[Record], experiment: Experiment) -> list[Path]:
    """The figures of an experiment: fronts under each protocol, what explains them, what the TOML asks."""
    drawn = []
    with mpl.rc_context(_SETTINGS):
        if experiment.figure == "trajectories":
            figure = trajectories.draw(tables.summary, records, experiment)
            figure.suptitle(_caption(experiment), fontsize=8)
            return _save(figure, folder / "trajectories")
        for protocol, fronts in tables.fronts.groupby("protocol", sort=False):
            name = "fronts" if protocol == "fixed" else f"fronts_{protocol}"
            drawn += _save(
                _draw_fronts(str(protocol), fronts, tables.summary, records, experiment), folder / name
            )
        if (tables.diagnostics["lam"] > 0).any():
            figure = diagnostics.draw(tables.diagnostics, experiment)
            figure.suptitle(f"{_caption(experiment)}, second half of training", fontsize=8)
            drawn += _save(figure, folder / "diagnostics")
        if experiment.figure == "paths":
            drawn += _save(_draw_paths(tables.summary, records, experiment), folder / "paths")
    return drawn


def draw_simulation(folder: Path, frame: pd.DataFrame, experiment: NoiseExperiment | RatesExperiment) -> None:
    """The figure of a simulation."""
    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=(5.2, 3.2), layout="constrained")
        axes = figure.subplots()
        SIMULATIONS[experiment.kind](axes, frame)
        axes.set_title(_caption(experiment), fontsize=8)
        axes.legend(fontsize=7)
        _save(figure, folder / experiment.kind)


def draw_mixed_loss(folder: Path, frame: pd.DataFrame, experiment: MixedLossExperiment) -> None:
    """The figure of an experiment that is computed from another's runs."""
    with mpl.rc_context(_SETTINGS):
        figure = mixed_loss.draw(frame)
        figure.suptitle(_caption(experiment), fontsize=8)
        _save(figure, folder / experiment.kind)


def draw_samples(folder: Path, samples: list[tuple[Tensor, str]], title: str) -> list[Path]:
    """Training examples of a task, eight in a row."""
    rows = -(-len(samples) // 8)
    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=(8.0, 1.25 * rows + 0.3), layout="constrained")
        for axes, (pixels, caption) in zip(figure.subplots(rows, 8).flat, samples, strict=True):
            axes.imshow(pixels.numpy())
            axes.set_axis_off()
            axes.set_title(caption, fontsize=7)
        figure.suptitle(title, fontsize=8)
        return _save(figure, folder / "samples")


def _draw_fronts(
    protocol: str, fronts: pd.DataFrame, summary: pd.DataFrame, records: list[Record], experiment: Experiment
) -> Figure:
    splits = [split for split in ("train", "test") if split in set(fronts["split"])]
    figure = Figure(figsize=(4.6 * len(splits) + 1.2, 3.9), layout="constrained")
    panels = figure.subplots(1, len(splits), squeeze=False)[0]
    by_id = {record.id: record for record in records}
    used = summary[(summary["status"] == "completed")]
    if protocol != "per-method":
        used = used[used["lr"].isin(fronts["lr"].unique())]
    if 0.0 not in experiment.lam:
        used = used[used["lam"] > 0]
    for axes, split in zip(panels, splits, strict=True):
        for method in style.order(list(used["method"].unique())):
            look = style.look(method)
            runs = used[used["method"] == method]
            for run in runs[runs["seed"] == runs["seed"].min()].itertuples():
                path = pd.DataFrame([row[split] for row in by_id[str(run.id)].trajectory])
                axes.plot(path["aux"], path["main"], color=look["color"], lw=0.5, alpha=0.35, zorder=1)
            axes.plot(runs[f"{split}_aux"], runs[f"{split}_main"], ls="", ms=4, mew=0, alpha=0.8, **look)
            own = fronts[(fronts["method"] == method) & (fronts["split"] == split)]
            own = own[own["main"] <= 2 * experiment.region.main]
            for _, points in own.groupby("seed"):
                axes.plot(points["aux"], points["main"], color=look["color"], lw=1.1, alpha=0.8)
            axes.plot([], [], ms=5, lw=1.1, label=style.title(method), **look)
        axes.set(xlabel=experiment.labels.aux, title=f"{split} ({style.seeds(used)})")
        _frame(axes, used, split, experiment)
        _ticks(axes.xaxis)
        _ticks(axes.yaxis)
    panels[0].set_ylabel(experiment.labels.main)
    figure.legend(*panels[0].get_legend_handles_labels(), fontsize=7, loc="outside right upper")
    figure.suptitle(f"{_caption(experiment)}, learning rate {protocol}", fontsize=8)
    return figure


def _frame(axes: Axes, runs: pd.DataFrame, split: str, experiment: Experiment) -> None:
    """Show the region of interest and its surroundings, and say how many end points lie outside."""
    main, aux, cap = runs[f"{split}_main"], runs[f"{split}_aux"], experiment.region.main
    near = (main <= 2 * cap) & (main > 0)
    if experiment.labels.log_main:
        axes.set_yscale("log")
    if experiment.labels.log_aux:
        axes.set_xscale("log")
    axes.axhline(cap, color="0.6", lw=0.8, ls=":")
    if not near.any():
        return
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


def _ticks(axis: Axis) -> None:
    """Plain numbers, and enough of them on a logarithmic axis, however short."""
    if axis.get_scale() == "log":
        low, high = axis.get_view_interval()
        marks = (1, 2, 5) if high < 1000 * low else (1,)
        axis.set_major_locator(MaxNLocator(5) if high < 10 * low else LogLocator(subs=marks))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())


def _draw_paths(summary: pd.DataFrame, records: list[Record], experiment: Experiment) -> Figure:
    """Section 3.3: paths in the plane of the two parameters, and the distance to the bilevel solution."""
    figure = Figure(figsize=(9.2, 3.9), layout="constrained")
    plane, distance = figure.subplots(1, 2)
    lam = min(experiment.lam)
    for method in style.order(list(summary["method"].unique())):
        look = style.look(method)
        for record in records:
            if isinstance(record.run, TrainingRun) and (record.run.label, record.run.lam) == (method, lam):
                path = pd.DataFrame([row["train"] for row in record.trajectory])
                plane.plot(path["a"], path["b"], ms=3, lw=1, markevery=5, label=style.title(method), **look)
                break
        runs = summary[summary["method"] == method]
        distance.plot(runs["lam"], runs["train_distance"].clip(lower=1e-9), ms=5, lw=1, **look)
    grid = np.geomspace(min(experiment.lam), max(experiment.lam), 100)
    distance.plot(grid, grid / (1 + grid), color="0.6", lw=3, alpha=0.5, zorder=0, label="λ / (1 + λ)")
    plane.plot([0], [0], marker="+", ms=12, color="0.3", ls="")
    plane.set(xlabel="a", ylabel="b", title=f"paths at λ = {lam:g}; + is the bilevel solution")
    plane.legend(fontsize=7)
    distance.set(
        xscale="log", yscale="log", xlabel="λ", ylabel="distance to the bilevel solution", title="end points"
    )
    distance.legend(fontsize=7)
    figure.suptitle(_caption(experiment), fontsize=8)
    return figure


def _caption(experiment: AnyExperiment) -> str:
    return f"{experiment.title} ({experiment.paper}), scale {experiment.scale}"


def _save(figure: Figure, path: Path) -> list[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [path.with_suffix(suffix) for suffix in (".png", ".pdf")]
    for file in files:
        figure.savefig(file, metadata={"CreationDate": None} if file.suffix == ".pdf" else None)
    return files
