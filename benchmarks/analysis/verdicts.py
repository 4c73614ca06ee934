"""Verdicts: each claim of an experiment, answered by its runs under each learning-rate protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..experiments.claims import EQUALITY, OWN, Better, Claim, Cost
from ..experiments.common import Common
from ..experiments.schema import Experiment
from ..experiments.settings import TrainingRun
from ..records import Record
from . import comparisons, indicators
from .evidence import Evidence, Quantities, Runs, evidence
from .protocols import REFERENCE, Protocol
from .statistics import LEVEL, SEEDS_FOR_A_VERDICT, Estimate, holm, over_seeds
from .wording import with_interval

COLUMNS = [
    *("id", "text", "paper", "primary", "protocol", "split", "verdict", "effect", "low", "high", "p"),
    *("seeds", "scale", "data", "reason"),
]


def judge(
    experiment: Experiment, protocols: Iterable[Protocol], records: Mapping[str, Record], results: Path
) -> pd.DataFrame:
    """A row for each claim and each learning-rate protocol that the runs allow.

    A claim of several comparisons is supported where each is (an intersection-union test, Berger 1982, which
    needs no correction), and contradicted where one is; its p-value is then multiplied by their number.
    ``effect``, ``low`` and ``high`` are those of the comparison that decides, the weakest.

    Args:
        experiment: with its claims.
        protocols: those that the runs allow, from `analysis.protocols`.
        records: of these runs, by their ids.
        results: the folder of all results, which has the record of the bench.

    Returns:
        the columns `COLUMNS`.
    """
    rows = []
    for claim, protocol in product(experiment.claims, list(protocols)):
        of = claim.labels or protocol.runs["method"].unique()
        runs = protocol.runs[protocol.runs["method"].isin(of)]
        lams = {
            label: experiment.lams(label) for label in runs["method"].unique() if experiment.own_grid(label)
        }
        lacking = ""
        if not isinstance(claim, Cost):
            missing = comparisons.missing(runs, protocol.known, claim.labels, experiment.seeds, lams)
            lacking = "; ".join(filter(None, (missing, protocol.lacking)))
        diverged = int((runs["status"] == "diverged").sum())
        notes = [f"{diverged} runs diverged" if diverged else "", protocol.note]
        found = Runs(experiment, protocol, records, results)
        by_runs = not isinstance(claim, Cost) and not comparisons.absent(runs, claim.labels)
        row = answered(claim, found, lacking, notes, experiment.miniature if by_runs else "")
        data = {run.data.name for id in runs["id"] if isinstance(run := records[id].run, TrainingRun)}
        rows.append(
            row | {"protocol": protocol.name, "scale": experiment.scale, "data": ", ".join(sorted(data))}
        )
    return corrected(_table(rows))


def answered(
    claim: Claim, found: Runs, lacking: str = "", notes: Sequence[str] = (), miniature: str = ""
) -> dict[str, Any]:
    """The verdict on a claim under one protocol, before Holm's correction: the columns about the claim.

    Args:
        claim: of the experiment.
        found: the runs that it is about.
        lacking: which of them are missing.
        notes: what else there is to say.
        miniature: why nothing is said of the paper.
    """
    no_conflict = partial(_no_conflict, claim, found)
    return _row(claim, _alternatives(claim, found), lacking, notes, miniature, no_conflict)


def judge_simulation(experiment: Common, quantities: Mapping[int, Mapping[str, float]]) -> pd.DataFrame:
    """A row for each claim about a simulation, from its quantities by seed and name; columns `COLUMNS`."""
    rows = []
    for claim in experiment.claims:
        absent = set(range(experiment.seeds)) - set(quantities)
        lacking = f"{len(absent)} of {experiment.seeds} runs are missing" if absent else ""
        row = _row(claim, list(evidence(claim, Quantities(quantities))), lacking, [], experiment.miniature)
        rows.append(row | {"protocol": "none", "scale": experiment.scale, "data": "simulated"})
    return corrected(_table(rows))


def corrected(claims: pd.DataFrame) -> pd.DataFrame:
    """The verdicts with Holm's correction for the number of primary claims, under each protocol.

    The column ``p`` stays as it is, corrected within its claim, so that it can be corrected for any family; a
    verdict that the correction changes has the corrected value in its reason.

    To be asked once more of the claims of several experiments together: then they are a larger family. Those
    of miniatures are no part of it.
    """
    claims = claims.reset_index(drop=True)
    family = claims[
        claims["primary"].astype(bool) & (claims["verdict"] != "a miniature") & claims["p"].notna()
    ]
    for _, rows in family.groupby("protocol"):
        for index, p in zip(rows.index, holm(list(rows["p"])), strict=True):
            if p >= LEVEL and rows.loc[index, "verdict"] in ("supported", "contradicted"):
                told = f"p = {p:.2g} with Holm's correction for {len(rows)} primary claims"
                claims.loc[index, "verdict"] = "inconclusive"
                claims.loc[index, "reason"] = f"{told}; {claims.loc[index, 'reason']}"
    return claims


def side_by_side(claims: pd.DataFrame) -> pd.DataFrame:
    """Verdicts to read: a row per claim, a column per learning-rate protocol.

    The column ``only`` names the protocols under which a claim is supported, where it is not under all. What
    the bench measured has no seeds.
    """
    keys = ["id", "paper", "rank", "split", "seeds", "scale", "data"]
    rows: dict[str, dict[str, Any]] = {}
    for claim in claims.itertuples():
        told = {key: getattr(claim, key, None) for key in keys}
        told["rank"] = "primary" if claim.primary else "secondary"
        told["seeds"] = claim.seeds or ""
        row = rows.setdefault(str(claim.id), told | {"only": []})
        row[str(claim.protocol)] = (
            f"{claim.verdict} {with_interval(claim.effect, claim.low, claim.high)}".strip()
        )
        row["only"] += [claim.protocol] if claim.verdict == "supported" else []
    used = list(dict.fromkeys(claims["protocol"]))
    for row in rows.values():
        everywhere = len(row["only"]) == len(row.keys() & set(used))
        row["only"] = "" if everywhere else ", ".join(row["only"])
    columns = [*keys[:4], *used, *keys[4:], "only"]
    frame = pd.DataFrame(rows.values(), columns=columns, dtype=object).fillna("")
    return frame if frame["only"].any() else frame.drop(columns="only")


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(("effect", "low", "high", "p"), float))


def _row(
    claim: Claim,
    alternatives: list[list[Evidence]],
    lacking: str,
    notes: Sequence[str],
    miniature: str,
    no_conflict: Callable[[], str] = str,
) -> dict[str, Any]:
    """The verdict of the alternative that stands best; within it, of the comparison that stands worst."""
    best = max(alternatives, key=lambda several: min(e.rank for e in several))
    decides = min(best, key=lambda e: e.rank)
    verdict, why = "inconclusive", lacking
    if not lacking:
        verdict, why = _weighed(best, decides, no_conflict)
    if miniature and claim.paper != OWN:
        verdict, why = "a miniature", f"no verdict on the paper: {miniature}; {why}".removesuffix("; ")
    return {
        **claim.model_dump(include={"id", "text", "paper", "primary"}),
        "split": getattr(claim, "split", ""),
        "verdict": verdict,
        **{"effect": decides.estimate.value, "low": decides.estimate.low, "high": decides.estimate.high},
        "p": _p(best, decides),
        "seeds": len(decides.answer[0]),
        "reason": "; ".join(reason for reason in (why, *map(str, best), *notes) if reason),
    }


def _weighed(best: list[Evidence], decides: Evidence, no_conflict: Callable[[], str]) -> tuple[str, str]:
    """The verdict that the evidence allows, and why it is not what the deciding comparison says."""
    if decides.standing == "inconclusive":
        return "inconclusive", decides.too_few
    if none := no_conflict():
        return "no conflict here", none
    asked = best if decides.standing == "supported" else [decides]
    others = dict.fromkeys(name for e in asked for name in e.disagreeing)
    if others:
        return "depends on the measure", f"not confirmed by: {', '.join(others)}"
    return decides.standing, ""


def _p(best: list[Evidence], decides: Evidence) -> float | None:
    if decides.standing == "contradicted":
        return None if decides.p is None else min(1.0, len(best) * decides.p)
    known = [e.p for e in best if e.p is not None]
    return max(known) if known else None


def _no_conflict(claim: Claim, found: Runs) -> str:
    """Says so where better fronts are claimed, and λ > 0 costs `sum` less than 2 % of main loss."""
    if not isinstance(claim, Better) or "front_ratio" not in claim.of:
        return ""
    cost = conflict(found, claim.split)
    if cost.high is None or cost.high >= 1 + EQUALITY:
        return ""
    shown = with_interval(cost.value, cost.low, cost.high)
    return f"λ > 0 costs {REFERENCE} no main loss: {shown} of that at the least λ"


def conflict(found: Runs, split: str) -> Estimate:
    """The conflict index: the main loss of `sum` at greater λ over that at the least, inside the box.

    A mean over seeds of `analysis.indicators.conflict`; none where a seed has none, or seeds are too few.
    """
    box = found.boxes(split)
    points, _ = found.protocol.pair(REFERENCE, REFERENCE).points(split)
    if box is None or len(points) < SEEDS_FOR_A_VERDICT:
        return Estimate(None)
    costs = indicators.conflict(points, box)
    return (
        Estimate(None) if np.isnan(costs).any() else over_seeds(list(np.exp(costs)), len(costs), ratios=True)
    )


def _alternatives(claim: Claim, found: Runs) -> list[list[Evidence]]:
    split = getattr(claim, "split", None)
    if split is not None and f"{split}_main" not in found.protocol.runs:
        return [[Evidence(split, ({}, "no values"), (0, 1))]]
    return list(evidence(claim, found))
