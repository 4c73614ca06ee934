"""Theorem 2: the EMA's error and the main gradient over the step size, with the theory's slopes."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ..simulations import theorem2 as simulated
from . import style

_LOOKS = {"ema_error": "bloop", "main_gradient": "sum"}


def draw(axes: Axes, frame: pd.DataFrame) -> None:
    """Means over seeds, and lines of the theory's slopes through their geometric means.

    Args:
        frame: the rows of `simulations.theorem2`, with a column ``seed``.
    """
    for column, (meaning, theory) in simulated.QUANTITIES.items():
        look, mean = style.look(_LOOKS[column]), frame.groupby("eta")[column].mean()
        label = f"{meaning}, slope {simulated.exponent(frame, column):.2f}"
        axes.plot(mean.index, mean, color=look["color"], marker=look["marker"], label=label)
        eta = mean.index.to_numpy(float)
        through = np.exp(np.log(mean).mean() + theory * (np.log(eta) - np.log(eta).mean()))
        axes.plot(eta, through, "--", color=look["color"], lw=0.8, label=f"slope {theory:.2f}")
    axes.set(xscale="log", yscale="log", xlabel="step size η", ylabel="mean over replicas")
