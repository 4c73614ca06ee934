"""Statistics over paired seeds: intervals, sign-flip tests, Holm's correction, shares of wins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

RESAMPLES = 9999
LEVEL = 0.05


class Estimate(NamedTuple):
    """A mean over seeds and its interval; None where the seeds are too few, and ``note`` says so."""

    value: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""


def seeds_needed(level: float = LEVEL) -> int:
    """The fewest seeds n at which a two-sided sign-flip test can reach a p-value: 2 / 2ⁿ ≤ ``level``."""
    return math.ceil(math.log2(2 / level) - 1e-9)


def over_seeds(
    values: Sequence[float], seeds: int, confidence: float = 1 - LEVEL, ratios: bool = False
) -> Estimate:
    """Mean over seeds and its confidence interval, equal-tailed.

    The interval is the percentile bootstrap's with percentiles expanded for small samples (Hesterberg 2015).
    An interval within the range of n values covers their median with a probability of at most 1 − 2 / 2ⁿ, so
    that with fewer seeds than `seeds_needed` no bootstrap keeps its promise: there it is Student's t.

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
    if count < 2:
        notes.append("one seed: no interval")
    elif count < seeds_needed(1 - confidence):
        notes.append(f"{count} seeds: Student's t")
    low, high = _interval(sample, confidence) if count > 1 else (None, None)
    shown = (float(sample.mean()), low, high)
    value, low, high = (math.exp(v) if ratios and v is not None else v for v in shown)
    return Estimate(value, low, high, "; ".join(notes))


def _interval(sample: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    count = len(sample)
    quantile = stats.t.ppf((1 + confidence) / 2, count - 1)
    if count < seeds_needed(1 - confidence):
        half = quantile * stats.sem(sample)
        return float(sample.mean() - half), float(sample.mean() + half)
    tail = stats.norm.sf(quantile * math.sqrt(count / (count - 1)))
    interval = stats.bootstrap(
        (sample,),
        np.mean,
        method="percentile",
        confidence_level=1 - 2 * tail,
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def sign_flip(differences: Sequence[float]) -> float | None:
    """Two-sided p-value of the paired sign-flip permutation test of mean difference 0 (Fisher 1935).

    Every assignment of signs is enumerated where there are at most `RESAMPLES` of them (13 seeds), else that
    many are drawn.

    Args:
        differences: one per seed.

    Returns:
        None with too few seeds: fewer than `seeds_needed`.
    """
    if len(differences) < seeds_needed():
        return None
    test = stats.permutation_test(
        (np.asarray(differences, float),),
        lambda d, axis: d.mean(axis=axis),
        permutation_type="samples",
        n_resamples=RESAMPLES,
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    return float(test.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected for their number, which bounds the chance of any false rejection (Holm 1979)."""
    raw = np.asarray(p_values, float)
    order = raw.argsort()
    corrected = np.empty_like(raw)
    corrected[order] = np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1))
    return [min(float(p), 1.0) for p in corrected]


def share(wins: int, seeds: int) -> Estimate:
    """The probability of a win, with its exact 95 % interval (Clopper & Pearson 1934); needs one seed."""
    interval = stats.binomtest(wins, seeds).proportion_ci(1 - LEVEL, method="exact")
    return Estimate(wins / seeds, float(interval.low), float(interval.high))
