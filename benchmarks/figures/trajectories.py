"""Figure 7: the paths of runs in the plane of the two losses, one colour per value of the axes."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scalpel_bench.benchmarks.experiments.schema import Experiment
from scalpel_bench.benchmarks.figures import style
from scalpel_bench.benchmarks.records.folder import Record

_LEFT_OUT = 0.5
"""Share of training that the frame may leave out: runs start far away, at the same point, and part late."""


def draw(summary: pd.DataFrame, records: list[Record], experiment: Experiment) -> Figure:
    """Main against auxiliary loss over training, a line per run that ended; markers are end points.

    Methods that the axes vary are coloured from dark to bright in the order of their values.
    """
    used = summary[summary["status"] == "completed"]
    by_id = {record.id: record for record in records}
    splits = [split for split in ("train", "test") if f"{split}_main" in used]
    figure = Figure(figsize=(4.6 * max(len(splits), 1) + 1.2, 3.9), layout="constrained")
    if not splits:
        return figure
    looks = _looks(list(used["method"].unique()))
    panels = figure.subplots(1, len(splits), squeeze=False)[0]
    for axes, split in zip(panels, splits, strict=True):
        shown = []
        for label, look in looks.items():
            for run in used[used["method"] == label].itertuples():
                rows = by_id[str(run.id)].trajectory
                path = pd.DataFrame([row[split] for row in rows])
                axes.plot(path["aux"], path["main"], color=look["color"], lw=0.9, alpha=0.7)
                axes.plot(path["aux"].iloc[-1:], path["main"].iloc[-1:], ls="", ms=5, **look)
                shown.append(path[[row["step"] >= _LEFT_OUT * rows[-1]["step"] for row in rows]])
            axes.plot([], [], ms=5, lw=0.9, label=label if "(" in label else style.title(label), **look)
        frame = pd.concat(shown)
        for setting, losses in (("ylim", frame["main"]), ("xlim", frame["aux"])):
            margin = 0.03 * (losses.max() - losses.min() or 1.0)
            axes.set(**{setting: (losses.min() - margin, losses.max() + margin)})
        axes.set(xlabel=experiment.labels.aux, title=f"{split}, {style.seeds(used)}")
    panels[0].set_ylabel(experiment.labels.main)
    figure.legend(*panels[0].get_legend_handles_labels(), fontsize=7, loc="outside right upper")
    return figure


def overview(summary: pd.DataFrame) -> pd.DataFrame:
    """Losses at the end of training, mean over seeds, a row per method."""
    losses = [f"{split}_{objective}" for split in ("train", "test") for objective in ("main", "aux")]
    return summary.groupby("method")[[column for column in losses if column in summary]].mean().reset_index()


def _looks(labels: list[str]) -> dict[str, dict[str, str]]:
    plain = [label for label in style.order(labels) if "(" not in label]
    varied = sorted((label for label in labels if "(" in label), key=_values)
    colours = mpl.colormaps["plasma"](np.linspace(0.05, 0.85, max(len(varied), 1)))
    bright = {
        label: {"color": mpl.colors.to_hex(colour), "marker": style.look(label.partition(" (")[0])["marker"]}
        for label, colour in zip(varied, colours, strict=False)
    }
    return {label: style.look(label) for label in plain} | bright


def _values(label: str) -> tuple[str, list[float]]:
    """``bloop (rho=0.1)`` in the order of methods, then of values."""
    name, _, settings = label.rstrip(")").partition(" (")
    return name, [float(setting.partition("=")[2]) for setting in settings.split(", ")]
