"""From records to tables: runs, fronts and metrics, under each learning-rate protocol."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from scalpel_bench.benchmarks.analysis import diagnostics, selection
from scalpel_bench.benchmarks.analysis import indicators as metrics
from scalpel_bench.benchmarks.analysis.fronts import Points, attainment, front
from scalpel_bench.benchmarks.analysis.indicators import REFERENCE
from scalpel_bench.benchmarks.experiments.schema import LEARNING_RATE, Experiment
from scalpel_bench.benchmarks.experiments.settings import TrainingRun
from scalpel_bench.benchmarks.messages.errors import UserError
from scalpel_bench.benchmarks.records.folder import Record

SPLITS = ("train", "validation", "test")
PERCENTILES = (25, 50, 75)
METRIC_COLUMNS = ["protocol", "method", "split", "statistic", "seed", "value", "low", "high", "note"]
FRONT_COLUMNS = ["protocol", "method", "split", "seed", "lam", "lr", "main", "aux"]
ATTAINMENT_COLUMNS = ["protocol", "method", "split", "percentile", "main", "aux"]


@dataclass(frozen=True)
class Protocol:
    """A learning-rate protocol: the runs that its fronts are made of, and what it left out or chose."""

    name: str
    runs: pd.DataFrame
    note: str = ""


@dataclass
class Tables:
    """What is derived from the records of one sweep."""

    summary: pd.DataFrame
    fronts: pd.DataFrame
    metrics: pd.DataFrame
    attainment: pd.DataFrame
    selected: pd.DataFrame
    diagnostics: pd.DataFrame
    left_out: list[str] = field(default_factory=list)


def analyse(records: list[Record], experiment: Experiment, fingerprint: str | None) -> Tables:
    """What is derived from the records that belong to the experiment.

    Raises:
        UserError: none does.
    """
    own, left_out = sort_out(records, experiment, fingerprint)
    if not own:
        raise UserError(f"no record belongs to {experiment.name} at scale {experiment.scale}: {left_out[0]}")
    summary = summarise(own)
    fronts, measured, surfaces, selected = [], [], [], []
    for protocol in protocols(summary, experiment):
        fronts += list(_front_rows(protocol))
        for split in _splits(protocol.runs):
            points = end_points(protocol.runs, split)
            for row in metrics.rows(points, experiment.region):
                note = "; ".join(part for part in (row.note, protocol.note) if part)
                measured.append([protocol.name, row.method, split, *row[1:-1], note])
            surfaces += [[protocol.name, *row] for row in _surface_rows(points, split)]
        chosen = selection.select(protocol.runs, experiment.region.main)
        selected += [{"protocol": protocol.name, **row} for row in chosen]
    return Tables(
        summary,
        pd.DataFrame(fronts, columns=FRONT_COLUMNS),
        pd.DataFrame(measured, columns=METRIC_COLUMNS),
        pd.DataFrame(surfaces, columns=ATTAINMENT_COLUMNS),
        pd.DataFrame(selected, columns=["protocol", *selection.COLUMNS]),
        diagnostics.frame(summary, own),
        left_out,
    )


def sort_out(
    records: list[Record], experiment: Experiment, fingerprint: str | None
) -> tuple[list[Record], list[str]]:
    """The records that belong to the experiment, one of each run, and a line for each that is left out.

    Data must have the sweep's fingerprint; where that is not known, or the task is an axis, that of most
    records with the same label.
    """
    seen = Counter((r.run.label, r.run.data.fingerprint) for r in records if isinstance(r.run, TrainingRun))
    own: dict[tuple[Any, ...], Record] = {}
    left_out = []
    for record in records:
        reason = _foreign(record, experiment)
        if not reason and isinstance(run := record.run, TrainingRun):
            reason = _other_data(run, fingerprint, seen)
            if not reason:
                twin = own.setdefault((run.label, run.lam, run.training.lr, run.seed), record)
                if twin is not record:
                    reason = f"a second record of the same method, λ, learning rate and seed as {twin.id}"
        if reason:
            left_out.append(f"{record.id}: {reason}")
    return list(own.values()), left_out


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


def _splits(runs: pd.DataFrame) -> list[str]:
    return [split for split in SPLITS if f"{split}_main" in runs]


def _front_rows(protocol: Protocol) -> Iterator[list[Any]]:
    for split in _splits(protocol.runs):
        for (method, seed), runs in protocol.runs.groupby(["method", "seed"]):
            points = runs[[f"{split}_main", f"{split}_aux"]].to_numpy(float)
            for row in runs[front(points)].sort_values(f"{split}_aux").itertuples():
                losses = [getattr(row, f"{split}_main"), getattr(row, f"{split}_aux")]
                yield [protocol.name, method, split, seed, row.lam, row.lr, *losses]


def _surface_rows(points: dict[tuple[str, int], Points], split: str) -> Iterator[list[Any]]:
    for method in dict.fromkeys(method for method, _ in points):
        by_seed = [own for (name, _), own in points.items() if name == method]
        for main, aux, percentile in attainment(by_seed, PERCENTILES):
            yield [method, split, int(percentile), main, aux]


def _foreign(record: Record, experiment: Experiment) -> str | None:
    """Why a record is not one of the experiment's, or None."""
    run = record.run
    if not isinstance(run, TrainingRun):
        return "not a training run"
    if (run.experiment, run.scale) != (experiment.name, experiment.scale):
        return f"of {run.experiment} at scale {run.scale}"
    if record.status == "completed" and not record.trajectory:
        return "completed, but with no trajectory"
    label = run.label.partition(" (")[0]
    if label not in experiment.methods:
        return f"method {label} is not in the experiment"
    sections = {
        "task": (run.task, experiment.task),
        "method": (run.method, experiment.methods[label]),
        "training": (run.training.model_dump(), experiment.training.model_dump()),
    }
    for section, (has, expected) in sections.items():
        has, expected = (_plain(settings) for settings in (has, expected))
        for key in sorted(has.keys() | expected.keys()):
            path = f"{section}.{key}"
            if path != LEARNING_RATE and path not in run.axes and has.get(key) != expected.get(key):
                return f"{path} is {has.get(key)}, not {expected.get(key)}"
    return None


def _other_data(run: TrainingRun, fingerprint: str | None, seen: Counter[tuple[str, str]]) -> str | None:
    """Why a run's data are not the sweep's, or None; ``seen`` counts labels with their data."""
    if not fingerprint or any(axis.startswith("task.") for axis in run.axes):
        same = {data: count for (label, data), count in seen.items() if label == run.label}
        fingerprint = max(same, key=lambda data: same[data])
    if run.data.fingerprint == fingerprint:
        return None
    return f"data {run.data.name} ({run.data.fingerprint}) is not the sweep's"


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()}
