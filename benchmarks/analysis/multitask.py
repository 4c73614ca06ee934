"""Several losses in one number: what a method does to each, relative to a model trained on that loss alone.

A front is a matter of two losses. Of more, each method has one λ (and learning rate) per seed, that of least
mean change on validation losses of the *other* seeds, and its losses there are compared one by one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from ..experiments.schema import Experiment
from .comparisons import Answer
from .metrics import Measured
from .protocols import CELL, REFERENCE, Protocol
from .ratio_table import over_all_seeds
from .statistics import over_seeds
from .wording import with_interval

CELLS = ["method", *CELL, "seed"]


def relative_losses(protocol: Protocol, experiment: Experiment, split: str) -> pd.DataFrame:
    """Each loss over that of the model trained on it alone, at the same seed and rate.

    Returns:
        a row per run that is no baseline, by `CELLS`; a column per objective; NaN where a run diverged. None
        of a seed and rate at which a baseline is missing or diverged; empty where an objective has no
        baseline, or a baseline's loss is not positive.
    """
    baselines, runs = experiment.alone, protocol.known[protocol.known["status"] != "failed"]
    columns = [f"{split}_{objective}" for objective in baselines]
    if not baselines or not set(columns) <= set(runs):
        return pd.DataFrame()
    joint = runs[~runs["method"].isin(baselines.values())]
    own = joint.set_index(CELLS)[columns].set_axis(list(baselines), axis=1)
    keys = pd.MultiIndex.from_frame(joint[["lr", "seed"]])
    known = np.ones(len(own), dtype=bool)
    for objective, label in baselines.items():
        alone = runs[runs["method"] == label].set_index(["lr", "seed"])[f"{split}_{objective}"].dropna()
        if alone.empty or not (alone > 0).all():
            return pd.DataFrame()
        divisor = alone.reindex(keys).to_numpy()
        known &= ~np.isnan(divisor)
        own[objective] /= divisor
    return own[known]


def chosen(protocol: Protocol, experiment: Experiment, split: str, lam: float | None = None) -> pd.DataFrame:
    """`relative_losses`, of each method and seed at one λ and rate alone: by ``method`` and ``seed``.

    Args:
        protocol: whose runs.
        experiment: with its baselines.
        split: of the losses.
        lam: the λ; None for that of the least mean on validation losses of the other seeds (on train losses
            where there is no validation split; of a single seed, on its own).
    """
    known = relative_losses(protocol, experiment, "validation")
    if known.empty:
        known = relative_losses(protocol, experiment, "train")
    values = relative_losses(protocol, experiment, split)
    if values.empty or known.empty:
        return pd.DataFrame()
    means = known.mean(axis=1, skipna=False).fillna(np.inf)
    may = set(protocol.runs.set_index(CELLS).index) & set(values.index)
    rows = []
    for method, of in means.groupby(level="method", sort=False):
        wide = of.droplevel("method").unstack("seed")
        for seed in wide.columns:
            elsewhere = wide.drop(columns=seed) if len(wide.columns) > 1 else wide
            cells = [c for c in wide.index if (method, *c, seed) in may and lam in (None, c[0])]
            count = elsewhere.notna().sum(axis=1)
            by_cell = elsewhere.mean(axis=1).where(count == count[cells].max(), np.inf).fillna(np.inf)
            if cells:
                rows.append((method, *min(cells, key=lambda c: by_cell[c]), seed))
    return values.loc[rows].droplevel(list(CELL))


def delta_m(losses: pd.DataFrame) -> pd.Series[float]:
    """Δm in percent: the mean over objectives of (L − L_alone) / L_alone; above 0 is worse than alone.

    Source: Maninis, Radosavovic, Kokkinos 2019, arXiv 1904.08918.
    """
    return 100 * (losses.mean(axis=1, skipna=False) - 1)


def mean_rank(losses: pd.DataFrame) -> pd.Series[float]:
    """The rank of a method among all at its seed, 1 for the least loss, mean over objectives; ties share."""
    ranks = losses.fillna(np.inf).groupby(level="seed").rank()
    return ranks.mean(axis=1)


def win_rate(losses: pd.DataFrame) -> pd.Series[float]:
    """The share of objectives of which a method has less loss than `sum` at its seed; equal counts half."""
    whole = losses.fillna(np.inf)
    if REFERENCE not in whole.index.get_level_values("method"):
        return pd.Series(np.nan, index=whole.index)
    theirs = whole.xs(REFERENCE, level="method").reindex(whole.index.get_level_values("seed")).to_numpy()
    ours = whole.to_numpy()
    rate = ((ours < theirs) + (ours == theirs) / 2).mean(axis=1)
    return pd.Series(np.where(np.isnan(theirs).any(axis=1), np.nan, rate), index=whole.index)


STATISTICS = {"delta_m": delta_m, "mean_rank": mean_rank, "win_rate": win_rate}
TITLES = ("Δm (%)", "mean rank", "wins against sum")


def rows(protocol: Protocol, experiment: Experiment, split: str) -> Iterator[Measured]:
    """`STATISTICS` of each method, per seed and over seeds; nothing without single-task baselines."""
    losses = chosen(protocol, experiment, split)
    if losses.empty:
        return
    planned = protocol.runs["seed"].nunique()
    for statistic, of in STATISTICS.items():
        for method, own in of(losses).groupby(level="method", sort=False):
            by_seed = own.droplevel("method")
            for seed, value in by_seed.items():
                known = None if np.isnan(value) else float(value)
                yield Measured(str(method), statistic, int(str(seed)), known)
            unknown = int(by_seed.isna().sum())
            estimate = over_seeds([] if unknown else by_seed.tolist(), 0 if unknown else planned)
            note = estimate.note
            if unknown:
                ends = losses[losses.index.get_level_values("method") == method]
                diverged = int(ends.isna().any(axis=1).sum())
                note = f"{diverged} runs diverged" if diverged else f"no {REFERENCE} at {unknown} seeds"
            yield Measured(str(method), statistic, "all", *estimate[:3], note)


def table(metrics: pd.DataFrame, split: str = "test") -> pd.DataFrame:
    """`STATISTICS` over all seeds in words, a row per protocol and method, the least Δm first.

    Args:
        metrics: as `analyses.TrainingAnalysis` makes them.
        split: of the losses.
    """
    over_all = over_all_seeds(metrics, *STATISTICS)
    found = over_all[over_all["split"] == split].sort_values(["protocol", "value"])
    by_method: dict[tuple[str, str], dict[str, str]] = {}
    for row in found.to_dict("records"):
        of = by_method.setdefault((row["protocol"], row["method"]), {})
        of[row["statistic"]] = with_interval(row["value"], row["low"], row["high"], 2, "none")
    order = found[found["statistic"] == "delta_m"][["protocol", "method"]].itertuples(index=False, name=None)
    listed = [[*key, *(by_method[key][name] for name in STATISTICS)] for key in order]
    return pd.DataFrame(listed, columns=["protocol", "method", *TITLES])


def ratios(
    protocol: Protocol, experiment: Experiment, split: str, pair: tuple[str, str], lam: float | None
) -> Answer:
    """Per seed, 1 + Δm of a method over that of another, at their own λ (`chosen`) or at one."""
    losses = chosen(protocol, experiment, split, lam)
    if losses.empty:
        return {}, "no Δm: every objective needs a positive loss, and a method `single` that has it alone"
    means = losses.mean(axis=1, skipna=False)
    both = [means[means.index.get_level_values("method") == name].droplevel("method") for name in pair]
    together = pd.concat(both, axis=1, join="inner")
    if together.isna().to_numpy().any():
        return {}, "a run diverged, and nothing says what that costs in Δm"
    found = together.iloc[:, 0] / together.iloc[:, 1]
    return dict(zip(found.index.tolist(), found.tolist(), strict=True)), "no seed that both ran"
