"""Verdicts: each claim of an experiment, answered by its runs under each learning-rate protocol."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, Literal

import pandas as pd

from scalpel_bench.benchmarks.analysis import comparisons
from scalpel_bench.benchmarks.analysis.comparisons import Answer
from scalpel_bench.benchmarks.analysis.statistics import Estimate, over_seeds
from scalpel_bench.benchmarks.analysis.tables import protocols
from scalpel_bench.benchmarks.experiments.claims import (
    AnyClaim,
    Better,
    Bounds,
    Comparison,
    Cost,
    Equal,
    LowerMixedLoss,
    TradeOff,
    Worse,
)
from scalpel_bench.benchmarks.experiments.schema import Experiment, NoiseExperiment, RatesExperiment
from scalpel_bench.benchmarks.experiments.settings import TrainingRun
from scalpel_bench.benchmarks.records.folder import Record

Verdict = Literal["not supported", "inconclusive", "supported"]
VERDICTS: tuple[Verdict, ...] = ("not supported", "inconclusive", "supported")
SimulatedExperiment = NoiseExperiment | RatesExperiment
COLUMNS = [
    *("id", "text", "paper", "protocol", "split", "verdict", "effect", "low", "high"),
    *("seeds", "scale", "data", "reason"),
]


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
        return f"{self.name}: {value:.3f} [{low:.3f}, {high:.3f}], claimed {_worded(self.bounds)}"


def judge(experiment: Experiment, summary: pd.DataFrame, records: Iterable[Record]) -> pd.DataFrame:
    """A row for each claim and each learning-rate protocol that the runs allow.

    A claim of several comparisons is supported where each is (an intersection-union test, Berger 1982, which
    needs no correction), and not supported where one is not (an error that grows with their number).
    ``effect``, ``low`` and ``high`` are those of the comparison that decides, the weakest.

    Args:
        experiment: with its claims.
        summary: a row per run, from `analysis.tables.summarise`.
        records: of these runs.

    Returns:
        the columns `COLUMNS`.
    """
    by_id = {record.id: record for record in records}
    rows = []
    for claim, protocol in product(experiment.claims, list(protocols(summary, experiment))):
        runs = protocol.runs[protocol.runs["method"].isin(claim.labels)]
        lacking = comparisons.missing(runs, claim.labels, experiment.lam, experiment.seeds)
        diverged = int((runs["status"] == "diverged").sum())
        notes = [f"{diverged} runs diverged" if diverged else "", protocol.note]
        row = _row(claim, list(_alternatives(claim, experiment, runs, by_id)), lacking, notes)
        data = {run.data.name for id in runs["id"] if isinstance(run := by_id[id].run, TrainingRun)}
        rows.append(
            row | {"protocol": protocol.name, "scale": experiment.scale, "data": ", ".join(sorted(data))}
        )
    return _table(rows)


def judge_simulation(
    experiment: SimulatedExperiment, quantities: Mapping[int, Mapping[str, float]]
) -> pd.DataFrame:
    """A row for each claim about a simulation, from its quantities by seed and name; columns `COLUMNS`."""
    rows = []
    for claim in experiment.claims:
        values = {seed: of[claim.quantity] for seed, of in quantities.items() if claim.quantity in of}
        known = ", ".join(next(iter(quantities.values())))
        answer = (values, f"no such quantity; there are {known}")
        evidence = Evidence(claim.quantity, answer, claim.bounds, ratios=False)
        absent = set(range(experiment.seeds)) - set(quantities)
        lacking = f"{len(absent)} of {experiment.seeds} runs are missing" if absent else ""
        row = _row(claim, [[evidence]], lacking, [])
        rows.append(row | {"protocol": "none", "scale": experiment.scale, "data": "simulated"})
    return _table(rows)


def side_by_side(claims: pd.DataFrame) -> pd.DataFrame:
    """Verdicts to read: a row per claim, a column per learning-rate protocol.

    The column ``only`` names the protocols under which a claim is supported, where it is not under all.
    """
    keys = ["id", "paper", "split", "seeds", "scale", "data"]
    rows: dict[str, dict[str, Any]] = {}
    for claim in claims.itertuples():
        row = rows.setdefault(str(claim.id), {key: getattr(claim, key) for key in keys} | {"only": []})
        row[str(claim.protocol)] = f"{claim.verdict} {_interval(claim)}".strip()
        row["only"] += [claim.protocol] if claim.verdict == "supported" else []
    used = list(dict.fromkeys(claims["protocol"]))
    for row in rows.values():
        everywhere = len(row["only"]) == len(row.keys() & set(used))
        row["only"] = "" if everywhere else ", ".join(row["only"])
    columns = [*keys[:3], *used, *keys[3:], "only"]
    frame = pd.DataFrame(rows.values(), columns=columns, dtype=object).fillna("")
    return frame if frame["only"].any() else frame.drop(columns="only")


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(("effect", "low", "high"), float))


def _row(
    claim: AnyClaim, alternatives: list[list[Evidence]], lacking: str, notes: list[str]
) -> dict[str, Any]:
    """The verdict of the alternative that stands best; within it, of the comparison that stands worst."""
    evidence = max(alternatives, key=lambda several: min(e.rank for e in several))
    decides = min(evidence, key=lambda e: e.rank)
    return {
        **claim.model_dump(include={"id", "text", "paper"}),
        "split": getattr(claim, "split", ""),
        "verdict": "inconclusive" if lacking else decides.verdict,
        **{"effect": decides.estimate.value, "low": decides.estimate.low, "high": decides.estimate.high},
        "seeds": len(decides.answer[0]),
        "reason": "; ".join(reason for reason in (lacking, *map(str, evidence), *notes) if reason),
    }


def _alternatives(
    claim: Comparison, experiment: Experiment, runs: pd.DataFrame, records: Mapping[str, Record]
) -> Iterator[list[Evidence]]:
    """The evidence for a claim; several lists where it may hold in several ways."""
    if isinstance(claim, Cost):
        times = [(m, comparisons.step_time_ratios(runs, records, claim.method, m)) for m in claim.than]
        yield [Evidence(f"step time of {claim.method} / {m}", answer, claim.bounds) for m, answer in times]
    elif f"{claim.split}_main" not in runs:
        yield [Evidence(claim.split, ({}, "no values"), (0, 1))]
    elif isinstance(claim, Better | Worse):
        pairs = [(claim.method, other) for other in claim.than]
        yield [Evidence(*found, claim.bounds) for found in _measured(claim, pairs, experiment, runs)]
    elif isinstance(claim, Equal):
        pairs = [(method, claim.than) for method in claim.methods]
        yield [Evidence(*found, claim.bounds, 0.9) for found in _measured(claim, pairs, experiment, runs)]
    elif isinstance(claim, TradeOff):
        less, more = (0.0, 1 - claim.margin), (1 + claim.margin, math.inf)
        for bounds in ({"main": less, "aux": more}, {"main": more, "aux": less}):
            yield [
                Evidence(
                    f"{loss} of {claim.method} / {other}",
                    comparisons.loss_ratios(runs, claim.split, loss, claim.method, other),
                    bounds[loss],
                )
                for other in claim.than
                for loss in bounds
            ]
    elif isinstance(claim, LowerMixedLoss):
        mixed = [
            (m, comparisons.mixed_loss_ratios(runs, claim.split, claim.method, m, claim.t))
            for m in claim.than
        ]
        yield [
            Evidence(f"least mixed loss of {claim.method} / {m}", answer, claim.bounds) for m, answer in mixed
        ]
    else:
        log = (experiment.labels.log_main, experiment.labels.log_aux)
        answer = comparisons.separations(runs, records, claim.split, claim.method, claim.than, log)
        name = f"distance of {claim.method} to the nearest / largest distance among the others"
        yield [Evidence(name, answer, claim.bounds)]


def _measured(
    claim: Better | Worse | Equal, pairs: list[tuple[str, str]], experiment: Experiment, runs: pd.DataFrame
) -> Iterator[tuple[str, Answer]]:
    """Name and ratios of each measure of each pair."""
    for (method, other), measure in product(pairs, claim.of):
        name = f"{measure.replace('_', ' ')} of {method} / {other}"
        if measure == "front_ratio":
            yield name, comparisons.front_ratios(runs, claim.split, method, other, experiment.region.main)
        else:
            yield name, comparisons.loss_ratios(runs, claim.split, measure, method, other)


def _worded(bounds: Bounds) -> str:
    least, most = bounds
    if not 0 < least < math.inf:
        return f"below {most:.4g}"
    return f"above {least:.4g}" if most == math.inf else f"{least:.4g} to {most:.4g}"


def _interval(claim: Any) -> str:
    if pd.isna(claim.effect):
        return ""
    return f"{claim.effect:.3f}" + ("" if pd.isna(claim.low) else f" [{claim.low:.3f}, {claim.high:.3f}]")
