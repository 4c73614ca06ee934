"""Verdicts: each claim of an experiment, answered by its runs under each learning-rate protocol."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

import pandas as pd

from ..experiments.claims import Claim
from ..experiments.schema import Common, Experiment
from ..experiments.settings import TrainingRun
from ..records import Record
from . import comparisons
from .evidence import Evidence, Quantities, Runs, evidence
from .summary import Protocol
from .wording import with_interval

COLUMNS = [
    *("id", "text", "paper", "protocol", "split", "verdict", "effect", "low", "high"),
    *("seeds", "scale", "data", "reason"),
]


def judge(
    experiment: Experiment, protocols: Iterable[Protocol], records: Mapping[str, Record]
) -> pd.DataFrame:
    """A row for each claim and each learning-rate protocol that the runs allow.

    A claim of several comparisons is supported where each is (an intersection-union test, Berger 1982, which
    needs no correction), and not supported where one is not (an error that grows with their number).
    ``effect``, ``low`` and ``high`` are those of the comparison that decides, the weakest.

    Args:
        experiment: with its claims.
        protocols: those that the runs allow, from `analysis.summary.protocols`.
        records: of these runs, by their ids.

    Returns:
        the columns `COLUMNS`.
    """
    rows = []
    for claim, protocol in product(experiment.claims, list(protocols)):
        of = claim.labels or protocol.runs["method"].unique()
        runs = protocol.runs[protocol.runs["method"].isin(of)]
        lacking = comparisons.missing(runs, claim.labels, experiment.lam, experiment.seeds)
        diverged = int((runs["status"] == "diverged").sum())
        notes = [f"{diverged} runs diverged" if diverged else "", protocol.note]
        row = _row(claim, _alternatives(claim, Runs(experiment, runs, records)), lacking, notes)
        data = {run.data.name for id in runs["id"] if isinstance(run := records[id].run, TrainingRun)}
        rows.append(
            row | {"protocol": protocol.name, "scale": experiment.scale, "data": ", ".join(sorted(data))}
        )
    return _table(rows)


def judge_simulation(experiment: Common, quantities: Mapping[int, Mapping[str, float]]) -> pd.DataFrame:
    """A row for each claim about a simulation, from its quantities by seed and name; columns `COLUMNS`."""
    rows = []
    for claim in experiment.claims:
        absent = set(range(experiment.seeds)) - set(quantities)
        lacking = f"{len(absent)} of {experiment.seeds} runs are missing" if absent else ""
        row = _row(claim, list(evidence(claim, Quantities(quantities))), lacking, [])
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
        row[str(claim.protocol)] = (
            f"{claim.verdict} {with_interval(claim.effect, claim.low, claim.high)}".strip()
        )
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


def _row(claim: Claim, alternatives: list[list[Evidence]], lacking: str, notes: list[str]) -> dict[str, Any]:
    """The verdict of the alternative that stands best; within it, of the comparison that stands worst."""
    best = max(alternatives, key=lambda several: min(e.rank for e in several))
    decides = min(best, key=lambda e: e.rank)
    return {
        **claim.model_dump(include={"id", "text", "paper"}),
        "split": getattr(claim, "split", ""),
        "verdict": "inconclusive" if lacking else decides.verdict,
        **{"effect": decides.estimate.value, "low": decides.estimate.low, "high": decides.estimate.high},
        "seeds": len(decides.answer[0]),
        "reason": "; ".join(reason for reason in (lacking, *map(str, best), *notes) if reason),
    }


def _alternatives(claim: Claim, runs: Runs) -> list[list[Evidence]]:
    split = getattr(claim, "split", None)
    if split is not None and f"{split}_main" not in runs.table:
        return [[Evidence(split, ({}, "no values"), (0, 1))]]
    return list(evidence(claim, runs))
