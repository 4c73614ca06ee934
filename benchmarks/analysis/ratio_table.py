"""The table of front ratios: for the terminal, for documents and for the page."""

from __future__ import annotations

import pandas as pd

from .wording import with_interval


def over_all_seeds(metrics: pd.DataFrame, *statistics: str) -> pd.DataFrame:
    """What was measured over all seeds, a row per protocol, method, split and statistic: of these, or all."""
    rows = metrics[metrics["seed"].astype(str) == "all"]
    return rows[rows["statistic"].isin(statistics)] if statistics else rows


def per_seed(metrics: pd.DataFrame, statistic: str) -> pd.DataFrame:
    """What was measured at each seed, a row per protocol, method, split and seed: of this statistic."""
    return metrics[(metrics["seed"].astype(str) != "all") & (metrics["statistic"] == statistic)]


def ratio_table(
    metrics: pd.DataFrame, hidden: tuple[str, ...] = ("validation",), statistic: str = "front_ratio"
) -> pd.DataFrame:
    """Front ratios in words, a row per protocol and method, a column per split.

    Args:
        metrics: as `analyses.TrainingAnalysis` makes them.
        hidden: splits to leave out.
        statistic: ``front_ratio``, or another ratio.
    """
    chosen = over_all_seeds(metrics, statistic)
    chosen = chosen[~chosen["split"].isin(hidden)]
    cells = chosen.assign(
        cell=[with_interval(row.value, row.low, row.high, none="none") for row in chosen.itertuples()]
    )
    wide = cells.pivot_table(
        index=["protocol", "method"], columns="split", values="cell", aggfunc="first", sort=False
    )
    return wide.reset_index()
