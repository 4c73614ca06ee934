"""Fronts at one learning rate for each method, its best: under `per-method`, a front may mix rates."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..experiments.box import Box
from ..experiments.schema import Experiment
from ..messages import UserError
from . import indicators
from .protocols import REFERENCE, chosen_by, end_points, on_grids


def at_one_rate(summary: pd.DataFrame, experiment: Experiment, box: Box, split: str) -> pd.DataFrame:
    """Ratios of each method's front at one rate to that of `sum` at one, of the methods with several rates.

    The rate of a method at a seed is that of its best front at the other seeds, by `mean_log_main`: on
    validation losses, or on train losses where these are compared. A run that diverged is no point of its
    front.

    Returns:
        A row per method and seed: ``method``, ``seed``, ``lr``, ``front_ratio``, ``line_ratio``.

    Raises:
        UserError: `sum` ran at one rate, a run failed or is missing, or no values choose a rate.
    """
    runs = on_grids(summary, experiment)
    several = runs.groupby("method", sort=False)["lr"].nunique() > 1
    methods = list(several.index[several])
    if REFERENCE not in methods:
        raise UserError(f"{REFERENCE} ran at one learning rate: no other to choose")
    runs = runs[runs["method"].isin(methods)]
    if (by := f"{chosen_by(split)}_main") not in runs or runs[by].isna().all():
        raise UserError(f"no {chosen_by(split)} values to choose a rate by")
    ended = runs[runs["status"] != "failed"].groupby(["method", "lr", "seed"]).size().unstack(["lr", "seed"])
    if lacking := [str(name) for name, counts in ended.iterrows() if counts.nunique(dropna=False) > 1]:
        raise UserError(f"runs of {', '.join(lacking)} failed or are missing at some rate and seed")
    of = {method: _scored(runs[runs["method"] == method], box, split) for method in methods}
    rows = []
    for method, own in of.items():
        pair = own.merge(of[REFERENCE], on="seed", suffixes=("", "_sum"))
        ratios = {f"{name}_ratio": np.exp(pair[name] - pair[f"{name}_sum"]) for name in ("front", "line")}
        rows.append(pd.DataFrame({"method": method, **pair[["seed", "lr"]], **ratios}))
    return pd.concat(rows, ignore_index=True)


def _scored(runs: pd.DataFrame, box: Box, split: str) -> pd.DataFrame:
    """For each seed of a method's runs its rate, and the mean logarithm of main loss at it."""
    by, seeds = chosen_by(split), sorted(runs["seed"].unique())
    rates = sorted(runs["lr"].unique())
    at = {rate: runs[runs["lr"] == rate] for rate in rates}
    known = np.array(
        [indicators.mean_log_main(end_points(at[rate], seeds, by), box.of(by)) for rate in rates]
    )
    rows = []
    for place, seed in enumerate(seeds):
        apart = np.arange(len(seeds)) != place
        rate = rates[int(known[:, apart if apart.any() else ~apart].mean(axis=1).argmin())]
        ends = end_points(at[rate], [seed], split)
        front, line = (
            of(ends, box.of(split))[0] for of in (indicators.mean_log_main, indicators.mean_log_line)
        )
        rows.append({"seed": seed, "lr": rate, "front": front, "line": line})
    return pd.DataFrame(rows)
