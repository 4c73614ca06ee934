"""Indicators of all methods over one box, per seed and over seeds, as rows of ``metrics.csv``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..experiments.box import Bounds, Box
from . import indicators
from .comparisons import NO_BOX
from .fronts import Points
from .protocols import REFERENCE, Pair, Protocol
from .statistics import Estimate, holm, over_seeds, two_sided

COMPARED = ("front_ratio", "line_ratio", "aux_at_par", "hypervolume", "igd_plus")
"""What is tested against `sum`."""
RATIOS = ("front_ratio", "line_ratio")
"""Those that are ratios to `sum`."""

Values = NDArray[np.float64]


class Measured(NamedTuple):
    """One value: of a seed, or of ``all``."""

    method: str
    statistic: str
    seed: int | str
    value: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""


def rows(protocol: Protocol, split: str, box: Box | None) -> Iterator[Measured]:
    """What is measured of each method on one split, inside the box.

    Per seed, as functions of `indicators` say: ``front_ratio``, ``line_ratio`` and ``aux_at_par`` to `sum`,
    ``hypervolume``, ``igd_plus`` against what all methods and seeds reach together, ``coverage``, and
    ``points``, the number of λ inside. Over all seeds: means with intervals, and ``p_<statistic>``, the
    p-values of paired tests against `sum`, corrected for the number of methods.
    """
    methods = list(dict.fromkeys(protocol.runs["method"]))
    if box is None or REFERENCE not in methods:
        why = f"no runs of {REFERENCE}" if box else NO_BOX
        yield from (Measured(method, "front_ratio", "all", None, note=why) for method in methods)
        return
    bounds = box.of(split)
    pairs = {method: protocol.pair(method) for method in methods}
    points = {method: pair.points(split) for method, pair in pairs.items()}
    pooled = indicators.pooled_front(
        np.concatenate([own.reshape(-1, 2) for own, _ in points.values()]), bounds
    )
    p_values: dict[str, dict[str, float | None]] = {statistic: {} for statistic in COMPARED}
    for method, pair in pairs.items():
        ours, theirs = (_measure(own, points[method][1], pooled, bounds) for own in points[method])
        yield from _of_method(pair, ours, protocol.note)
        if method != REFERENCE:
            for statistic, of in p_values.items():
                of[method] = two_sided(_differences(statistic, ours, theirs))
    for statistic, by_method in p_values.items():
        yield from _tests(statistic, by_method)


def _measure(points: Points, reference: Points, pooled: Points, box: Bounds) -> dict[str, Values]:
    return {
        "front_ratio": indicators.front_ratio(points, reference, box),
        "line_ratio": indicators.line_ratio(points, reference, box),
        "aux_at_par": indicators.aux_at_par(points, reference, box),
        "hypervolume": indicators.hypervolume(points, box),
        "igd_plus": indicators.igd_plus(points, pooled, box),
        "coverage": indicators.coverage(points, box),
        "points": indicators.inside(points, box).sum(axis=-1),
    }


def _of_method(pair: Pair, measured: Mapping[str, Values], note: str) -> Iterator[Measured]:
    for statistic, values in measured.items():
        for seed, value in zip(pair.seeds, values.tolist(), strict=True):
            yield Measured(pair.method, statistic, seed, value)
        estimate = _over(values, statistic)
        notes = "; ".join(part for part in (estimate.note, pair.note, pair.lacking, note) if part)
        yield Measured(pair.method, statistic, "all", *estimate[:3], notes)


def _over(values: Values, statistic: str) -> Estimate:
    known = [value for value in values.tolist() if not np.isnan(value)]
    return over_seeds(known, len(values), ratios=statistic in RATIOS)


def _differences(statistic: str, ours: Mapping[str, Values], theirs: Mapping[str, Values]) -> list[float]:
    """From `sum`, per seed; of a ratio to `sum` the logarithm."""
    if statistic in RATIOS:
        return [float(value) for value in np.log(ours[statistic])]
    return [float(value) for value in ours[statistic] - theirs[statistic] if not np.isnan(value)]


def _tests(statistic: str, raw: Mapping[str, float | None]) -> Iterator[Measured]:
    tested = {method: p for method, p in raw.items() if p is not None}
    corrected = dict(zip(tested, holm(list(tested.values())), strict=True))
    for method in raw:
        note = "no test: fewer than two seeds have a value"
        if method in corrected:
            note = f"{tested[method]:.3g} before Holm's correction for {len(tested)} methods"
        yield Measured(method, f"p_{statistic}", "all", corrected.get(method), note=note)
