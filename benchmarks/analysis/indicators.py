"""What is measured of fronts inside a box: pure functions of end points, vectorised over leading dimensions.

``points`` are ``(..., n, 2)`` end points (main, aux), both minimised, such as ``(seeds, λ, 2)``. NaN stands
for a run that diverged, and for padding. A box sees a point whose main loss is below its upper bound and
whose auxiliary loss is not above its own; what is better than a lower bound counts as that bound.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..experiments.box import Bounds
from .fronts import Points, front

PAR = 1.05
"""How far from the best main loss of `sum` is still at par with it."""

Floats = NDArray[np.float64]


def seen(points: Points, box: Bounds) -> Points:
    """The points as the box sees them: clipped to its lower bounds, NaN where it sees nothing."""
    main, aux = points[..., 0], points[..., 1]
    inside = (main < box.main[1]) & (aux <= box.aux[1])
    clipped = np.maximum(points, [box.main[0], box.aux[0]])
    return np.where(inside[..., None], clipped, np.nan)


def attained(points: Points, box: Bounds) -> tuple[Floats, Floats]:
    """A(a), the least main loss among points with an auxiliary loss up to a, as a step function of a.

    Before the first point that the box sees it is the upper bound of the main loss: the cap.

    Returns:
        edges: ``(..., n + 2)`` from the lower to the upper bound of the auxiliary loss, ascending.
        main: ``(..., n + 1)`` its values between them.
    """
    within = seen(points, box)
    aux = np.where(np.isnan(within[..., 1]), box.aux[1], within[..., 1])
    main = np.where(np.isnan(within[..., 0]), box.main[1], within[..., 0])
    order = np.argsort(aux, axis=-1, kind="stable")
    aux, main = (np.take_along_axis(values, order, axis=-1) for values in (aux, main))
    ends = np.ones((*aux.shape[:-1], 1))
    edges = np.concatenate([box.aux[0] * ends, aux, box.aux[1] * ends], axis=-1)
    steps = np.minimum.accumulate(np.concatenate([box.main[1] * ends, main], axis=-1), axis=-1)
    return edges, steps


def attained_at(points: Points, box: Bounds, aux: Floats) -> Floats:
    """``(..., m)``: A(a), as `attained` has it, at the auxiliary losses ``aux`` ``(m,)`` of the box."""
    within = seen(points, box)
    reached = within[..., None, :, 1] <= aux[:, None]
    main: Floats = np.where(reached, within[..., None, :, 0], box.main[1]).min(axis=-1, initial=box.main[1])
    return main


def mean_log_main(points: Points, box: Bounds) -> Floats:
    """``(...)``: the mean of log A(a) over the auxiliary losses a of the box, exactly."""
    edges, main = attained(points, box)
    return _mean(edges, np.log(main))


def front_ratio(points: Points, reference: Points, box: Bounds) -> Floats:
    """``(...)``: main loss relative to a reference's at equal auxiliary loss; 0.8 means 20 % less.

    exp of the mean of log A(a) − log A_reference(a) over the box's auxiliary losses a. Its logarithm is the
    difference of hypervolumes in (aux, log main) over the width of the box, so that it is Pareto-compliant
    (Zitzler et al. 2003).
    """
    ratio: Floats = np.exp(mean_log_main(points, box) - mean_log_main(reference, box))
    return ratio


def line_ratio(points: Points, reference: Points, box: Bounds) -> Floats:
    """``(...)``: the `front_ratio` of fronts that are drawn as lines, in (aux, log main), and not as stairs.

    Stairs get better with every λ between two others; lines hardly do, so that this ratio depends less on
    where the λ of a grid put their points. It is no Pareto-compliant measure: a point above the line through
    its neighbours makes it worse.
    """
    ratio: Floats = np.exp(mean_log_line(points, box) - mean_log_line(reference, box))
    return ratio


def mean_log_line(points: Points, box: Bounds) -> Floats:
    """``(...)``: the mean over the box's auxiliary losses of log main on lines between non-dominated points.

    Of the points that the box sees. Before the first it is the cap, after the last that point's main loss.
    """
    within = seen(points, box)
    count = math.prod(within.shape[:-2])
    means = [_line(each, box) for each in within.reshape(count, *within.shape[-2:])]
    return np.array(means).reshape(within.shape[:-2])


def _line(points: Points, box: Bounds) -> float:
    kept = points[front(points)]
    kept = kept[kept[:, 1].argsort()]
    (low, high), cap = box.aux, np.log(box.main[1])
    if not len(kept):
        return float(cap)
    aux, main = np.append(kept[:, 1], high), np.log(np.append(kept[:, 0], kept[-1, 0]))
    area = cap * (aux[0] - low) + (np.diff(aux) * (main[1:] + main[:-1]) / 2).sum()
    return float(area / (high - low))


def hypervolume(points: Points, box: Bounds) -> Floats:
    """``(...)``: the share of the box's area in (aux, main) that the points dominate (Zitzler & Thiele 1999).

    In the losses themselves, not their logarithms: differences count alike wherever they are.
    """
    edges, main = attained(points, box)
    return (box.main[1] - _mean(edges, main)) / (box.main[1] - box.main[0])


def aux_at_par(points: Points, reference: Points, box: Bounds) -> Floats:
    """``(...)``: the least auxiliary loss among points within 5 % of the reference's best main loss.

    The best is at least the box's lower bound. Where no point is at par, it is the upper bound of the
    auxiliary loss.
    """
    cap = box.main[1]
    best = _clipped_main(reference, box).min(axis=-1, initial=cap)
    at_par = points[..., 0] <= np.minimum(PAR * best, cap)[..., None]
    aux = np.where(at_par & ~np.isnan(points[..., 1]), points[..., 1], np.inf)
    least: Floats = np.minimum(aux.min(axis=-1, initial=np.inf), box.aux[1])
    return least


def pooled_front(points: Points, box: Bounds) -> Points:
    """``(m, 2)``: the non-dominated of all points, as the box sees them."""
    within = seen(points, box).reshape(-1, 2)
    return within[front(within)]


def igd_plus(points: Points, pooled: Points, box: Bounds) -> Floats:
    """``(...)``: the mean distance of a pooled front from what the points dominate (Ishibuchi et al. 2015).

    Distances are in (aux, log main), the box being of side 1. Points that the box does not see count as its
    upper corner. 0 is best; NaN where the pooled front ``(m, 2)`` is empty.
    """
    within = seen(points, box)
    within = np.where(np.isnan(within), [box.main[1], box.aux[1]], within)
    corner = np.broadcast_to([box.main[1], box.aux[1]], (*within.shape[:-2], 1, 2))
    ours, theirs = (_scaled(some, box) for some in (np.concatenate([within, corner], axis=-2), pooled))
    worse = np.maximum(ours[..., :, None, :] - theirs, 0)
    nearest = np.linalg.norm(worse, axis=-1).min(axis=-2)
    return nearest.mean(axis=-1) if len(pooled) else np.full(points.shape[:-2], np.nan)


def inside(points: Points, box: Bounds) -> NDArray[Any]:
    """``(..., n)``: which points lie in the box's range of auxiliary losses, below its cap."""
    main, aux = points[..., 0], points[..., 1]
    return (main < box.main[1]) & (aux >= box.aux[0]) & (aux <= box.aux[1])


