"""Fronts of (main, aux) points, both minimised: non-domination and attainment."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


def front(points: Points) -> NDArray[np.bool_]:
    """Which of the ``(n, 2)`` points are non-dominated; of equal points one is kept, never a NaN."""
    import moocore

    finite = np.isfinite(points).all(axis=1)
    kept = np.zeros(len(points), dtype=bool)
    if finite.any():
        kept[finite] = moocore.is_nondominated(points[finite])
    return kept


def stacked(by_seed: Sequence[Points]) -> Points:
    """``(seeds, n, 2)``: the ``(n_seed, 2)`` points of each seed, padded with NaN."""
    longest = max((len(points) for points in by_seed), default=0)
    together = np.full((len(by_seed), longest, 2), np.nan)
    for row, points in zip(together, by_seed, strict=True):
        row[: len(points)] = points
    return together


def attainment(by_seed: Sequence[Points], percentiles: Sequence[float]) -> Points:
    """Empirical attainment surfaces: what a share of the seeds reaches (Grunert da Fonseca et al. 2001).

    Args:
        by_seed: ``(n, 2)`` points of each seed; a seed without a finite point reaches nothing.
        percentiles: shares in percent; 25 is the surface of the best quarter, 50 the median.

    Returns:
        ``(k, 3)``: main, aux, percentile; the corners of each surface in order of aux. There is none of a
        share that reaches nothing.
    """
    import moocore

    fronts = [own for points in by_seed if len(own := points[front(points)])]
    sets = np.repeat(np.arange(len(fronts)), [len(points) for points in fronts])
    surfaces = [np.empty((0, 3))]
    for percentile in percentiles:
        seeds = max(1, math.ceil(percentile / 100 * len(by_seed) - 1e-9))
        if seeds <= len(fronts):
            share = 100 * seeds / len(fronts)
            corners = moocore.eaf(np.concatenate(fronts), sets, percentiles=[share])[:, :2]
            ordered = corners[corners[:, 1].argsort(kind="stable")]
            surfaces.append(np.column_stack([ordered, np.full(len(ordered), percentile)]))
    return np.concatenate(surfaces)
