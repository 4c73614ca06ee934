"""Statistics of fronts, per seed and over seeds, as rows of ``metrics.csv``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from ..experiments.schema import Region
from .fronts import (
    Points,
    Ratio,
    front_ratio,
    hypervolume,
    igd_plus,
    pooled_front,
)
from .statistics import (
    Estimate,
    holm,
    over_seeds,
    seeds_needed,
    share,
    sign_flip,
)

REFERENCE = "sum"

BySeed = Mapping[tuple[str, int], Points]
"""The ``(n, 2)`` end points of a method and seed."""
Values = Mapping[tuple[str, int], float | None]
"""A value of a method and seed."""


class Measured(NamedTuple):
    """One value: of a seed, or of ``all``."""

    method: str
    statistic: str
    seed: int | str
    value: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""


def rows(points: BySeed, region: Region) -> Iterator[Measured]:
    """What is measured of each method on one split.

    Per seed: ``front_ratio`` to `sum` with the range of aux that it is over (``common_low``, ``common_high``)
    and the method's front ``points`` in it, ``hypervolume``, ``igd_plus``. Over all seeds: their means with
    intervals; ``p_<statistic>``, the p-values of paired sign-flip tests against `sum`, corrected for the
    number of methods; ``beats_sum``, the probability that the front ratio at a seed is below 1.
    """
    methods = list(dict.fromkeys(method for method, _ in points))
    ratios = {key: _ratio(points, key, region.main) for key in points}
    values: dict[str, Values] = {"front_ratio": {key: ratio.value for key, ratio in ratios.items()}}
    values |= {name: indicator(points, region) for name, indicator in INDICATORS.items()}
    for method in methods:
        seeds = [seed for name, seed in points if name == method]
        for seed in seeds:
            yield from _seed_rows(method, seed, values, ratios[method, seed])
        for statistic, of in values.items():
            known = [v for seed in seeds if (v := of[method, seed]) is not None]
            estimate = over_seeds(known, len(seeds), ratios=statistic == "front_ratio")
            yield Measured(method, statistic, "all", *estimate)
        if method != REFERENCE:
            yield Measured(method, f"beats_{REFERENCE}", "all", *_wins(method, seeds, values["front_ratio"]))
    for statistic, of in values.items():
        differences = {m: _differences(of, m, statistic) for m in methods if m != REFERENCE}
        yield from _tests(statistic, differences)


def _hypervolumes(points: BySeed, region: Region) -> Values:
    return {key: hypervolume(own, region.main, region.aux) for key, own in points.items()}


def _distances(points: BySeed, region: Region) -> Values:
    pooled = pooled_front(np.concatenate(list(points.values())), region.main, region.aux)
    return {key: igd_plus(own, pooled, region.main, region.aux) for key, own in points.items()}


INDICATORS: dict[str, Callable[[BySeed, Region], Values]] = {
    "hypervolume": _hypervolumes,
    "igd_plus": _distances,
}
"""What is measured of each method and seed beside its front ratio."""


def _ratio(points: BySeed, key: tuple[str, int], cap: float) -> Ratio:
    reference = points.get((REFERENCE, key[1]))
    if reference is None:
        return Ratio(None, note=f"no runs of {REFERENCE} at this seed")
    return front_ratio(points[key], reference, cap)


def _seed_rows(method: str, seed: int, values: Mapping[str, Values], ratio: Ratio) -> Iterator[Measured]:
    for statistic, of in values.items():
        note = ratio.note if statistic == "front_ratio" else ""
        yield Measured(method, statistic, seed, of[method, seed], note=note)
    for statistic, value in (
        ("common_low", ratio.low),
        ("common_high", ratio.high),
        ("points", ratio.points),
    ):
        yield Measured(method, statistic, seed, value, note=ratio.note)


def _wins(method: str, seeds: list[int], ratios: Values) -> Estimate:
    known = [v for seed in seeds if (v := ratios[method, seed]) is not None]
    if not known:
        return Estimate(None, note="no seed has a front ratio")
    return share(sum(value < 1 for value in known), len(known))


def _differences(values: Values, method: str, statistic: str) -> list[float]:
    """From `sum`, per seed; of a ratio to `sum` the logarithm."""
    differences = []
    for (name, seed), value in values.items():
        other = values.get((REFERENCE, seed))
        if name == method and value is not None and other is not None:
            differences.append(float(np.log(value)) if statistic == "front_ratio" else value - other)
    return differences


def _tests(statistic: str, differences: Mapping[str, list[float]]) -> Iterator[Measured]:
    raw = {method: sign_flip(values) for method, values in differences.items()}
    tested = {method: p for method, p in raw.items() if p is not None}
    corrected = dict(zip(tested, holm(list(tested.values())), strict=True))
    for method, values in differences.items():
        if method in corrected:
            note = f"{raw[method]:.3g} before Holm's correction for {len(tested)} methods"
        else:
            note = f"too few seeds: {len(values)}, a test needs {seeds_needed()}"
        yield Measured(method, f"p_{statistic}", "all", corrected.get(method), note=note)
