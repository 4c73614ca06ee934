"""Hand-made records, and the verdicts on claims about them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scalpel_bench.benchmarks.analysis.protocols import protocols
from scalpel_bench.benchmarks.analysis.summary import summarise
from scalpel_bench.benchmarks.analysis.verdicts import (
    judge,
)
from scalpel_bench.benchmarks.experiments.schema import Experiment
from scalpel_bench.benchmarks.experiments.settings import TrainingRun
from scalpel_bench.benchmarks.records import Record
from tests.benchmarks.runs import BOX, conditioning, plan, record

LAMS = [0.1, 0.2, 0.4, 0.8]
Losses = Callable[[TrainingRun], tuple[float, float]]


def claim(kind: str, **settings: Any) -> dict[str, Any]:
    return {"id": kind.replace("_", "-"), "text": "t", "paper": "claim 0", "kind": kind, **settings}


def swept(claims: list[dict[str, Any]], seeds: int = 6, **overrides: Any) -> Experiment:
    settings = {"lam": LAMS, "training": {"lr": 0.1}, "box": BOX} | overrides
    return conditioning(claims=claims, seeds=seeds, **settings)


def curve(factors: dict[str, float], noise: float = 0.02) -> Losses:
    """Main = factor · exp(−aux), aux = 10 (0.9 − λ); seeds spread all factors but that of sum by ± noise."""

    def losses(run: TrainingRun) -> tuple[float, float]:
        name = run.label.partition(" (")[0]
        spread = 1 + noise * (run.seed % 3 - 1) * (name != "sum")
        aux = 10 * (0.9 - run.lam)
        return factors.get(run.label, 1.0) * spread * np.exp(-aux), aux

    return losses


def verdicts(experiment: Experiment, records: list[Record], results: Path = Path("nowhere")) -> pd.DataFrame:
    summary = summarise(records)
    by_id = {record.id: record for record in records}
    return judge(experiment, protocols(summary, experiment), by_id, results)


def answer(
    experiment: Experiment, losses: Losses, keep: Callable[[TrainingRun], bool] = bool
) -> pd.DataFrame:
    records = [record(run, *losses(run)) for run in plan(experiment) if keep(run)]
    return verdicts(experiment, records)


def verdict(claims: list[dict[str, Any]], losses: Losses, **settings: Any) -> pd.Series:
    return answer(swept(claims, **settings), losses).iloc[0]


BETTER = claim("better", method="bloop", than=["sum", "pcgrad"])
EQUAL = claim("equal", methods=["pcgrad", "dynamic_barrier"], than="sum")
