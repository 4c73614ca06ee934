"""Figure 6: the least mixed loss that a method reaches over λ, from the runs of another experiment."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scalpel_bench.benchmarks.experiments.schema import MixedLossExperiment
from scalpel_bench.benchmarks.figures import style
from scalpel_bench.benchmarks.messages.errors import UserError
from scalpel_bench.benchmarks.records.folder import Folder

SHOWN = (0.0, 0.1, 0.25, 0.5, 1.0)
"""The weights t of the overview."""


def source_of(folder: Folder, experiment: MixedLossExperiment) -> Folder:
    """Where the runs are that the experiment is computed from: beside its own folder, at the same scale.

    Raises:
        UserError: there are none.
    """
    source = Folder(folder.path.parents[1] / experiment.source / experiment.scale)
    if not source.has_records:
        raise UserError(
            f"{experiment.name} is computed from the runs of {experiment.source}, "
            f"and {source.runs} has none; first run "
            f"`scalpel sweep {experiment.source} --scale {experiment.scale}`"
        )
    return source


def tabulate(runs: pd.DataFrame, points: int) -> pd.DataFrame:
    """min over λ of (1 − t) L_main + t L_aux, at ``points`` weights t evenly spaced in [0, 1].

    Args:
        runs: a row per run, as `analysis.tables.summarise` makes them; those that diverged have no loss
            and are passed over.
        points: how many weights.

    Returns:
        a row per split, method, seed and t: the least mixed loss and the λ that reaches it.

    Source: Hsieh et al. 2024, arXiv 2402.02998, Figure 6.
    """
    t = np.linspace(0, 1, points)
    frames = []
    for split in ("train", "validation", "test"):
        losses = [f"{split}_main", f"{split}_aux"]
        if losses[0] not in runs:
            continue
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


def draw(frame: pd.DataFrame) -> Figure:
    """Least mixed loss against t, mean over seeds and their range, on train and test."""
    splits = [split for split in ("train", "test") if split in set(frame["split"])]
    figure = Figure(figsize=(4.6 * max(len(splits), 1) + 1.2, 3.6), layout="constrained")
    if not splits:
        return figure
    panels = figure.subplots(1, len(splits), squeeze=False)[0]
    for axes, split in zip(panels, splits, strict=True):
        rows = frame[frame["split"] == split]
        for method in style.order(list(rows["method"].unique())):
            by_t = rows[rows["method"] == method].groupby("t")["mixed_loss"]
            mean, look = by_t.mean(), style.look(method)
            axes.plot(mean.index, mean, lw=1.2, ms=4, markevery=0.2, label=style.title(method), **look)
            axes.fill_between(mean.index, by_t.min(), by_t.max(), color=look["color"], alpha=0.2, lw=0)
        axes.set(xlabel="t", title=f"{split}, {style.seeds(rows)}")
    panels[0].set_ylabel("least (1 − t) main + t auxiliary loss over λ")
    figure.legend(*panels[0].get_legend_handles_labels(), fontsize=7, loc="outside right upper")
    return figure
