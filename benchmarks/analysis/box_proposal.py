"""A box for an experiment's fronts, proposed from recorded runs of `sum` alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ..experiments.box import Range
from ..messages import UserError
from .protocols import REFERENCE

MARGIN = 0.15
"""How much of the range of auxiliary losses the tighter box lacks, and the wider one adds, on each side."""


def propose(runs: pd.DataFrame, start: float, split: str) -> dict[str, Any]:
    """A box and its alternatives, from the end points of `sum` on one split.

    The cap (the upper bound of the main loss) is two thirds of the way, in the logarithm, from the best main
    loss to that of the untrained model, or 5 % above the greatest of all runs where that is less. Auxiliary
    losses go from the least to the greatest of the runs below the cap; the lower bound of the main loss is
    half the best. Runs at λ = 0 stand apart: the auxiliary loss of a model that never saw it may be anything.
    Each is the median over seeds. The tighter box leaves out 15 % of the auxiliary losses on each side and a
    quarter of the way to the cap; the wider one adds 15 % (downwards at most half of the least), a quarter of
    the cap, and halves the lower bound of the main loss.

    Args:
        runs: of `sum`, a row per run, at one learning rate.
        start: the main loss of the untrained model.
        split: whose losses.

    Raises:
        UserError: at no seed two runs lie below the cap, or all have the same auxiliary loss.
    """
    found = [each for _, own in runs.groupby("seed") if (each := _of_seed(own, start, split))]
    if not found:
        raise UserError(f"{REFERENCE} sets no box on {split}: at least two λ > 0 must end below the cap")
    best, cap, low, high = np.median(found, axis=0)
    if not low < high:
        raise UserError(f"{REFERENCE} has one auxiliary loss on {split}: no range to compare fronts over")
    width = high - low
    near, far = low + MARGIN * width, high - MARGIN * width
    beyond = max(low - MARGIN * width, low / 2) if low > 0 else low - MARGIN * width
    aux = _short((low, high), (near, far), (beyond, high + MARGIN * width))
    main = _short((best / 2, cap), (best / 2, best**0.25 * cap**0.75), (best / 4, 1.25 * cap))
    box, tighter, wider = ({"aux": own, "main": of} for own, of in zip(aux, main, strict=True))
    return {**box, "tighter": tighter, "wider": wider}


def _of_seed(own: pd.DataFrame, start: float, split: str) -> tuple[float, float, float, float] | None:
    """Best main loss, cap, least and greatest auxiliary loss below it; None where too few runs are."""
    main, aux = own.loc[own["lam"] > 0, [f"{split}_main", f"{split}_aux"]].dropna().to_numpy(float).T
    if len(main) < 2 or main.min() <= 0:
        return None
    best = float(main.min())
    cap = min(float(main.max()) * 1.05, best ** (1 / 3) * start ** (2 / 3))
    below = aux[main < cap]
    return (best, cap, float(below.min()), float(below.max())) if len(below) > 1 else None


def _short(*intervals: Range) -> list[list[float]]:
    """All in three digits, or in as many more as tell the ends of each apart."""
    for digits in range(3, 17):
        rounded = [[float(f"{end:.{digits}g}") for end in interval] for interval in intervals]
        if all(low < high for low, high in rounded):
            break
    return rounded
