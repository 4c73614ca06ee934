"""Figure 6: the least mixed loss that a method reaches over λ, from the runs of another experiment."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .summary import splits

SHOWN = (0.0, 0.1, 0.25, 0.5, 1.0)
"""The weights t of the overview."""


def tabulate(runs: pd.DataFrame, points: int) -> pd.DataFrame:
    """min over λ of (1 − t) L_main + t L_aux, at ``points`` weights t evenly spaced in [0, 1].

    Args:
        runs: a row per run, as `analysis.summary.summarise` makes them; those that diverged have no loss
            and are passed over.
        points: how many weights.

    Returns:
        a row per split, method, seed and t: the least mixed loss and the λ that reaches it.

    Source: Hsieh et al. 2024, arXiv 2402.02998, Figure 6.
    """
    t = np.linspace(0, 1, points)
    frames = []
    for split in splits(runs):
        losses = [f"{split}_main", f"{split}_aux"]
        for (method, seed), own in runs.dropna(subset=losses).groupby(["method", "seed"]):
            main, aux = own[losses].to_numpy(float).T
            mixed = np.outer(1 - t, main) + np.outer(t, aux)
            best = mixed.argmin(axis=1)
            frames.append(
                pd.DataFrame(
                    {
                        "split": split,
                        "method": method,
                        "seed": seed,
                        "t": t,
                        "mixed_loss": mixed.min(axis=1),
                        "lam": own["lam"].to_numpy()[best],
                    }
                )
            )
    columns = ["split", "method", "seed", "t", "mixed_loss", "lam"]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def overview(frame: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds at a few weights, a row per split and method."""
    weights = np.sort(frame["t"].unique())
    chosen = [weights[np.abs(weights - t).argmin()] for t in SHOWN] if len(weights) else []
    some = frame[frame["t"].isin(chosen) & (frame["split"] != "validation")]
    wide = some.pivot_table(index=["split", "method"], columns="t", values="mixed_loss", sort=False)
    return wide.rename(columns=lambda t: f"t = {t:.2g}").reset_index()
