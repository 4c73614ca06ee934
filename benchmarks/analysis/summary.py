"""A row per run, and which rows each learning-rate protocol uses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..experiments.schema import Experiment
from ..experiments.settings import TrainingRun
from ..records import Record
from .fronts import Points
from .indicators import REFERENCE

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Protocol:
    """A learning-rate protocol: the runs that its fronts are made of, and what it left out or chose."""

    name: str
    runs: pd.DataFrame
    note: str = ""


def summarise(records: list[Record]) -> pd.DataFrame:
    """A row per run: what it was, how it ended, and its metrics as ``<split>_<metric>``."""
    rows = []
    for record in records:
        run = record.run
        assert isinstance(run, TrainingRun)
        row: dict[str, Any] = {
            "method": run.label,
            "lam": run.lam,
            "seed": run.seed,
            "lr": run.training.lr,
            "status": record.status,
            "diverged_at": record.diverged_at,
            "id": record.id,
        }
        if record.status == "completed":
            last = record.trajectory[-1]
            row |= {f"{split}_{k}": v for split in SPLITS if split in last for k, v in last[split].items()}
        row["train_seconds"] = record.timings.get("train")
        rows.append(row)
    frame = pd.DataFrame(rows)
    frame["diverged_at"] = frame["diverged_at"].astype("Int64")
    return frame.sort_values(["method", "lr", "lam", "seed"], ignore_index=True)


def protocols(summary: pd.DataFrame, experiment: Experiment) -> Iterator[Protocol]:
    """The learning-rate protocols that the recorded runs allow.

    ``fixed``: the experiment's rate, where it was run. ``main-tuned``: the rate whose λ = 0 runs of `sum`
    have the least mean validation main loss. ``per-method``: all rates, for the methods and seeds that ran at
    all of them.
    """
    runs = summary if 0.0 in experiment.lam else summary[summary["lam"] > 0]
    fixed = runs[runs["lr"] == experiment.training.lr]
    if len(fixed):
        yield Protocol("fixed", fixed)
    rates = sorted(runs["lr"].unique())
    if len(rates) < 2:
        return
    tuning = summary[(summary["lam"] == 0) & (summary["method"] == REFERENCE)]
    if "validation_main" in tuning and set(rates) <= set(tuning["lr"]):
        losses = tuning.groupby("lr")["validation_main"].agg(lambda v: v.mean(skipna=False)).dropna()
        if len(losses):
            best = float(losses.sort_values().index[0])
            yield Protocol("main-tuned", runs[runs["lr"] == best], f"lr={best:g}")
    swept = runs.groupby("seed")["lr"].nunique() == len(rates)
    runs = runs[runs["seed"].isin(swept.index[swept])]
    counts = runs.groupby("method").size()
    equal = counts.index[counts == counts.max()]
    kept = runs[runs["method"].isin(equal)]
    note = f"lr in {', '.join(f'{r:g}' for r in rates)}"
    left = [m for m in counts.index if m not in equal]
    yield Protocol("per-method", kept, note + (f"; fewer runs: {', '.join(left)}" if left else ""))


def end_points(runs: pd.DataFrame, split: str) -> dict[tuple[str, int], Points]:
    """The ``(n, 2)`` end points (main, aux) of each method and seed; NaN where a run did not complete."""
    points: dict[tuple[str, int], Points] = {}
    for (method, seed), own in runs.groupby(["method", "seed"]):
        points[str(method), int(str(seed))] = own[[f"{split}_main", f"{split}_aux"]].to_numpy(float)
    return points


def splits(runs: pd.DataFrame) -> list[str]:
    """The splits that have losses."""
    return [split for split in SPLITS if f"{split}_main" in runs]


def end_values(summary: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Losses at the end of training on train and test, mean over the runs that have the same ``by``."""
    losses = [f"{split}_{loss}" for split in ("train", "test") for loss in ("main", "aux")]
    return summary.groupby(by)[[column for column in losses if column in summary]].mean().reset_index()
