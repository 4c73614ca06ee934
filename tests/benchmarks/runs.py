"""Small experiments and hand-made records."""

from pathlib import Path
from typing import Any

from scalpel_bench.benchmarks.analysis import Analysis, analyse
from scalpel_bench.benchmarks.execution import Job
from scalpel_bench.benchmarks.experiments.loading import AnyExperiment, load
from scalpel_bench.benchmarks.experiments.schema import Experiment
from scalpel_bench.benchmarks.experiments.settings import DataRecord, TrainingRun
from scalpel_bench.benchmarks.records import Folder, Manifest, Record, RecordedSweep, load_sweep, sort_out
from scalpel_bench.benchmarks.report import write_files

DATA = DataRecord(name="none", fingerprint="0" * 16)

BOX = {
    "aux": (1.0, 9.0),
    "main": (1e-5, 2.0),
    "tighter": {"aux": (1.5, 8.0), "main": (1e-5, 1.0)},
    "wider": {"aux": (0.5, 10.0), "main": (1e-5, 3.0)},
    "reason": "known fronts",
    "date": "2026-11-25",
}


def conditioning(**overrides: Any) -> Experiment:
    experiment = load("conditioning", "smoke", overrides)
    assert isinstance(experiment, Experiment)
    return experiment


def plan(experiment: Experiment) -> list[TrainingRun]:
    return experiment.plan(lambda settings: DATA)


def jobs_of(experiment: Experiment, folder: Folder) -> list[Job]:
    return [Job(run, folder) for run in plan(experiment)]


def written(folder: Folder) -> Analysis:
    """What is derived from a folder, written beside its records."""
    analysis = analyse(load_sweep(folder))
    write_files(analysis)
    return analysis


def analysed(records: list[Record], experiment: AnyExperiment, fingerprint: str | None) -> Analysis:
    """What is derived from records as if a folder held them."""
    own, left_out = sort_out(records, experiment, fingerprint)
    return analyse(RecordedSweep(Folder(Path()), Manifest(experiment, fingerprint), own, [], left_out))


def record(run: TrainingRun, main: float, aux: float, status: str = "completed", **splits: Any) -> Record:
    values = {"main": main, "aux": aux}
    last = {"step": 1, "epoch": 1.0, "train": values, "validation": values, "test": values, **splits}
    return Record(
        id=run.id, run=run, status=status, environment={}, trajectory=[last], timings={"train": 1.0}
    )
