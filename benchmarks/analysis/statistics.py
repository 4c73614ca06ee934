"""Statistics over paired seeds: Student's intervals and tests, Holm's correction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

LEVEL = 0.05
SEEDS_FOR_A_VERDICT = 6
"""With fewer, nothing is supported or contradicted."""


class Estimate(NamedTuple):
    """A mean over seeds and its interval; None where the seeds are too few, and ``note`` says so."""

    value: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""


def over_seeds(
    values: Sequence[float], seeds: int, confidence: float = 1 - LEVEL, ratios: bool = False
) -> Estimate:
    """Mean over seeds and its equal-tailed confidence interval by Student's t (Student 1908).

    Args:
        values: one per seed.
        seeds: how many seeds there are; those without a value are noted.
        confidence: of the interval.
        ratios: whether values are ratios: then mean and interval are those of their logarithms, as ratios.
    """
    count = len(values)
    notes = [f"{count} of {seeds} seeds have a value"] if count < seeds else []
    if not count:
        return Estimate(None, note="".join(notes))
    sample = np.log(values) if ratios else np.asarray(values, float)
    shown: list[float | None] = [float(sample.mean()), None, None]
    if count > 1:
        half = stdtrit(count - 1, (1 + confidence) / 2) * _error(sample)
        shown[1:] = [float(sample.mean() - half), float(sample.mean() + half)]
    else:
        notes.append("one seed: no interval")
    value, low, high = (math.exp(v) if ratios and v is not None else v for v in shown)
    return Estimate(value, low, high, "; ".join(notes))


def p_above(values: Sequence[float], bound: float) -> float | None:
    """One-sided p-value of Student's test that the mean is above a bound; None with fewer than two values.

    Equal values have no scatter: then it is 0 where they are above the bound, else 1.
    """
    if len(values) < 2:
        return None
    error = _error(np.asarray(values, float))
    distance = float(np.mean(values)) - bound
    if error == 0:
        return 0.0 if distance > 0 else 1.0
    return float(stdtr(len(values) - 1, -distance / error))


def two_sided(values: Sequence[float]) -> float | None:
    """Two-sided p-value of Student's test of mean 0; None with fewer than two values."""
    above, below = p_above(values, 0), p_above([-value for value in values], 0)
    return None if above is None or below is None else min(1.0, 2 * min(above, below))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected for their number, which bounds the chance of any false rejection (Holm 1979)."""
    raw = np.asarray(p_values, float)
    order = raw.argsort()
    corrected = np.empty_like(raw)
    corrected[order] = np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1))
    return [min(float(p), 1.0) for p in corrected]


def _error(sample: NDArray[np.float64]) -> float:
    """The standard error of a mean."""
    return float(sample.std(ddof=1)) / math.sqrt(len(sample))