def coverage(points: Points, box: Bounds) -> Floats:
    """``(...)``: the share of the box's auxiliary losses that are at least those of a point that it sees."""
    within = seen(points, box)[..., 1]
    aux = np.where(np.isnan(within), box.aux[1], within)
    share: Floats = (box.aux[1] - aux.min(axis=-1, initial=box.aux[1])) / (box.aux[1] - box.aux[0])
    return share


def conflict(points: Points, box: Bounds) -> Floats:
    """``(...)``: what the auxiliary loss costs in main loss, as a logarithm.

    The mean of log main(λ) − log main(least λ) over the greater λ that the box sees; NaN where it sees none.

    Args:
        points: ``(..., n, 2)`` in ascending order of λ.
    """
    cost = np.log(seen(points, box)[..., 1:, 0]) - np.log(_clipped_main(points, box)[..., :1])
    known = ~np.isnan(cost)
    count = known.sum(axis=-1)
    total = np.where(known, cost, 0.0).sum(axis=-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _clipped_main(points: Points, box: Bounds) -> Floats:
    """``(..., n)``: main losses within the box's bounds; the upper one where a run diverged."""
    clipped: Floats = np.clip(np.where(np.isnan(points[..., 0]), box.main[1], points[..., 0]), *box.main)
    return clipped


def _mean(edges: Floats, values: Floats) -> Floats:
    """The mean of a step function over its range."""
    total: Floats = (values * np.diff(edges, axis=-1)).sum(axis=-1)
    return total / (edges[..., -1] - edges[..., 0])


def _scaled(points: Points, box: Bounds) -> Points:
    low, high = np.log(box.main)
    main = (np.log(points[..., 0]) - low) / (high - low)
    aux = (points[..., 1] - box.aux[0]) / (box.aux[1] - box.aux[0])
    return np.stack([main, aux], axis=-1)
