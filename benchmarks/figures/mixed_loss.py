"""Figure 6: the least mixed loss that a method reaches over λ, against the weight t."""

from __future__ import annotations

from ..analysis.analyses import MixedLossAnalysis
from . import style
from .panels import (
    SHOWN_SPLITS,
    Drawn,
    caption,
    figures_of,
    legend,
    side_by_side,
)


@figures_of(MixedLossAnalysis)
def draw(analysis: MixedLossAnalysis) -> Drawn:
    """Least mixed loss against t, mean over seeds and their range, on train and test."""
    frame = analysis.summary
    splits = [split for split in SHOWN_SPLITS if split in set(frame["split"])]
    looks = style.looks(frame["method"])
    figure, panels = side_by_side(len(splits), height=3.6)
    for axes, split in zip(panels, splits, strict=True):
        rows = frame[frame["split"] == split]
        for method in style.order(list(rows["method"].unique())):
            by_t = rows[rows["method"] == method].groupby("t")["mixed_loss"]
            mean, look = by_t.mean(), looks[method]
            axes.plot(mean.index, mean, lw=1.2, ms=4, markevery=0.2, label=style.title(method), **look)
            axes.fill_between(mean.index, by_t.min(), by_t.max(), color=look["color"], alpha=0.2, lw=0)
        axes.set(xlabel="t", title=f"{split}, {style.seeds(rows)}")
    if splits:
        panels[0].set_ylabel("least (1 − t) main + t auxiliary loss over λ")
        legend(figure, panels[0])
    caption(figure, analysis.experiment)
    yield analysis.experiment.kind, figure
