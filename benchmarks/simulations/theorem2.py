"""Theorem 2: how the EMA's error and the main gradient fall with the step size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch

from ... import methods
from ..experiments.settings import RatesRun
from .registry import SimulatedFigure, register

RHO_FACTOR = 0.5
QUANTITIES = {
    "ema_error": ("E‖m − ∇L_main‖²", 2 / 3),
    "main_gradient": ("E‖∇L_main‖²", 1 / 3),
}
"""What is measured, with the theory's exponent of η, by column."""


def simulate(run: RatesRun) -> list[dict[str, Any]]:
    """Bloop by SGD on a stochastic quadratic, ρ = ½ η^(2/3), for each step size η.

    Main: ½ Σ h_i θ_i², h from 0.5 to 2, gradients with noise N(0, I); aux: ½‖θ − t‖², t ~ 2 N(0, I); λ = 1.
    Means over replicas and over the second half of ``horizon`` / η steps.

    Returns:
        rows with ``eta``, ``rho``, ``ema_error`` = E‖m − ∇L_main‖², expected to fall like η^(2/3), and
        ``main_gradient`` = E‖∇L_main‖², which the theorem bounds by a multiple of η^(1/3).

    Source: Hsieh et al. 2024, arXiv 2402.02998, Theorem 2.
    """
    generator = torch.Generator().manual_seed(run.seed)
    hessian = torch.linspace(0.5, 2, run.dimension, dtype=torch.float64)
    target = 2 * torch.randn(run.dimension, generator=generator, dtype=torch.float64)
    rows = []
    for eta in run.etas:
        rho = RHO_FACTOR * eta ** (2 / 3)
        method = methods.create("bloop", lam=1.0, rho=rho)
        theta = torch.zeros(run.replicas, run.dimension, dtype=torch.float64)
        state, steps = None, round(run.horizon / eta)
        error = gradient = torch.zeros((), dtype=torch.float64)
        for step in range(steps):
            main = hessian * theta
            noise = torch.randn(theta.shape, generator=generator, dtype=torch.float64)
            gradients = torch.stack([main + noise, theta - target], 1)
            if state is None:
                state = method.init(gradients)
            if step >= steps // 2:
                error = error + (state["memory"][:, 0] - main).square().sum(1).mean()
                gradient = gradient + main.square().sum(1).mean()
            direction, state = method.combine(gradients, state)
            theta = theta - eta * direction
        counted = steps - steps // 2
        means = {"ema_error": error.item() / counted, "main_gradient": gradient.item() / counted}
        rows.append({"eta": eta, "rho": rho, **means})
    return rows


def exponent(frame: pd.DataFrame, column: str) -> float:
    """The slope of log ``column`` over log η, by least squares."""
    return float(np.polyfit(np.log(frame["eta"]), np.log(frame[column]), 1)[0])


def quantities(frame: pd.DataFrame) -> dict[str, float]:
    """What claims are about: the fitted exponents of η."""
    return {column: exponent(frame, column) for column in QUANTITIES}


def overview(frame: pd.DataFrame) -> pd.DataFrame:
    """Fitted exponents, their range over seeds, and the theory's."""
    rows = []
    for column, (meaning, theory) in QUANTITIES.items():
        fitted = [exponent(rows_of_seed, column) for _, rows_of_seed in frame.groupby("seed")]
        rows.append(
            {
                "quantity": meaning,
                "fitted exponent of η": exponent(frame, column),
                "least": min(fitted),
                "largest": max(fitted),
                "theory": theory,
            }
        )
    return pd.DataFrame(rows)


register("rates", SimulatedFigure(simulate, quantities, overview))
