"""Small experiments and hand-made records."""

from typing import Any

from scalpel_bench.benchmarks.execution import Job
from scalpel_bench.benchmarks.experiments.schema import Experiment, load
from scalpel_bench.benchmarks.experiments.settings import DataRecord, TrainingRun
from scalpel_bench.benchmarks.records.folder import Folder, Record

DATA = DataRecord(name="none", fingerprint="0" * 16)


def conditioning(**overrides: Any) -> Experiment:
    experiment = load("conditioning", "smoke", overrides)
    assert isinstance(experiment, Experiment)
    return experiment


def plan(experiment: Experiment) -> list[TrainingRun]:
    return experiment.plan(lambda settings: DATA)


def jobs_of(experiment: Experiment, folder: Folder) -> list[Job]:
    return [Job(run, folder) for run in plan(experiment)]


def record(run: TrainingRun, main: float, aux: float, status: str = "completed", **splits: Any) -> Record:
    values = {"main": main, "aux": aux}
    last = {"step": 1, "epoch": 1.0, "train": values, "validation": values, "test": values, **splits}
    return Record(
        id=run.id, run=run, status=status, environment={}, trajectory=[last], timings={"train": 1.0}
    )
