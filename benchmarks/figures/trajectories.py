"""Figure 7: the paths of runs in the plane of the two losses, one colour per value of the axes."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ..analysis.analyses import TrainingAnalysis
from ..experiments.settings import LEARNING_RATE, TrainingRun
from ..records import Record
from . import style
from .panels import (
    SHOWN_SPLITS,
    Drawn,
    caption,
    figures_of,
    legend,
    side_by_side,
)

_LEFT_OUT = 0.5
"""Share of training that the frame may leave out: runs start far away, at the same point, and part late."""


@figures_of(TrainingAnalysis)
def draw(analysis: TrainingAnalysis) -> Drawn:
    """Main against auxiliary loss over training, a line per run that ended; none where all diverged.

    Markers are end points. Methods that the axes vary are coloured from dark to bright in the order of their
    values.
    """
    experiment = analysis.compared
    used = analysis.summary[analysis.summary["status"] == "completed"]
    if experiment.figure != "trajectories" or used.empty:
        return
    splits = [split for split in SHOWN_SPLITS if f"{split}_main" in used]
    figure, panels = side_by_side(len(splits))
    looks = _looks([analysis.sweep.by_id[identity] for identity in used["id"]])
    for axes, split in zip(panels, splits, strict=True):
        _panel(axes, analysis, used, split, looks)
        axes.set(xlabel=experiment.labels.aux, title=f"{split}, {style.seeds(used)}")
    panels[0].set_ylabel(experiment.labels.main)
    legend(figure, panels[0])
    caption(figure, experiment)
    yield "trajectories", figure


def _panel(
    axes: Axes,
    analysis: TrainingAnalysis,
    used: pd.DataFrame,
    split: str,
    looks: dict[str, dict[str, Any]],
) -> None:
    shown = []
    for label, look in looks.items():
        for run in used[used["method"] == label].itertuples():
            rows = analysis.sweep.by_id[str(run.id)].trajectory
            path = pd.DataFrame([row[split] for row in rows])
            axes.plot(path["aux"], path["main"], color=look["color"], lw=0.9, alpha=0.7)
            axes.plot(path["aux"].iloc[-1:], path["main"].iloc[-1:], ls="", ms=5, **look)
            shown.append(path[[row["step"] >= _LEFT_OUT * rows[-1]["step"] for row in rows]])
        axes.plot([], [], ms=5, lw=0.9, label=style.title(label), **look)
    frame = pd.concat(shown)
    for setting, losses in (("ylim", frame["main"]), ("xlim", frame["aux"])):
        margin = 0.03 * (losses.max() - losses.min() or 1.0)
        axes.set(**{setting: (losses.min() - margin, losses.max() + margin)})


def _looks(records: list[Record]) -> dict[str, dict[str, Any]]:
    """Of each label: methods as everywhere first, then those that axes vary, by method and values."""
    runs = [record.run for record in records if isinstance(record.run, TrainingRun)]
    axes = {run.label: [v for axis, v in run.axes.items() if axis != LEARNING_RATE] for run in runs}
    methods = {run.label: run.method_label for run in runs}
    plain = [label for label in style.order(list(axes)) if not axes[label]]
    varied = sorted((label for label in axes if axes[label]), key=lambda label: (methods[label], axes[label]))
    colours = mpl.colormaps["plasma"](np.linspace(0.05, 0.85, max(len(varied), 1)))
    bright = {
        label: {"color": mpl.colors.to_hex(colour), "marker": style.look(methods[label])["marker"]}
        for label, colour in zip(varied, colours, strict=False)
    }
    looks = style.looks(axes)
    return {label: looks[label] for label in plain} | bright
