"""Figures of the simulations, which need no training."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..analysis.analyses import SimulationAnalysis
from . import noise, theorem2
from .panels import Drawn, caption_of, figures_of

_DRAW: dict[str, Callable[[Axes, pd.DataFrame], None]] = {
    "noise": noise.draw,
    "rates": theorem2.draw,
}


@figures_of(SimulationAnalysis)
def draw(analysis: SimulationAnalysis) -> Drawn:
    """One panel; none where all runs failed."""
    if analysis.summary.empty:
        return
    kind = analysis.experiment.kind
    figure = Figure(figsize=(5.2, 3.2), layout="constrained")
    axes = figure.subplots()
    _DRAW[kind](axes, analysis.summary)
    axes.set_title(caption_of(analysis.experiment), fontsize=8)
    axes.legend(fontsize=7)
    yield kind, figure
