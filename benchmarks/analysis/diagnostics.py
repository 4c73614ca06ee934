"""What explains a front: how surgery changed the length and the heading of the steps that led to it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from scalpel_bench.benchmarks.experiments.schema import Experiment
from scalpel_bench.benchmarks.figures import style
from scalpel_bench.benchmarks.records.folder import Record

PANELS = {
    "relative_length": "‖d‖ / ‖g_m‖",
    "direction_main_cosine": "cos(d, g_m)",
    "direction_memory_cosine": "cos(d, EMA of g_m)",
    "step_norm": "length of the step in parameters",
}
MOST_TICKS = 7
_LOGARITHMIC = ("relative_length", "step_norm")


def frame(summary: pd.DataFrame, records: list[Record]) -> pd.DataFrame:
    """The diagnostics of every run, averaged over the evaluations of the second half of its training.

    Lengths are averaged as logarithms. A run without diagnostics has no row; a method without an EMA no
    ``direction_memory_cosine``.

    Returns:
        columns ``id``, ``method``, ``lam``, ``lr``, ``seed`` and those of `PANELS`.
    """
    by_id = {record.id: record for record in records}
    rows = []
    for run in summary[summary["status"] == "completed"].itertuples():
        trajectory = by_id[str(run.id)].trajectory
        late = pd.DataFrame(
            [row.get("diagnostics") or {} for row in trajectory if 2 * row["step"] > trajectory[-1]["step"]]
        )
        if "direction_norm" not in late:
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            late["relative_length"] = late["direction_norm"].astype(float) / late["main_norm"].astype(float)
            late = late.astype(float).replace([np.inf, -np.inf, 0.0], np.nan)
            late[[n for n in _LOGARITHMIC if n in late]] = np.log(
                late[[n for n in _LOGARITHMIC if n in late]]
            )
        mean = late.reindex(columns=list(PANELS)).mean()
        mean[list(_LOGARITHMIC)] = np.exp(mean[list(_LOGARITHMIC)])
        rows.append(
            {"id": run.id, "method": run.method, "lam": run.lam, "lr": run.lr, "seed": run.seed, **mean}
        )
    return pd.DataFrame(rows, columns=["id", "method", "lam", "lr", "seed", *PANELS])


def draw(measured: pd.DataFrame, experiment: Experiment) -> Figure:
    """Each diagnostic against λ, mean over seeds, at the experiment's own learning rate."""
    own = measured[(measured["lr"] == experiment.training.lr) & (measured["lam"] > 0)]
    measured = own if len(own) else measured[measured["lam"] > 0]
    shown = [name for name in PANELS if measured[name].notna().any()]
    figure = Figure(figsize=(3.0 * max(len(shown), 1) + 1.2, 3.3), layout="constrained")
    if not shown:
        return figure
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, name in zip(panels, shown, strict=True):
        for method in style.order(list(measured["method"].unique())):
            mean = measured[measured["method"] == method].groupby("lam")[name].mean().dropna()
            if len(mean):
                axes.plot(mean.index, mean, ms=4, lw=0.9, label=style.title(method), **style.look(method))
        axes.set(xscale="log", xlabel="λ", title=PANELS[name])
        axes.xaxis.set_minor_formatter(NullFormatter())
        if len(lam := sorted(measured["lam"].unique())) <= MOST_TICKS:
            axes.set_xticks(lam, [f"{value:g}" for value in lam])
        if name in _LOGARITHMIC:
            axes.set_yscale("log")
    figure.legend(*panels[0].get_legend_handles_labels(), fontsize=6, loc="outside right upper")
    return figure
