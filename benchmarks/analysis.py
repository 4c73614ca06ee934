"""From records to tables: runs, fronts and metrics, under each learning-rate protocol."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import bootstrap

from benchmarks.experiment import LEARNING_RATE, Experiment
from benchmarks.fronts import front, front_ratio, hypervolume
from benchmarks.records import Record
from benchmarks.settings import TrainingRun

REFERENCE = "sum"
SPLITS = ("train", "validation", "test")
METRIC_COLUMNS = ["protocol", "method", "split", "statistic", "seed", "value", "low", "high", "note"]
FRONT_COLUMNS = ["protocol", "method", "split", "seed", "lam", "lr", "main", "aux"]


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
    left_out: list[str] = field(default_factory=list)


def analyse(records: list[Record], experiment: Experiment, fingerprint: str | None) -> Tables:
    """Summary, fronts and metrics of the records that belong to the experiment."""
    own, left_out = [], []
    for record in records:
        reason = _foreign(record, experiment, fingerprint)
        if reason:
            left_out.append(f"{record.id}: {reason}")
        else:
            own.append(record)
    summary = summarise(own)
    fronts, metrics = [], []
    for protocol in protocols(summary, experiment) if own else ():
        fronts += list(_front_rows(protocol))
        metrics += list(_metric_rows(protocol, experiment))
    return Tables(
        summary,
        pd.DataFrame(fronts, columns=FRONT_COLUMNS),
        pd.DataFrame(metrics, columns=METRIC_COLUMNS),
        left_out,
    )


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
    if not rows:
        return pd.DataFrame()
    frame = pd.DataFrame(rows)
    frame["diverged_at"] = frame["diverged_at"].astype("Int64")
    return frame.sort_values(["method", "lr", "lam", "seed"], ignore_index=True)


def protocols(summary: pd.DataFrame, experiment: Experiment) -> Iterator[Protocol]:
    """The learning-rate protocols that the recorded runs allow.

    ``fixed``: the experiment's rate. ``main-tuned``: the rate whose λ = 0 runs of `sum` have the least mean
    validation main loss. ``per-method``: all rates, for the methods that ran at all of them.
    """
    runs = summary if 0.0 in experiment.lam else summary[summary["lam"] > 0]
    yield Protocol("fixed", runs[runs["lr"] == experiment.training.lr])
    rates = sorted(runs["lr"].unique())
    if len(rates) < 2:
        return
    tuning = summary[(summary["lam"] == 0) & (summary["method"] == REFERENCE)]
    if "validation_main" in tuning and set(rates) <= set(tuning["lr"]):
        losses = tuning.groupby("lr")["validation_main"].agg(lambda v: v.mean(skipna=False)).dropna()
        if len(losses):
            best = float(losses.sort_values().index[0])
            yield Protocol("main-tuned", runs[runs["lr"] == best], f"lr={best:g}")
    counts = runs.groupby("method").size()
    equal = counts.index[counts == counts.max()]
    kept = runs[runs["method"].isin(equal)]
    note = f"lr in {', '.join(f'{r:g}' for r in rates)}"
    left = [m for m in counts.index if m not in equal]
    yield Protocol("per-method", kept, note + (f"; fewer runs: {', '.join(left)}" if left else ""))


def _points(runs: pd.DataFrame, split: str) -> Any:
    return runs[[f"{split}_main", f"{split}_aux"]].to_numpy(float)


def _splits(runs: pd.DataFrame) -> list[str]:
    return [split for split in SPLITS if f"{split}_main" in runs]


def _front_rows(protocol: Protocol) -> Iterator[list[Any]]:
    for split in _splits(protocol.runs):
        for (method, seed), runs in protocol.runs.groupby(["method", "seed"]):
            points = _points(runs, split)
            for row in runs[front(points)].sort_values(f"{split}_aux").itertuples():
                losses = [getattr(row, f"{split}_main"), getattr(row, f"{split}_aux")]
                yield [protocol.name, method, split, seed, row.lam, row.lr, *losses]


def _metric_rows(protocol: Protocol, experiment: Experiment) -> Iterator[list[Any]]:
    region = experiment.region
    for split in _splits(protocol.runs):
        by_seed = {key: _points(runs, split) for key, runs in protocol.runs.groupby(["method", "seed"])}
        for method in protocol.runs["method"].unique():
            head = [protocol.name, method, split]
            ratios, volumes = [], []
            seeds = [seed for name, seed in by_seed if name == method]
            for seed in seeds:
                points, reference = by_seed[method, seed], by_seed.get((REFERENCE, seed))
                volume = hypervolume(points, region.main, region.aux)
                volumes.append(volume)
                yield [*head, "hypervolume", seed, volume, None, None, protocol.note]
                if reference is None:
                    yield [
                        *head,
                        "front_ratio",
                        seed,
                        None,
                        None,
                        None,
                        f"no runs of {REFERENCE} at this seed",
                    ]
                    continue
                ratio = front_ratio(points, reference, region.main)
                note = "; ".join(part for part in (ratio.note, protocol.note) if part)
                yield [*head, "front_ratio", seed, ratio.value, None, None, note]
                yield [*head, "common_low", seed, ratio.low, None, None, note]
                yield [*head, "common_high", seed, ratio.high, None, None, note]
                yield [*head, "points", seed, ratio.points, None, None, note]
                if ratio.value is not None:
                    ratios.append(ratio.value)
            for statistic, values in (("front_ratio", ratios), ("hypervolume", volumes)):
                value, low, high, note = over_seeds(values, len(seeds))
                note = "; ".join(part for part in (note, protocol.note) if part)
                yield [*head, statistic, "all", value, low, high, note]


def over_seeds(values: list[float], seeds: int) -> tuple[float | None, float | None, float | None, str]:
    """Mean over seeds, a 95 % percentile-bootstrap interval of it, and what is missing.

    Returns:
        value, low, high, note; no interval with fewer than two seeds, no value without any.
    """
    note = f"{len(values)} of {seeds} seeds have a value" if len(values) < seeds else ""
    if not values:
        return None, None, None, note
    mean = float(np.mean(values))
    if len(values) == 1:
        return mean, None, None, note or "one seed: no interval"
    if len(values) == 2:
        note = "; ".join(part for part in (note, "two seeds: the interval is their range") if part)
    interval = bootstrap(
        (values,), np.mean, method="percentile", n_resamples=9999, rng=np.random.default_rng(0)
    ).confidence_interval
    return mean, float(interval.low), float(interval.high), note


def _foreign(record: Record, experiment: Experiment, fingerprint: str | None) -> str | None:
    """Why a record is not one of the experiment's, or None."""
    run = record.run
    if not isinstance(run, TrainingRun):
        return "not a training run"
    if (run.experiment, run.scale) != (experiment.name, experiment.scale):
        return f"a run of {run.experiment} at scale {run.scale}, not {experiment.name} at {experiment.scale}"
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
    if (
        fingerprint
        and run.data.fingerprint != fingerprint
        and not any(a.startswith("task.") for a in run.axes)
    ):
        return f"data {run.data.name} ({run.data.fingerprint}) is not the sweep's"
    return None


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()}
