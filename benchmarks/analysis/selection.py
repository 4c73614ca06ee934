"""One λ per method for tables with a single point, chosen on validation values alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from .indicators import REFERENCE
from .statistics import over_seeds

LOSSES = ("main", "aux")
COLUMNS = [
    *("method", "lam", "lr", "budget", "seeds", "validation_main", "validation_aux"),
    *(f"test_{loss}{end}" for loss in LOSSES for end in ("", "_low", "_high")),
    "note",
]


def select(runs: pd.DataFrame, cap: float) -> Iterator[dict[str, Any]]:
    """Each method's λ (and learning rate) of least validation main loss within a budget of auxiliary loss.

    The budget is the median validation auxiliary loss of the runs of `sum` whose validation main loss is at
    most ``cap``: half of what `sum` usefully reaches is within it. Validation losses are means over seeds;
    a λ at which any seed has no end point is no candidate. Test values are only looked up, with the mean's
    95 % interval over seeds.

    Args:
        runs: a row per run, as `analysis.summary.summarise` makes them, of one learning-rate protocol.
        cap: the largest main loss that is of interest.
    """
    known = {f"{split}_{loss}" for split in ("validation", "test") for loss in LOSSES} <= set(runs)
    budget = _budget(runs, cap) if known else float("nan")
    for method, own in runs.groupby("method", sort=False):
        row = dict.fromkeys(COLUMNS) | {"method": method, "budget": budget, "note": ""}
        if not known:
            row["note"] = "no validation or no test values"
        elif pd.isna(budget):
            row["note"] = f"{REFERENCE} sets no budget: none of its runs has a main loss up to {cap:g}"
        else:
            row |= _chosen(own, budget)
        yield row


def _budget(runs: pd.DataFrame, cap: float) -> float:
    useful = runs[(runs["method"] == REFERENCE) & (runs["validation_main"] <= cap)]
    return float(useful["validation_aux"].median())


def _chosen(own: pd.DataFrame, budget: float) -> dict[str, Any]:
    seeds, candidates = own["seed"].nunique(), []
    for (lam, lr), at in own.groupby(["lam", "lr"]):
        means = {f"validation_{loss}": at[f"validation_{loss}"].mean(skipna=False) for loss in LOSSES}
        if len(at) == seeds and means["validation_aux"] <= budget:
            candidates.append((means["validation_main"], {"lam": lam, "lr": lr, **means}, at))
    if not candidates:
        return {"note": "no λ with all seeds is within the budget"}
    _, row, at = min(candidates, key=lambda candidate: candidate[0])
    row["seeds"] = seeds
    for loss in LOSSES:
        estimate = over_seeds(list(at[f"test_{loss}"]), seeds)
        row |= {f"test_{loss}": estimate.value, f"test_{loss}_low": estimate.low}
        row |= {f"test_{loss}_high": estimate.high, "note": estimate.note}
    return row
