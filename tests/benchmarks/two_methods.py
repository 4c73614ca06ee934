"""A sweep of two methods with known fronts, and a row of what is measured of it."""

import numpy as np

from scalpel_bench.benchmarks.records import Record
from tests.benchmarks.runs import BOX, conditioning, plan, record

LAMS = [0.1, 0.2, 0.4, 0.8]
FACTORS = {"sum": 1.0, "bloop": 0.8}


def sweep(rates: tuple[float, ...] = (), seeds: int = 2) -> tuple[list[Record], object]:
    """End points on main = factor * exp(-10 lam), aux = 10 lam; `bloop` wins at every rate but 0.5."""
    overrides = {"lam": LAMS, "seeds": seeds, "training": {"lr": 0.1}, "box": BOX}
    if rates:
        overrides["axes"] = {"training.lr": rates}
    experiment = conditioning(**overrides)
    records = []
    for run in plan(experiment):
        if run.label not in FACTORS:
            continue
        factor = FACTORS[run.label] if run.training.lr != 0.5 else 1 / FACTORS[run.label]
        factor *= 1 + 0.1 * run.seed * (run.label == "bloop")
        quality = {0.1: 1.0, 0.5: 0.5, 1.0: 0.6}[run.training.lr]
        records.append(record(run, quality * factor * np.exp(-10 * run.lam), 10 * run.lam))
    return records, experiment


def metric(tables, protocol: str, method: str, statistic: str, seed: object, split: str = "test"):
    frame = tables.metrics
    rows = frame[
        (frame["protocol"] == protocol)
        & (frame["method"] == method)
        & (frame["statistic"] == statistic)
        & (frame["seed"] == seed)
        & (frame["split"] == split)
    ]
    assert len(rows) == 1
    return rows.iloc[0]
