"""A recorded sweep, made by hand: two learning rates, a diverged and a failed run, claims, attainment."""

import math
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.derive import write_manifest
from benchmarks.records import Folder, Record
from benchmarks.settings import TrainingRun
from tests.benchmarks.runs import conditioning, plan

HOSTILE = "</script><script>alert('method')</script>"
LAMS = [0.1, 0.2, 0.4, 0.8]
FACTORS = {"sum": 1.0, "bloop": 0.8, HOSTILE: 1.1}


def recorded(path: Path, fingerprint: str = "0" * 16, status: str = "completed") -> Path:
    """Write the records into a folder; main = factor · exp(−2 λ), aux = 10 λ, both larger on test."""
    experiment = conditioning(
        figure="fronts",
        lam=LAMS,
        seeds=2,
        training={"lr": 0.1},
        axes={"training.lr": [0.1, 0.5]},
        methods={HOSTILE: {"name": "mgda"}},
        region={"main": 2.0, "aux": 9.0},
    )
    folder = Folder(path)
    folder.prepare()
    runs = [run for run in plan(experiment) if run.label in FACTORS]
    for index, run in enumerate(runs):
        data = run.data.model_copy(update={"fingerprint": fingerprint})
        made = _record(run.model_copy(update={"data": data}))
        if status == "failed" or index == 1:
            made = made.model_copy(update={"status": "failed", "reason": "out of memory", "trajectory": []})
        elif index == 0:
            made = made.model_copy(update={"status": "diverged", "diverged_at": 7})
        folder.write(made)
    kept = {label: settings for label, settings in experiment.methods.items() if label in FACTORS}
    write_manifest(folder, experiment.model_copy(update={"methods": kept}), fingerprint)
    _claims().to_csv(path / "claims.csv", index=False)
    _attainment().to_csv(path / "attainment.csv", index=False)
    return path


def _record(run: TrainingRun) -> Record:
    main = FACTORS[run.label] * math.exp(-2 * run.lam) * (1 + 0.1 * run.seed) / (1 + (run.training.lr == 0.5))
    rows: list[dict[str, Any]] = []
    for step in range(4):
        losses = {"main": main * (4 - step), "aux": 10 * run.lam / (4 - step)}
        test = {key: 1.5 * value + 0.1 for key, value in losses.items()}
        given = {"main_aux_cosine": 0.1 * step, "main_norm": 1.0} if step else {}
        rows.append({"step": step, "epoch": float(step), "train": losses, "test": test, "diagnostics": given})
    environment = {"commit": "abc", "device": "cpu"}
    return Record(id=run.id, run=run, status="completed", environment=environment, trajectory=rows)


def _claims() -> pd.DataFrame:
    common = {"paper": "Section 3.3", "split": "test", "seeds": 2, "scale": "smoke", "data": "none"}
    front = {
        "id": "front",
        "text": "Bloop's front is better",
        "effect": 0.8,
        "low": 0.7,
        "high": 0.9,
        **common,
    }
    cost = {"id": "cost", "text": "Bloop costs <b>nothing</b>", "effect": "", "low": "", "high": "", **common}
    return pd.DataFrame(
        [
            {**front, "protocol": "fixed", "verdict": "supported", "reason": ""},
            {**front, "protocol": "per-method", "verdict": "not supported", "reason": ""},
            {**cost, "protocol": "", "verdict": "inconclusive", "reason": "too few seeds"},
        ]
    )


def _attainment() -> pd.DataFrame:
    rows = [
        {"percentile": percentile, "main": factor * math.exp(-2 * lam), "aux": 15 * lam}
        for percentile, factor in ((25, 0.9), (50, 1.2), (75, 1.4))
        for lam in LAMS
    ]
    return pd.DataFrame(rows).assign(protocol="fixed", method="bloop", split="test")
