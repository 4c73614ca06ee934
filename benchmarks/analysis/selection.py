"""One λ per method for tables with a single point, chosen on validation values of the other seeds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from ..experiments.box import Box
from .protocols import CELL, means, others
from .statistics import over_seeds

LOSSES = ("main", "aux")
KNOWN = [f"{split}_{loss}" for split in ("validation", "test") for loss in LOSSES]
COLUMNS = [
    *("method", "seed", "lam", "lr", "budget"),
    *(f"test_{loss}{end}" for loss in LOSSES for end in ("", "_low", "_high")),
    "note",
]


def select(runs: pd.DataFrame, known: pd.DataFrame, box: Box | None) -> Iterator[dict[str, Any]]:
    """Each method's λ (and learning rate) of least main loss within a budget of auxiliary loss, per seed.

    The budget is the middle of the box's auxiliary losses. For each seed, λ is chosen by the means of the
    other seeds' validation losses (of a single seed by its own; what diverged there is no candidate), and the
    seed's test losses are looked up; a run that diverged, or ended outside the box, has those of its upper
    bounds. The rows of ``all`` seeds have the means with their 95 % intervals, and the λ and rate that were
    chosen most often.

    Args:
        runs: a row per run, as `analysis.summary.summarise` makes them, of one learning-rate protocol.
        known: likewise, those by which a choice for another seed is made.
        box: of the experiment.
    """
    for method, own in runs[runs["status"] != "failed"].groupby("method", sort=False):
        if box is None or not set(KNOWN) <= set(runs):
            note = "no validation or no test values" if box else "no box, no budget"
            yield dict.fromkeys(COLUMNS) | {"method": method, "seed": "all", "note": note}
            continue
        budget = sum(box.of("validation").aux) / 2
        of = known[known["method"] == method]
        chosen = [
            row
            for seed, here in own.groupby("seed")
            if (row := _of_seed(here.set_index(CELL), others(of, seed), budget, box))
        ]
        yield from (dict.fromkeys(COLUMNS) | {"method": method, "budget": budget, **row} for row in chosen)
        yield dict.fromkeys(COLUMNS) | {
            "method": method,
            "budget": budget,
            **_over(chosen, own["seed"].nunique()),
        }


def _of_seed(here: pd.DataFrame, elsewhere: pd.DataFrame, budget: float, box: Box) -> dict[str, Any] | None:
    """None where no λ is within the budget."""
    known = means(elsewhere, CELL, KNOWN[:2], among=here.index)
    known = known[known["validation_aux"] <= budget]
    if known.empty:
        return None
    lam, lr = known.index[int(known["validation_main"].argmin())]
    row: dict[str, Any] = {"seed": here["seed"].iloc[0], "lam": lam, "lr": lr}
    test = box.of("test")
    ends = {loss: float(here[f"test_{loss}"].loc[[(lam, lr)]].iloc[0]) for loss in LOSSES}
    bounds = {"main": test.main[1], "aux": test.aux[1]}
    inside = all(ends[loss] <= bounds[loss] for loss in LOSSES)
    return row | {f"test_{loss}": (ends if inside else bounds)[loss] for loss in LOSSES}


def _over(chosen: list[dict[str, Any]], seeds: int) -> dict[str, Any]:
    if not chosen:
        return {"seed": "all", "note": "no λ is within the budget"}
    (lam, lr), *_ = pd.Series([(row["lam"], row["lr"]) for row in chosen]).mode()
    over: dict[str, Any] = {"seed": "all", "lam": lam, "lr": lr}
    for loss in LOSSES:
        estimate = over_seeds([row[f"test_{loss}"] for row in chosen], seeds)
        over |= {f"test_{loss}": estimate.value, f"test_{loss}_low": estimate.low}
        over |= {f"test_{loss}_high": estimate.high, "note": estimate.note}
    return over
