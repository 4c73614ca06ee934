"""Several losses side by side: each relative to a model trained on it alone, a line per method."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..analysis import multitask
from ..analysis.analyses import TrainingAnalysis
from . import style
from .panels import SHOWN_SPLITS, Drawn, caption, figures_of, legend_below, plain_ticks, side_by_side


@figures_of(TrainingAnalysis)
def draw(analysis: TrainingAnalysis) -> Drawn:
    """Medians over seeds with quartiles, at the λ of each method; under the first learning-rate protocol."""
    experiment = analysis.compared
    chosen = {
        split: multitask.chosen(protocol, experiment, split)
        for split in SHOWN_SPLITS
        for protocol in analysis.protocols[:1]
    }
    found = {split: whole for split, losses in chosen.items() if not (whole := losses.dropna()).empty}
    if not found:
        return
    looks = style.lines(analysis.summary["method"])
    figure, panels = side_by_side(len(found))
    for axes, (split, losses) in zip(panels, found.items(), strict=True):
        by_method = losses.groupby(level="method")
        low, middle, high = (by_method.quantile(share) for share in (0.25, 0.5, 0.75))
        places = np.arange(len(losses.columns))
        for method in style.order(list(middle.index)):
            median = middle.loc[method].to_numpy()
            error = [median - low.loc[method], high.loc[method] - median]
            axes.errorbar(
                places, median, error, ms=5, lw=1, capsize=2, label=style.title(method), **looks[method]
            )
        axes.axhline(1, color="0.6", ls=":", lw=1, zorder=0)
        axes.set(yscale="log", title=f"{split}, {style.seeds(losses.reset_index())}")
        plain_ticks(axes.yaxis)
        axes.set_xticks(places, list(losses.columns), rotation=20 if len(places) < 8 else 90)
        if lacking := _lacking(chosen[split]):
            axes.set_xlabel(lacking)
    panels[0].set_ylabel("loss / loss of the model trained on it alone")
    legend_below(figure, panels)
    caption(figure, experiment)
    yield "parallel", figure


def _lacking(chosen: pd.DataFrame) -> str:
    """How many seeds of which methods are left out, as a loss is not finite; nothing where none is."""
    lost = chosen[chosen.isna().any(axis=1)].groupby(level="method").size()
    of = chosen.groupby(level="method").size().to_dict()
    told = [f"{style.title(str(name))} {count} of {of[name]}" for name, count in lost.items()]
    return f"seeds left out: {', '.join(told)}" if told else ""
