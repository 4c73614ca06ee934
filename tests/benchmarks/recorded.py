"""A recorded sweep, made by hand: two learning rates, a diverged and a failed run, a claim."""

import math
from pathlib import Path
from typing import Any

import pytest

from scalpel_bench.benchmarks import figures
from scalpel_bench.benchmarks.commands.report import report
from scalpel_bench.benchmarks.experiments.settings import TrainingRun
from scalpel_bench.benchmarks.records import Folder, Record, write_manifest
from tests.benchmarks.runs import BOX, conditioning, plan

HOSTILE = "</script><script>alert('method')</script>"
LAMS = [0.1, 0.2, 0.4, 0.8]
RATES = (0.1, 0.5)
FACTORS = {"sum": 1.0, "bloop": 0.8, HOSTILE: 1.1}
CLAIM = {"id": "better", "text": "Bloop <b>is</b> better", "paper": "Section 3.3", "kind": "better"}


def recorded(
    path: Path,
    fingerprint: str = "0" * 16,
    status: str = "completed",
    seeds: int = 2,
    scale: str = "smoke",
    rates: tuple[float, ...] = RATES,
) -> Path:
    """Write the records into a folder; main = factor · exp(−2 λ), aux = 10 λ, both larger on test."""
    experiment = conditioning(
        figure="fronts",
        lam=LAMS,
        seeds=seeds,
        training={"lr": 0.1},
        axes={"training.lr": list(rates)} if len(rates) > 1 else {},
        methods={HOSTILE: {"name": "mgda"}},
        box=BOX,
        claims=[{**CLAIM, "method": "bloop", "than": "sum"}],
    ).model_copy(update={"scale": scale})
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
    return path


def _record(run: TrainingRun) -> Record:
    main = FACTORS[run.label] * math.exp(-2 * run.lam) * (1 + 0.1 * run.seed) / (1 + (run.training.lr == 0.5))
    rows: list[dict[str, Any]] = []
    for step in range(4):
        losses = {"main": main * (4 - step), "aux": 10 * run.lam / (4 - step)}
        test = {key: 1.5 * value + 0.1 for key, value in losses.items()}
        given = {"main_aux_cosine": 0.1 * step, "main_norm": 1.0} if step else {}
        rows.append(
            {
                "step": step,
                "epoch": float(step),
                "train": losses,
                "validation": losses,
                "test": test,
                "diagnostics": given,
            }
        )
    environment = {"commit": "abc", "device": "cpu"}
    return Record(id=run.id, run=run, status="completed", environment=environment, trajectory=rows)


def leave_figures_out(patch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of the time of a small sweep."""
    patch.setattr(figures, "draw", lambda *arguments: [])


def reported(path: Path, *beside: Path, rates: tuple[float, ...] = RATES) -> Path:
    """The records, and the page made of them and of other folders; figures are not drawn."""
    recorded(path, rates=rates)
    with pytest.MonkeyPatch.context() as patch:
        leave_figures_out(patch)
        report([path, *beside], None)
    return path
