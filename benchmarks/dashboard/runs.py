"""What Weights & Biases is sent: one run per record, and one analysis run per sweep."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd

from ..analysis.analyses import Analysis, TrainingAnalysis
from ..analysis.leaderboard import of_analyses
from ..experiments.settings import LEARNING_RATE, AnyRun, TrainingRun
from ..messages import UserError
from ..records import Record
from ..report import FIGURES

TABLES = {"runs": "summary", "fronts": "fronts", "metrics": "metrics", "claims": "claims"}
"""What W&B calls the tables of an analysis."""
MEDIAN = 50
FIELDS = {"step": "aux", "lineKey": "method", "lineVal": "main"}
STEP = "step"
ANALYSIS = "analysis"
RELATIVE = "relative"
LEADERBOARD = "leaderboard"
TAG_LENGTH = 64


@dataclass
class WandbRun:
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
        """The run as a line of JSON."""
        return json.dumps(asdict(self)) + "\n"


def of_record(record: Record) -> WandbRun:
    """The W&B run of a record, under the record's own id, which is a hash of everything that the run is.

    A run that diverged has a history, but no end values.
    """
    run = record.run
    config = {**run.model_dump(mode="json"), "id": record.id, "environment": record.environment}
    config["cell"] = cell_of(run)
    name, tags = f"{run.label} seed {run.seed}", [run.experiment, run.scale, run.label]
    if isinstance(run, TrainingRun):
        name = f"{run.label} λ={run.lam:g} seed {run.seed}"
        config |= {"lr": run.training.lr, "data_source": record.data_source}
        config |= {"fingerprint": run.data.fingerprint}
        tags += [run.data.name, f"lr={run.training.lr:g}", *_other_axes(run)]
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
    return WandbRun(start, STEP if history and STEP in history[0] else None, history, summary)


def cell_of(run: AnyRun) -> str:
    """Method, λ, rate and other axes, experiment and scale, and a hash of all settings but the seed.

    Runs of one cell differ in nothing but the seed.
    """
    words = [run.label]
    if isinstance(run, TrainingRun):
        words += [f"λ={run.lam:g}", f"lr={run.training.lr:g}", *_other_axes(run)]
    digest = run.model_copy(update={"seed": 0}).id[:8]
    return f"{' '.join(words)} · {run.experiment}/{run.scale} · {digest}"


def _other_axes(run: TrainingRun) -> list[str]:
    return [f"{axis}={value:g}" for axis, value in run.axes.items() if axis != LEARNING_RATE]


def of_sweep(analysis: Analysis) -> WandbRun:
    """The analysis run of a sweep: its tables, figures and fronts. The figures have been drawn."""
    experiment, folder = analysis.experiment, analysis.sweep.folder
    fingerprint = analysis.sweep.manifest.fingerprint
    group = f"{experiment.name}/{experiment.scale}"
    tables = analysis.tables
    figures = sorted((folder.path / FIGURES).glob("*.png"))
    statuses = Counter(record.status for record in analysis.runs)
    start = {
        "id": f"analysis-{hashlib.sha256(f'{group} {fingerprint}'.encode()).hexdigest()[:16]}",
        "name": f"analysis of {group}",
        "group": group,
        "job_type": ANALYSIS,
        "tags": [experiment.name, experiment.scale, ANALYSIS],
        "config": {**experiment.model_dump(mode="json"), "fingerprint": fingerprint},
    }
    compares = isinstance(analysis, TrainingAnalysis)
    return WandbRun(
        start,
        summary={f"runs_{status}": count for status, count in statuses.items()} if compares else {},
        tables={
            **_leaderboard(analysis),
            **{shown: _content(tables[name]) for shown, name in TABLES.items() if name in tables},
        },
        images={f"{FIGURES}/{file.stem}": str(file.resolve()) for file in figures},
        charts=_charts(analysis) if isinstance(analysis, TrainingAnalysis) else {},
    )


def _leaderboard(analysis: Analysis) -> dict[str, dict[str, Any]]:
    """The report's leaderboard, of this sweep alone; nothing where it has no front ratios."""
    try:
        return {LEADERBOARD: _content(of_analyses([analysis]).over_all)}
    except UserError:
        return {}


def _charts(analysis: TrainingAnalysis) -> dict[str, dict[str, Any]]:
    """A line per method and protocol: main loss relative to `sum`, and what half of the seeds attain."""
    charts = {}
    curves = analysis.relative_curves
    for (protocol, split), rows in curves[curves["split"] != "validation"].groupby(
        ["protocol", "split"], sort=False
    ):
        title = f"{split}, learning rate {protocol}: main loss relative to the sum, below 1 is better"
        shown = _steps(rows.rename(columns={"median": "main"}))
        charts[f"{RELATIVE}_{protocol}_{split}"] = {"fields": FIELDS, "title": title, **_content(shown)}
    surfaces = analysis.attainment
    shown = surfaces[(surfaces["split"] != "validation") & (surfaces["percentile"] == MEDIAN)]
    for (protocol, split), rows in shown.groupby(["protocol", "split"], sort=False):
        title = f"{split} fronts, learning rate {protocol}: what half of the seeds attain"
        charts[f"front_{protocol}_{split}"] = {"fields": FIELDS, "title": title, **_content(_steps(rows))}
    return charts


def _steps(rows: pd.DataFrame) -> pd.DataFrame:
    """The corners of each method's step function, whose values hold up to the next auxiliary loss."""
    corners = rows[["method", "main", "aux"]].sort_values(["method", "aux"], kind="stable", ignore_index=True)
    held = corners.assign(main=corners.groupby("method")["main"].shift()).dropna()
    return pd.concat([held, corners]).sort_index(kind="stable")


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
