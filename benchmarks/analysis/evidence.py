"""What speaks for or against a claim: ratios or quantities per seed, and where they are claimed to lie.

Each kind of claim brings its own: `evidence` has one function per kind.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, singledispatch
from itertools import product
from typing import Literal

import pandas as pd

from ..experiments.claims import (
    Apart,
    Better,
    Bounds,
    Claim,
    Cost,
    Equal,
    LowerMixedLoss,
    TradeOff,
    Within,
    Worse,
)
from ..experiments.schema import Experiment
from ..records import Record
from . import comparisons
from .comparisons import Answer
from .statistics import Estimate, over_seeds
from .wording import with_interval

Verdict = Literal["not supported", "inconclusive", "supported"]
VERDICTS: tuple[Verdict, ...] = ("not supported", "inconclusive", "supported")


@dataclass(frozen=True)
class Evidence:
    """A ratio or quantity: a value per seed (or why there is none), and the bounds it is claimed to lie in.

    A claim is supported where the interval of the mean lies inside the bounds, not supported where it lies
    outside, and inconclusive between the two. At 95 % either error has a probability of at most 2.5 %, at
    90 % of 5 %.
    """

    name: str
    answer: Answer
    bounds: Bounds
    confidence: float = 0.95
    ratios: bool = True

    @cached_property
    def estimate(self) -> Estimate:
        """The mean over seeds and its interval."""
        values = list(self.answer[0].values())
        return over_seeds(values, len(values), self.confidence, self.ratios)

    @property
    def verdict(self) -> Verdict:
        """Where the interval lies."""
        (_, low, high, _), (least, most) = self.estimate, self.bounds
        if low is None or high is None:
            return "inconclusive"
        if least < low and high < most:
            return "supported"
        return "not supported" if high <= least or low >= most else "inconclusive"

    @property
    def rank(self) -> tuple[int, float]:
        """Orders evidence by its verdict, then by how far inside the bounds the mean lies."""
        value, (least, most) = self.estimate.value, self.bounds
        inside = -math.inf if value is None else min(value - least, most - value)
        return VERDICTS.index(self.verdict), inside

    def __str__(self) -> str:
        value, low, high, _ = self.estimate
        if value is None:
            return f"{self.name}: {self.answer[1]}"
        if low is None:
            return f"{self.name}: {value:.3f}, too few seeds for an interval (1, at least 2)"
        return f"{self.name}: {with_interval(value, low, high)}, claimed {_worded(self.bounds)}"


@dataclass(frozen=True)
class Runs:
    """The runs of one learning-rate protocol that a claim is about.

    Args:
        experiment: theirs.
        table: a row per run, as `analysis.summary.summarise` makes them.
        records: of these runs, by their ids.
    """

    experiment: Experiment
    table: pd.DataFrame
    records: Mapping[str, Record]


@dataclass(frozen=True)
class Quantities:
    """The quantities of a simulation, by seed and name."""

    by_seed: Mapping[int, Mapping[str, float]]


@singledispatch
def evidence(claim: Claim, found: Runs | Quantities) -> Iterator[list[Evidence]]:
    """The evidence for a claim; several lists where the claim may hold in several ways."""
    raise TypeError(f"no evidence is known for claims of type {type(claim).__name__}")


@evidence.register
def _(claim: Cost, found: Runs) -> Iterator[list[Evidence]]:
    times = [
        (m, comparisons.step_time_ratios(found.table, found.records, claim.method, m)) for m in claim.than
    ]
    yield [Evidence(f"step time of {claim.method} / {m}", answer, claim.bounds) for m, answer in times]


@evidence.register(Better)
@evidence.register(Worse)
def _(claim: Better | Worse, found: Runs) -> Iterator[list[Evidence]]:
    pairs = [(claim.method, other) for other in claim.than]
    yield [Evidence(*ratios, claim.bounds) for ratios in _measured(claim, pairs, found)]


@evidence.register
def _(claim: Equal, found: Runs) -> Iterator[list[Evidence]]:
    pairs = [(method, claim.than) for method in claim.methods]
    yield [Evidence(*ratios, claim.bounds, confidence=0.9) for ratios in _measured(claim, pairs, found)]


@evidence.register
def _(claim: TradeOff, found: Runs) -> Iterator[list[Evidence]]:
    less, more = (0.0, 1 - claim.margin), (1 + claim.margin, math.inf)
    for bounds in ({"main": less, "aux": more}, {"main": more, "aux": less}):
        yield [
            Evidence(
                f"{loss} of {claim.method} / {other}",
                comparisons.loss_ratios(found.table, claim.split, loss, claim.method, other),
                bounds[loss],
            )
            for other in claim.than
            for loss in bounds
        ]


@evidence.register
def _(claim: LowerMixedLoss, found: Runs) -> Iterator[list[Evidence]]:
    mixed = [
        (m, comparisons.mixed_loss_ratios(found.table, claim.split, claim.method, m, claim.t))
        for m in claim.than
    ]
    yield [Evidence(f"least mixed loss of {claim.method} / {m}", answer, claim.bounds) for m, answer in mixed]


@evidence.register
def _(claim: Apart, found: Runs) -> Iterator[list[Evidence]]:
    labels = found.experiment.labels
    log = (labels.log_main, labels.log_aux)
    answer = comparisons.separations(found.table, found.records, claim.split, claim.method, claim.than, log)
    name = f"distance of {claim.method} to the nearest / largest distance among the others"
    yield [Evidence(name, answer, claim.bounds)]


@evidence.register
def _(claim: Within, found: Quantities) -> Iterator[list[Evidence]]:
    values = {seed: of[claim.quantity] for seed, of in found.by_seed.items() if claim.quantity in of}
    known = ", ".join(next(iter(found.by_seed.values())))
    answer = (values, f"no such quantity; there are {known}")
    yield [Evidence(claim.quantity, answer, claim.bounds, ratios=False)]


def _measured(
    claim: Better | Worse | Equal, pairs: list[tuple[str, str]], found: Runs
) -> Iterator[tuple[str, Answer]]:
    """Name and ratios of each measure of each pair."""
    cap = found.experiment.region.main
    for (method, other), measure in product(pairs, claim.of):
        name = f"{measure.replace('_', ' ')} of {method} / {other}"
        if measure == "front_ratio":
            yield name, comparisons.front_ratios(found.table, claim.split, method, other, cap)
        else:
            yield name, comparisons.loss_ratios(found.table, claim.split, measure, method, other)


def _worded(bounds: Bounds) -> str:
    least, most = bounds
    if not 0 < least < math.inf:
        return f"below {most:.4g}"
    return f"above {least:.4g}" if most == math.inf else f"{least:.4g} to {most:.4g}"
