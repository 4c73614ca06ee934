"""What speaks for or against a claim: ratios or quantities per seed, and where they are claimed to lie.

Each kind of claim brings its own: `evidence` has one function per kind.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, singledispatch
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np

from ..experiments.box import Boxes
from ..experiments.claims import (
    TUNED,
    Apart,
    Better,
    Claim,
    Cost,
    Equal,
    Limits,
    LowerMixedLoss,
    TradeOff,
    Within,
    Worse,
)
from ..experiments.schema import Experiment
from ..records import Record
from . import comparisons, indicators, multitask
from .comparisons import Answer
from .cost import step_ratio
from .protocols import REFERENCE, Pair, Protocol
from .statistics import LEVEL, SEEDS_FOR_A_VERDICT, Estimate, over_seeds, p_above
from .wording import with_interval

Standing = Literal["contradicted", "inconclusive", "supported"]
STANDINGS: tuple[Standing, ...] = ("contradicted", "inconclusive", "supported")


@dataclass(frozen=True)
class Evidence:
    """A ratio or quantity: a value per seed (or why there is none), and the bounds it is claimed to lie in.

    A claim is supported where the interval of the mean lies inside the bounds, contradicted where it lies
    outside, and inconclusive between the two, or with fewer than six seeds. At 95 % either error has a
    probability of at most 2.5 %, at 90 % of 5 %.

    Args:
        alternatives: the same ratio's mean inside other boxes, and of fronts of equally many λ.
        effects: by how much the method is worse on average by other indicators.
        equality: whether the bounds are a margin around 1; then effects, which know no margin, say nothing.
        alike: ratios per seed that must say the same: of mean end points, of fronts that are drawn as lines.
        measured: the value and interval of the bench, which has no seeds.
    """

    name: str
    answer: Answer
    bounds: Limits
    confidence: float = 1 - LEVEL
    ratios: bool = True
    alternatives: Mapping[str, float] = field(default_factory=dict)
    effects: Mapping[str, float] = field(default_factory=dict)
    equality: bool = False
    alike: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    measured: Estimate | None = None

    @cached_property
    def estimate(self) -> Estimate:
        """The mean over seeds and its interval."""
        values = list(self.answer[0].values())
        return self.measured or over_seeds(values, len(values), self.confidence, self.ratios)

    @property
    def too_few(self) -> str:
        """How many seeds there are of those that a verdict needs, where they are fewer."""
        count = len(self.answer[0])
        few = self.measured is None and 0 < count < SEEDS_FOR_A_VERDICT
        return f"{count} of {SEEDS_FOR_A_VERDICT} seeds" if few else ""

    @property
    def standing(self) -> Standing:
        """Where the interval lies."""
        return "inconclusive" if self.too_few else self._standing(self.estimate)

    def _standing(self, estimate: Estimate) -> Standing:
        (_, low, high, _), (least, most) = estimate, self.bounds
        if low is None or high is None:
            return "inconclusive"
        if least < low and high < most:
            return "supported"
        return "contradicted" if high <= least or low >= most else "inconclusive"

    @property
    def rank(self) -> tuple[int, float]:
        """Orders evidence by its standing, then by how far inside the bounds the mean lies."""
        value, (least, most) = self.estimate.value, self.bounds
        within = -math.inf if value is None else min(value - least, most - value)
        return STANDINGS.index(self.standing), within

    @property
    def p(self) -> float | None:
        """The p-value of what the interval says, below 0.05 where that is not inconclusive."""
        least, most = self.bounds
        values = list(self.answer[0].values())
        if self.ratios:
            values = [float(v) for v in np.log(values)] if values else []
            least, most = (math.log(bound) if bound > 0 else -math.inf for bound in (least, most))
        negated = [-value for value in values]
        outside = self.standing == "contradicted"
        sides = [(negated, -least), (values, most)] if outside else [(values, least), (negated, -most)]
        found = [p_above(of, bound) for of, bound in sides if math.isfinite(bound)]
        known = [p for p in found if p is not None]
        if not known:
            return None
        return min(1.0, LEVEL / ((1 - self.confidence) / 2) * (min if outside else max)(known))

    @property
    def disagreeing(self) -> list[str]:
        """What does not bear the ratio out: those alike by their intervals, the others on average."""
        value = self.estimate.value
        if value is None:
            return []
        apart = [name for name, of in self._alike.items() if self._standing(of) != self.standing]
        apart += [name for name, of in self.alternatives.items() if self._side(of) != self._side(value)]
        if self.equality:
            return apart
        return apart + [name for name, of in self.effects.items() if of * math.log(value) < 0]

    def _side(self, value: float) -> int:
        """Whether a value lies below the bounds, inside, or above."""
        least, most = self.bounds
        return -1 if value <= least else int(value >= most)

    @cached_property
    def _alike(self) -> dict[str, Estimate]:
        return {
            name: over_seeds(list(of.values()), len(of), self.confidence, ratios=True)
            for name, of in self.alike.items()
            if of
        }

    def __str__(self) -> str:
        value, low, high, _ = self.estimate
        if value is None:
            return f"{self.name}: {self.answer[1]}"
        least = 0.0 if self.ratios else -math.inf
        told = f"{self.name}: {with_interval(value, low, high)}, claimed {_worded(self.bounds, least)}"
        others = [f"{name}: {with_interval(*of[:3])}" for name, of in self._alike.items()]
        others += [f"{name}: {of:.3f}" for name, of in self.alternatives.items()]
        few = f" ({self.too_few})" * bool(self.too_few)
        return told + few + (f" ({', '.join(others)})" if others else "")


@dataclass(frozen=True)
class Runs:
    """The runs that a claim is about.

    Args:
        experiment: theirs.
        protocol: the learning-rate protocol, with a row per run.
        records: of these runs, by their ids.
        results: the folder of all results, which has the record of the bench.
    """

    experiment: Experiment
    protocol: Protocol
    records: Mapping[str, Record]
    results: Path

    def boxes(self, split: str) -> Boxes | None:
        """The box of a split, and its alternatives."""
        return self.experiment.box.of(split) if self.experiment.box else None


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
    measured = step_ratio(found.results, claim.method, claim.on, claim.sum_takes)
    where = f"`scalpel bench` on {claim.on}, not these runs; median and quartiles"
    name = f"step of {claim.method} / step of {REFERENCE} with {claim.sum_takes} ({where})"
    yield [Evidence(name, ({}, measured.note), claim.bounds, measured=measured)]


@evidence.register(Better)
@evidence.register(Worse)
def _(claim: Better | Worse, found: Runs) -> Iterator[list[Evidence]]:
    pairs = [found.protocol.pair(claim.method, other) for other in claim.than]
    yield [_measured(claim, pair, measure, found) for pair, measure in product(pairs, claim.of)]


@evidence.register
def _(claim: Equal, found: Runs) -> Iterator[list[Evidence]]:
    pairs = [found.protocol.pair(method, claim.than) for method in claim.methods]
    yield [_measured(claim, pair, measure, found) for pair, measure in product(pairs, claim.of)]


@evidence.register
def _(claim: TradeOff, found: Runs) -> Iterator[list[Evidence]]:
    less, more = (0.0, 1 - claim.margin), (1 + claim.margin, math.inf)
    pairs = [found.protocol.pair(claim.method, other) for other in claim.than]
    for bounds in ({"main": less, "aux": more}, {"main": more, "aux": less}):
        yield [
            Evidence(
                _named(loss, pair),
                comparisons.loss_ratios(pair, claim.split, loss, found.boxes(claim.split)),
                bounds[loss],
                confidence=1 - LEVEL / 2,  # two ways to be supported by chance
            )
            for pair in pairs
            for loss in bounds
        ]


@evidence.register
def _(claim: LowerMixedLoss, found: Runs) -> Iterator[list[Evidence]]:
    pairs = [found.protocol.pair(claim.method, other) for other in claim.than]
    box = found.boxes(claim.split)
    yield [
        Evidence(
            _named("least mixed loss", pair),
            comparisons.mixed_loss_ratios(pair, claim.split, claim.t, box),
            claim.bounds,
        )
        for pair in pairs
    ]


@evidence.register
def _(claim: Apart, found: Runs) -> Iterator[list[Evidence]]:
    labels = found.experiment.labels
    log = (labels.log_main, labels.log_aux)
    answer = comparisons.separations(
        found.protocol.runs, found.records, claim.split, claim.method, claim.than, log
    )
    name = f"distance of {claim.method} to the nearest / largest distance among the others"
    yield [Evidence(name, answer, claim.bounds)]


@evidence.register
def _(claim: Within, found: Quantities) -> Iterator[list[Evidence]]:
    values = {seed: of[claim.quantity] for seed, of in found.by_seed.items() if claim.quantity in of}
    known = ", ".join(next(iter(found.by_seed.values()), {}))
    answer = (values, f"no such quantity; there are {known}")
    yield [Evidence(claim.quantity, answer, claim.bounds, ratios=False)]


def _measured(claim: Better | Worse | Equal, pair: Pair, measure: str, found: Runs) -> Evidence:
    """The ratios of one measure of one pair."""
    equality = isinstance(claim, Equal)
    confidence = 1 - 2 * LEVEL if equality else 1 - LEVEL
    name, box, split = _named(measure.replace("_", " "), pair), found.boxes(claim.split), claim.split
    lam = None if isinstance(claim.lam, str) else claim.lam
    if measure == "delta_m":
        answer = multitask.ratios(found.protocol, found.experiment, split, (pair.method, pair.other), lam)
        return Evidence(_named("1 + Δm", pair), answer, claim.bounds, confidence, equality=equality)
    if measure != "front_ratio":
        if claim.lam == TUNED:
            answer = comparisons.tuned_ratios(pair, split, measure)
        else:
            answer = comparisons.loss_ratios(pair, split, measure, box, lam)
        return Evidence(name, answer, claim.bounds, confidence, equality=equality)
    answer = comparisons.front_ratios(pair, split, box)
    alternatives, effects, alike = {}, {}, {}
    if box and answer[0]:
        for which, alternative in box.alternatives.items():
            ratios = indicators.front_ratio(*pair.points(split), alternative)
            alternatives[which] = float(np.exp(np.log(ratios).mean()))
        if (thinned := comparisons.with_as_many_lam(pair, split, box)) is not None:
            alternatives["fronts of as many λ"] = thinned
        effects = comparisons.effects(pair, split, box)
        alike["mean front"] = comparisons.mean_front_ratios(pair, split, box)
        alike["fronts as lines"] = comparisons.line_ratios(pair, split, box)
    return Evidence(name, answer, claim.bounds, confidence, True, alternatives, effects, equality, alike)


def _named(what: str, pair: Pair) -> str:
    return f"{what} of {pair.method} / {pair.other}" + (f" ({pair.note})" if pair.note else "")


def _worded(bounds: Limits, unbounded: float) -> str:
    least, most = bounds
    if most == math.inf:
        return f"above {least:.4g}"
    return f"{least:.4g} to {most:.4g}" if least > unbounded else f"below {most:.4g}"
