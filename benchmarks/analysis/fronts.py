"""Fronts of (main, aux) points, both minimised: non-domination, quality indicators, attainment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
ROUNDED_TO_0 = 2.0**-25
"""What a main loss of exactly 0 counts as in a logarithm, at most: half of what float32 tells from 1."""


def front(points: Points) -> NDArray[np.bool_]:
    """Which of the ``(n, 2)`` points are non-dominated; of equal points one is kept, never a NaN."""
    import moocore

    finite = np.isfinite(points).all(axis=1)
    kept = np.zeros(len(points), dtype=bool)
    if finite.any():
        kept[finite] = moocore.is_nondominated(points[finite])
    return kept


def hypervolume(points: Points, main: float, aux: float) -> float:
    """The area that the ``(n, 2)`` points dominate up to the reference point (main, aux).

    Points beyond the reference in either loss add nothing.
    """
    import moocore

    inside = _within(points, main, aux)
    return float(moocore.hypervolume(inside, ref=np.array([main, aux]))) if len(inside) else 0.0


def pooled_front(points: Points, main: float, aux: float) -> Points:
    """The non-dominated of the ``(n, 2)`` points that lie inside the region; ``(0, 2)`` where none does."""
    inside = _within(points, main, aux)
    return inside[front(inside)]


def igd_plus(points: Points, pooled: Points, main: float, aux: float) -> float | None:
    """IGD+: how far, on average, a pooled front lies from what the points dominate (Ishibuchi et al. 2015).

    Both losses are measured from the pooled front's best to the region's end, as 0 to 1, so that neither
    unit weighs more.

    Args:
        points: ``(n, 2)``.
        pooled: ``(m, 2)`` from `pooled_front`, with the same region (``main``, ``aux``).

    Returns:
        0 is best; None without a finite point or a pooled front.
    """
    import moocore

    finite = points[np.isfinite(points).all(axis=1)]
    if not len(finite) or not len(pooled):
        return None
    best = pooled.min(axis=0)
    extent = np.array([main, aux]) - best
    return float(moocore.igd_plus((finite - best) / extent, ref=(pooled - best) / extent))


def attainment(by_seed: Sequence[Points], percentiles: Sequence[float]) -> Points:
    """Empirical attainment surfaces: what a share of the seeds reaches (Grunert da Fonseca et al. 2001).

    Args:
        by_seed: ``(n, 2)`` points of each seed; a seed without a finite point counts for nothing.
        percentiles: shares in percent; 25 is the surface of the best quarter, 50 the median.

    Returns:
        ``(k, 3)``: main, aux, percentile; the corners of each surface in order of aux.
    """
    import moocore

    fronts = [points[front(points)] for points in by_seed]
    fronts = [points for points in fronts if len(points)]
    if not fronts:
        return np.empty((0, 3))
    sets = np.repeat(np.arange(len(fronts)), [len(points) for points in fronts])
    corners: Points = moocore.eaf(np.concatenate(fronts), sets, percentiles=list(percentiles))
    return corners[np.lexsort((corners[:, 1], corners[:, 2]))]


@dataclass(frozen=True)
class Ratio:
    """Main loss that one front reaches relative to another, where both may have the same auxiliary loss.

    Args:
        value: the ratio; 0.8 means 20 % less main loss; None where the fronts cannot be compared.
        low, high: the range of auxiliary losses that they are compared at; NaN where there is none.
        points: how many points of the first front lie in that range.
        note: why there is no value.
    """

    value: float | None
    low: float = np.nan
    high: float = np.nan
    points: int = 0
    note: str = ""


def front_ratio(points: Points, reference: Points, cap: float) -> Ratio:
    """exp of the mean difference of log(main) between two fronts, over the auxiliary losses that both reach.

    A front is what it attains: the PCHIP interpolation of log(main) over aux through the non-dominated points
    with main loss at most ``cap`` and, beyond its largest aux, its least main loss, since nobody has to have
    as much auxiliary loss as is allowed. The range begins where both fronts have begun, and ends where
    neither falls any more; if that is one auxiliary loss, they are compared there. So a front that dominates
    another is better by this measure, even where it is a single point or has a main loss of 0.
    The mean is exact (the interpolant's integral). This is the Bjøntegaard delta of video codecs (Bjøntegaard
    2001, VCEG-M33) with a monotone interpolant (Fritsch & Butland 1984) for its polynomial, and the attained
    range for the covered one.

    Args:
        points: ``(n, 2)`` end points (main, aux) of one method and seed.
        reference: ``(m, 2)`` those that it is compared with.
        cap: the largest main loss that is of interest.
    """
    mains = np.concatenate([points, reference])[:, 0]
    if (mains < 0).any():
        return Ratio(None, note="a main loss is below 0, and has no logarithm")
    zero = min([ROUNDED_TO_0, *mains[mains > 0]])
    ours, theirs = _inside(points, cap, zero), _inside(reference, cap, zero)
    for which, inside in (("the front", ours), ("the reference", theirs)):
        if not len(inside):
            return Ratio(None, note=f"{which} has no point with main loss up to {cap:g}")
    low, high = max(ours[0, 1], theirs[0, 1]), max(ours[-1, 1], theirs[-1, 1])
    covered = int((ours[:, 1] >= low).sum())
    difference = _mean_log(ours, low, high) - _mean_log(theirs, low, high)
    return Ratio(float(np.exp(difference)), float(low), float(high), covered)


def _within(points: Points, main: float, aux: float) -> Points:
    return points[np.isfinite(points).all(axis=1) & (points < [main, aux]).all(axis=1)]


def _inside(points: Points, cap: float, zero: float) -> Points:
    """The front's points of main loss up to the cap, in order of aux; a main loss of 0 counts as ``zero``."""
    chosen = points[front(points)]
    chosen = chosen[chosen[:, 0] <= cap]
    chosen[:, 0] = np.where(chosen[:, 0] == 0, zero, chosen[:, 0])
    return chosen[np.argsort(chosen[:, 1])]


def _mean_log(inside: Points, low: float, high: float) -> float:
    """The mean of the log of what a front attains, from ``low`` to ``high``, at least its largest aux."""
    aux, log = inside[:, 1], np.log(inside[:, 0])
    end = aux[-1]
    if low >= end:
        return float(log[-1])
    from scipy.interpolate import PchipInterpolator

    falling = PchipInterpolator(aux, log).integrate(low, end)
    return float((falling + (high - end) * log[-1]) / (high - low))
