"""What explains a front: lengths and cosines of late steps, against λ."""

from __future__ import annotations

from matplotlib.ticker import NullFormatter

from ..analysis.analyses import TrainingAnalysis
from ..analysis.diagnostics import LOGARITHMIC, PANELS
from . import style
from .panels import Drawn, caption, figures_of, legend, nearest_rate, side_by_side

WIDE = 3
"""How many times the least the largest value of a logarithmic axis must be."""
MOST_TICKS = 7


@figures_of(TrainingAnalysis)
def draw(analysis: TrainingAnalysis) -> Drawn:
    """Each diagnostic against λ, mean over seeds; none where λ is a bound.

    At the experiment's own learning rate, or of those that were run the nearest to it.
    """
    experiment, measured = analysis.compared, analysis.diagnostics
    measured = measured[(measured["lam"] > 0) & ~measured["method"].map(experiment.bounds).astype(bool)]
    if not experiment.compares_fronts or measured.empty:
        return
    lr = nearest_rate(measured, experiment)
    measured = measured[measured["lr"] == lr]
    looks = style.looks(analysis.summary["method"])
    shown = [name for name in PANELS if measured[name].notna().any()]
    figure, panels = side_by_side(len(shown), width=3.0, height=3.3)
    for axes, name in zip(panels, shown, strict=True):
        for method in style.order(list(measured["method"].unique())):
            mean = measured[measured["method"] == method].groupby("lam")[name].mean().dropna()
            if len(mean):
                axes.plot(mean.index, mean, ms=4, lw=0.9, label=style.title(method), **looks[method])
        axes.set(xscale="log", xlabel="λ", title=PANELS[name])
        axes.xaxis.set_minor_formatter(NullFormatter())
        if len(lam := sorted(measured["lam"].unique())) <= MOST_TICKS:
            axes.set_xticks(lam, [f"{value:g}" for value in lam])
        if name in LOGARITHMIC and measured[name].max() > WIDE * measured[name].min():
            axes.set_yscale("log")
    if shown:
        legend(figure, panels[0], fontsize=6)
    caption(figure, experiment, f", second half of training, lr {lr:g}")
    yield "diagnostics", figure
