"""Where runs come to rest: distances between methods, and power laws of these and of the best settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd

from ...words import unknown
from ..experiments.claims import AtRest, BestSettingSlope, DistanceSlope, RelativeDistance
from ..experiments.settings import TrainingRun, variation
from ..records import Record
from .comparisons import Answer
from .evidence import Evidence, Runs, evidence

Axes = Mapping[str, float]
_LEAST = 1e-12
"""Nats: below it a distance is rounding, and its logarithm says nothing."""


class Unanswered(Exception):
    """Why the runs do not answer a claim."""


def at_rest(record: Record, metric: str) -> float:
    """A train metric of a completed run, averaged over the evaluations of the second half of training."""
    last = record.trajectory[-1]["step"]
    return float(np.mean([row["train"][metric] for row in record.trajectory if 2 * row["step"] > last]))


def rest_points(records: Iterable[Record], metrics: Sequence[str]) -> pd.DataFrame:
    """A row per completed run: ``method``, ``lam``, ``seed``, ``lr``, its axes, and its `at_rest` metrics."""
    rows = []
    for record in records:
        run = record.run
        assert isinstance(run, TrainingRun)
        own = {"method": run.method_label, "lam": run.lam, "seed": run.seed, "lr": run.training.lr}
        rows.append({**own, **run.axes, **{metric: at_rest(record, metric) for metric in metrics}})
    return pd.DataFrame(rows)


def slope(x: Iterable[float], y: Iterable[float]) -> float:
    """Of log y over log x, by least squares."""
    return float(np.polyfit(np.log(list(x)), np.log(list(y)), 1)[0])


def lowest(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Where the parabola of log y over log x through the least y and its neighbours is lowest.

    None where the least y is at an end.
    """
    i = int(np.argmin(y))
    if i in (0, len(y) - 1):
        return None
    a, b, _ = np.polyfit(np.log(x[i - 1 : i + 2]), np.log(y[i - 1 : i + 2]), 2)
    return float(np.exp(-b / (2 * a)))


@evidence.register
def _(claim: RelativeDistance, found: Runs) -> Iterator[list[Evidence]]:
    runs = _Resting(claim, found)
    variants = [name for method in claim.methods for name in runs.variants(method) or [method]]
    yield [
        Evidence(
            f"distance of {name} to {claim.to} / that of {claim.than}",
            runs.answer(partial(runs.ratio, name, claim.to, claim.than, {})),
            claim.bounds,
        )
        for name in variants
        if name != claim.to
    ] or [Evidence(f"distance to {claim.to}", ({}, f"no runs but those of {claim.to}"), claim.bounds)]


@evidence.register
def _(claim: DistanceSlope, found: Runs) -> Iterator[list[Evidence]]:
    runs = _Resting(claim, found)

    def of(seed: int) -> float:
        places = [{claim.over: value} for value in claim.values]
        ratios = [runs.ratio(claim.method, claim.to, claim.than, place, seed) for place in places]
        return slope(claim.values, ratios)

    name = f"slope of log (distance of {claim.method} to {claim.to} / that of {claim.than}) over {claim.over}"
    yield [Evidence(name, runs.answer(of), claim.bounds, ratios=False)]


@evidence.register
def _(claim: BestSettingSlope, found: Runs) -> Iterator[list[Evidence]]:
    runs = _Resting(claim, found)

    def of(seed: int) -> float:
        return slope(claim.values, [runs.best(claim, {claim.over: value}, seed) for value in claim.values])

    name = f"slope of the log of {claim.setting} of least {claim.metric} over log {claim.over}"
    yield [Evidence(name, runs.answer(of), claim.bounds, ratios=False)]


class _Resting:
    """The completed runs that a claim is about."""

    def __init__(self, claim: AtRest, found: Runs) -> None:
        self.claim = claim
        self.seeds = range(found.experiment.seeds)
        self.records = [
            (run, record)
            for record in found.records.values()
            if record.status == "completed"
            and isinstance(run := record.run, TrainingRun)
            and run.lam == claim.lam
            and _agree(run, claim.at)
        ]

    def answer(self, of: Callable[[int], float]) -> Answer:
        """A value for every planned seed, or none and why: no seed is left out."""
        try:
            return {seed: of(seed) for seed in self.seeds}, ""
        except Unanswered as reason:
            return {}, str(reason)

    def variants(self, method: str) -> list[str]:
        """The names of all variants of a method."""
        return sorted({self._name(run, {}) for run, _ in self.records if run.method_label == method})

    def ratio(self, method: str, to: str, than: str, place: Axes, seed: int) -> float:
        """The distance between two methods over that between ``than`` and the second."""
        points = [
            np.array([at_rest(self._one(name, place, seed), loss) for loss in ("main", "aux")])
            for name in (method, than, to)
        ]
        distance, unit = (max(float(np.linalg.norm(point - points[2])), _LEAST) for point in points[:2])
        return distance / unit

    def best(self, claim: BestSettingSlope, place: Axes, seed: int) -> float:
        """The value of the setting at which the metric is least."""
        found: dict[float, float] = {}
        for run, record in self.records:
            if run.method_label == claim.method and run.seed == seed and _agree(run, place):
                if (setting := run.axes[claim.setting]) in found:
                    raise Unanswered(f"{_told({**place, 'seed': seed})}: several runs at {setting:g}")
                if claim.metric not in (known := record.trajectory[-1]["train"]):
                    raise Unanswered(unknown("metric", claim.metric, known))
                if (value := at_rest(record, claim.metric)) <= 0:
                    told = f"{claim.metric} {value:.3g} has no logarithm"
                    raise Unanswered(f"{_told({**place, 'seed': seed})}: {told}")
                found[setting] = value
        settings = sorted(found)
        best = lowest(settings, [found[setting] for setting in settings]) if found else None
        if best is None:
            least = (
                f"least at {min(found, key=lambda s: found[s]):g}, an end of the grid" if found else "no runs"
            )
            raise Unanswered(f"{_told({**place, 'seed': seed})}: {least}")
        return best

    def _one(self, name: str, place: Axes, seed: int) -> Record:
        of = [
            record
            for run, record in self.records
            if run.seed == seed and _agree(run, place) and self._name(run, place) == name
        ]
        if len(of) != 1:
            raise Unanswered(
                f"{_told({**place, 'seed': seed})}: {len(of)} completed runs of {name}, expected 1"
            )
        return of[0]

    def _name(self, run: TrainingRun, place: Axes) -> str:
        """The label of a run, without the axes whose values the claim gives."""
        given = {*self.claim.at, *place}
        return run.method_label + variation({axis: v for axis, v in run.axes.items() if axis not in given})


def _agree(run: TrainingRun, place: Axes) -> bool:
    """Whether a run has these values of axes."""
    return all(run.axes.get(axis) == value for axis, value in place.items())


def _told(place: Axes) -> str:
    return ", ".join(f"{axis.partition('.')[2] or axis} {value:g}" for axis, value in place.items())
