"""What Weights & Biases is sent: one run per record, and one analysis run per sweep."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd

from scalpel_bench.benchmarks.analysis.fronts import front
from scalpel_bench.benchmarks.experiments.schema import LEARNING_RATE, Experiment
from scalpel_bench.benchmarks.experiments.settings import TrainingRun
from scalpel_bench.benchmarks.records.folder import Folder, Record
from scalpel_bench.benchmarks.report import derive

TABLES = {"runs": "summary.csv", "fronts": "fronts.csv", "metrics": "metrics.csv", "claims": "claims.csv"}
FIELDS = {"step": "aux", "lineKey": "method", "lineVal": "main"}
STEP = "step"
ANALYSIS = "analysis"
TAG_LENGTH = 64


@dataclass
class Job:
    """One W&B run: ``start`` are arguments of ``wandb.init``, the rest is logged."""

    start: dict[str, Any]
    step: str | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)
    charts: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The id of the W&B run."""
        return str(self.start["id"])

    def line(self) -> str:
        """The job as a line of JSON."""
        return json.dumps(asdict(self)) + "\n"


def of_record(record: Record) -> Job:
    """The W&B run of a record, under the record's own id, which is a hash of everything that the run is.

    A run that diverged has a history, but no end values.
    """
    run = record.run
    config = {**run.model_dump(mode="json"), "id": record.id, "environment": record.environment}
    name, tags = f"{run.label} seed {run.seed}", [run.experiment, run.scale, run.label]
    if isinstance(run, TrainingRun):
        name = f"{run.label} λ={run.lam:g} seed {run.seed}"
        config |= {"lr": run.training.lr, "data_source": record.data_source}
        config |= {"fingerprint": run.data.fingerprint}
        others = [f"{axis}={value:g}" for axis, value in run.axes.items() if axis != LEARNING_RATE]
        tags += [run.data.name, f"lr={run.training.lr:g}", *others]
    history = [_flat(row) for row in record.trajectory]
    summary: dict[str, Any] = dict(history[-1]) if history and record.status == "completed" else {}
    summary |= {"status": record.status, **_flat({"timings": record.timings})}
    summary |= {k: v for k in ("diverged_at", "reason") if (v := getattr(record, k)) is not None}
    start = {
        "id": record.id,
        "name": name,
        "group": f"{run.experiment}/{run.scale}",
        "job_type": run.label,
        "tags": [tag[:TAG_LENGTH] for tag in tags],
        "config": config,
    }
    return Job(start, STEP if history and STEP in history[0] else None, history, summary)


def of_sweep(folder: Folder) -> Job:
    """The analysis run of a sweep: its tables, figures and fronts, from the files beside the records.

    Raises:
        UserError: the folder is none of a sweep.
    """
    experiment, fingerprint = derive.read_manifest(folder)
    group = f"{experiment.name}/{experiment.scale}"
    frames = {name: pd.read_csv(file) for name, csv in TABLES.items() if (file := folder.path / csv).exists()}
    figures = sorted((folder.path / "figures").glob("*.png"))
    is_grid = isinstance(experiment, Experiment)
    statuses = frames["runs"]["status"].value_counts().to_dict() if is_grid else {}
    start = {
        "id": f"analysis-{hashlib.sha256(f'{group} {fingerprint}'.encode()).hexdigest()[:16]}",
        "name": f"analysis of {group}",
        "group": group,
        "job_type": ANALYSIS,
        "tags": [experiment.name, experiment.scale, ANALYSIS],
        "config": {**experiment.model_dump(mode="json"), "fingerprint": fingerprint},
    }
    return Job(
        start,
        summary={f"runs_{status}": int(count) for status, count in statuses.items()},
        tables={name: _content(frame) for name, frame in frames.items()},
        images={f"figures/{file.stem}": str(file.resolve()) for file in figures},
        charts=_charts(frames["fronts"]) if is_grid else {},
    )


def _charts(fronts: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """A line per method under each protocol: the front of all seeds together."""
    charts = {}
    shown = fronts[fronts["split"] != "validation"]
    for (protocol, split), rows in shown.groupby(["protocol", "split"], sort=False):
        kept = [
            of_method[front(of_method[["main", "aux"]].to_numpy(float))]
            for _, of_method in rows.groupby("method", sort=False)
        ]
        content = _content(pd.concat(kept)[["method", "seed", "lam", "lr", "main", "aux"]])
        title = f"{split} fronts, learning rate {protocol}"
        charts[f"front_{protocol}_{split}"] = {"fields": FIELDS, "title": title, **content}
    return charts


def _content(frame: pd.DataFrame) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(frame.to_json(orient="split", index=False, double_precision=15))
    return content


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, dict):
            flat |= {f"{key}/{inner}": v for inner, v in value.items() if v is not None}
        else:
            flat[key] = value
    return flat
