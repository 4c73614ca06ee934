"""A row per run of a sweep."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ..experiments.settings import TrainingRun
from ..messages import UserError
from ..records import Record

SPLITS = ("train", "validation", "test")


def summarise(records: list[Record], aux: str = "aux") -> pd.DataFrame:
    """A row per run: what it was, how it ended, and its metrics as ``<split>_<metric>``.

    ``aux`` is the metric that stands as ``<split>_aux``, for fronts of another loss than the auxiliary one.

    Raises:
        UserError: a run was recorded without it.
    """
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
            if aux != "aux":
                row |= {f"{split}_aux": _metric(record, split, aux) for split in SPLITS if split in last}
        row["train_seconds"] = record.timings.get("train")
        rows.append(row)
    frame = pd.DataFrame(rows)
    frame = frame.astype({"diverged_at": "Int64", "train_seconds": float})
    return frame.sort_values(["method", "lr", "lam", "seed"], ignore_index=True)


def _metric(record: Record, split: str, name: str) -> float:
    last = record.trajectory[-1][split]
    if name not in last:
        told = f"run {record.id} was recorded without {name}, which the experiment's fronts are of"
        raise UserError(f"{told}: sweep it again")
    return float(last[name])


def splits(runs: pd.DataFrame) -> list[str]:
    """The splits that have losses."""
    return [split for split in SPLITS if f"{split}_main" in runs]


def end_values(summary: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Losses at the end of training on train and test, mean over the runs that have the same ``by``."""
    losses = [f"{split}_{loss}" for split in ("train", "test") for loss in ("main", "aux")]
    return summary.groupby(by)[[column for column in losses if column in summary]].mean().reset_index()
