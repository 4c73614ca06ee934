"""Figure 2: noise in the projection's reference turns surgery into the plain sum."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch

from ... import methods
from ..experiments.settings import NoiseRun
from .registry import SimulatedFigure, register


def simulate(run: NoiseRun) -> list[dict[str, Any]]:
    """The Monte-Carlo mean of d = g_m + π(g_a; m) for a noisy reference m, per noise level and ρ.

    g_m, g_a ~ N(0, I_p), fixed by the seed. Batch gradients are g_m + σ N(0, I); m is their EMA in its
    stationary state, g_m + σ √(ρ / (2 − ρ)) N(0, I), which at ρ = 1 is one batch gradient.

    Returns:
        rows with ``sigma``, ``rho``, and the distances of the mean to the noise-free direction
        (``to_bloop``) and to the noise limit g_m + (1 − 1/p) g_a (``to_mixed``), both divided by the distance
        between these two.

    Source: Hsieh et al. 2024, arXiv 2402.02998, Figure 2.
    """
    generator = torch.Generator().manual_seed(run.seed)
    gradients = torch.randn(2, run.dimension, generator=generator, dtype=torch.float64)
    clean = _direction(gradients, gradients[0])
    mixed = gradients[0] + (1 - 1 / run.dimension) * gradients[1]
    apart = torch.linalg.vector_norm(clean - mixed)
    rows = []
    for sigma in run.sigmas:
        noise = torch.randn(run.draws, run.dimension, generator=generator, dtype=torch.float64)
        for rho in run.rhos:
            reference = gradients[0] + sigma * (rho / (2 - rho)) ** 0.5 * noise
            mean = _direction(gradients.expand(run.draws, -1, -1), reference).mean(0)
            distances = {
                "to_bloop": (torch.linalg.vector_norm(mean - clean) / apart).item(),
                "to_mixed": (torch.linalg.vector_norm(mean - mixed) / apart).item(),
            }
            rows.append({"sigma": sigma, "rho": rho, **distances})
    return rows


def quantities(frame: pd.DataFrame) -> dict[str, float]:
    """What claims are about: distances at the highest noise, such as ``to_mixed rho=1``."""
    noisiest = frame[frame["sigma"] == frame["sigma"].max()].set_index("rho")
    columns = ("to_bloop", "to_mixed")
    return {
        f"{column} rho={rho:g}": float(noisiest.loc[rho, column])
        for column in columns
        for rho in noisiest.index
    }


def overview(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean distances at the lowest and the highest noise."""
    mean = frame.groupby(["rho", "sigma"], as_index=False)[["to_bloop", "to_mixed"]].mean()
    ends = mean["sigma"].isin([mean["sigma"].min(), mean["sigma"].max()])
    return mean[ends].reset_index(drop=True)


def _direction(gradients: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    bloop = methods.create("bloop", lam=1.0)
    return bloop.combine(gradients, {"memory": reference[..., None, :]})[0]


register("noise", SimulatedFigure(simulate, quantities, overview))
