"""Figure 2: distances of the mean direction to Bloop's and to the sum's, against the noise."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from . import style


def draw(axes: Axes, frame: pd.DataFrame) -> None:
    """Mean and range over seeds.

    Args:
        frame: the rows of `simulations.noise`, with a column ``seed``.
    """
    looks = {1.0: (style.look("bloop_no_ema"), "no EMA"), 0.01: (style.look("bloop"), "EMA, ρ = 0.01")}
    others = style.looks(f"rho {rho}" for rho in frame["rho"].unique())
    for rho, rows in frame.groupby("rho", sort=False):
        look, name = looks.get(float(str(rho)), (others[f"rho {rho}"], f"EMA, ρ = {rho}"))
        for column, line, end in (
            ("to_bloop", "-", "Bloop's direction"),
            ("to_mixed", "--", "the noise limit"),
        ):
            by_sigma = rows.groupby("sigma")[column]
            mean, low, high = by_sigma.mean(), by_sigma.min(), by_sigma.max()
            axes.plot(mean.index, mean, line, color=look["color"], label=f"{name}: to {end}")
            axes.fill_between(mean.index, low, high, color=look["color"], alpha=0.2, lw=0)
    axes.set(xscale="log", xlabel="noise σ of the batch gradient", ylabel="relative distance of the mean")
