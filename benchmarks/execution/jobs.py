"""Sweeps: runs on a pool of local worker processes, each recorded as it ends."""

from __future__ import annotations

import functools
import os
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from scalpel_bench import methods, tasks
from scalpel_bench.benchmarks.experiments.settings import AnyRun, DataRecord, Simulation, TrainingRun
from scalpel_bench.benchmarks.messages.errors import UserError, as_user_error
from scalpel_bench.benchmarks.records.folder import Folder, Record, Stamp, environment
from scalpel_bench.benchmarks.training import Checkpoint, train


@dataclass(frozen=True)
class Job:
    """A run, and the folder that takes its record."""

    run: AnyRun
    folder: Folder
    stamp: Stamp = None
    """Of the record that the run replaces."""

    @property
    def file(self) -> Path:
        """The record's."""
        return self.folder.file(self.run.id)


@dataclass(frozen=True)
class Done:
    """A job that has ended, its record, and the traceback of a failure."""

    job: Job
    record: Record
    traceback: str = field(default="", repr=False)
    note: str = ""
    """Why it was not trained in the population that was asked for."""
    elsewhere: bool = False
    """Whether another sweep executed it."""


@dataclass(frozen=True)
class Place:
    """Where runs are executed: none of it is part of what a run is."""

    data: str = "embedded"
    device: str = "cpu"
    workers: int = 1
    population: int | None = None
    """How many runs train in lock step; None for what is fastest on the device."""
    checkpoint_every: float = 60.0
    """Seconds between two checkpoints of a run."""
    executor: str = "local"
    address: str | None = None
    """Of a Ray cluster; None for one that is started for the sweep."""
    gpu_share: float = 1.0
    """What a population takes of a GPU."""
    methods: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    """Loose files, ``path.py:Class``, which every worker process loads by itself."""

    @property
    def here(self) -> Place:
        """Where the sweep's own process looks at data: it may have no GPU where it uses a cluster's."""
        return replace(self, device="cpu") if self.executor == "ray" else self


def default_workers(device: str, gpu_share: float = 1.0) -> int:
    """One per core this process may use; on GPUs, as many as have room there."""
    if device.startswith("cuda"):
        gpus = torch.cuda.device_count() if device == "cuda" else 1
        return max(1, int(gpus / gpu_share + 1e-9))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_device() -> str:
    """The first GPU where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


@functools.lru_cache(maxsize=4)
def _task(settings: tuple[tuple[str, Any], ...], data: str, device: str) -> tasks.Task:
    return tasks.create(**dict(settings), data=data, device=device)


def get_task(settings: dict[str, Any], place: Place) -> tasks.Task:
    """The task of these settings, its data loaded once per process."""
    frozen = tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in sorted(settings.items()))
    return _task(frozen, place.data, place.device)


def describe_data(settings: dict[str, Any], place: Place) -> DataRecord:
    """The name and fingerprint of a task's data.

    Raises:
        UserError: it is missing, not what the task needs, or less than a batch.
    """
    with as_user_error():
        task = get_task(settings, place)
        dataset, _ = task.dataset, task.steps_per_epoch
    return DataRecord(name=dataset.name, fingerprint=dataset.fingerprint)


def execute(
    jobs: Sequence[Job], place: Place, on_step: Callable[[int], None] = lambda step: None
) -> list[Done]:
    """Execute runs here, in lock step where there are several.

    Where a population raises, its halves are tried: so too little memory is met by a smaller one, and a run
    that raises by itself has failed, alone.

    Raises:
        UserError: a checkpoint cannot be written, or data that a stream reached is not what it should be.
        Interrupted: the runs were asked to stop.
    """
    problem, trace = "", ""
    try:
        outcomes = _outcomes(jobs, place, on_step)
    except UserError:
        raise
    except tasks.DataError as error:
        raise UserError(str(error)) from error
    except Exception as error:
        problem, trace = f"{type(error).__name__}: {error}", traceback.format_exc()
        outcomes = [{"status": "failed", "reason": problem, "environment": {}}]
    if problem and len(jobs) > 1:
        middle = len(jobs) // 2
        ended = execute(jobs[:middle], place, on_step) + execute(jobs[middle:], place, on_step)
        note = f"{len(jobs)} runs could not train in lock step ({problem.splitlines()[0]})"
        return [replace(done, note=done.note or note) for done in ended]
    common = {**environment(place.device), "population": len(jobs)}
    ended = []
    for job, outcome in zip(jobs, outcomes, strict=True):
        outcome["environment"] = {**common, **outcome["environment"]}
        record = Record(id=job.run.id, run=job.run, **outcome)
        ended.append(Done(job, record, trace))
    return ended


def _outcomes(jobs: Sequence[Job], place: Place, on_step: Callable[[int], None]) -> list[dict[str, Any]]:
    """What is to be recorded of each run, beside the facts that all have in common."""
    for file in place.methods:
        methods.get(file)
    for file in place.tasks:
        tasks.get(file)
    if isinstance(run := jobs[0].run, Simulation):
        from scalpel_bench.benchmarks.simulations.registry import (
            SIMULATIONS,  # draws too, which a worker need not load
        )

        trajectory = SIMULATIONS[run.kind].simulate(run)
        return [{"status": "completed", "trajectory": trajectory, "environment": {}}]
    runs = [job.run for job in jobs if isinstance(job.run, TrainingRun)]
    task = get_task(runs[0].task, place)
    outcomes = train(runs, task, on_step, _checkpoint(jobs, place))
    return [
        {
            "status": "completed" if outcome.diverged_at is None else "diverged",
            "diverged_at": outcome.diverged_at,
            "data_source": task.dataset.source,
            "notes": task.dataset.notes,
            "trajectory": outcome.trajectory,
            "timings": outcome.timings,
            "environment": {"method_code": methods.REGISTRY.code(run.method["name"])},
        }
        for run, outcome in zip(runs, outcomes, strict=True)
    ]


def _checkpoint(jobs: Sequence[Job], place: Place) -> Checkpoint:
    """That of a population carries the name of its first run; none where the folder is not to be seen."""
    file = jobs[0].folder.checkpoint(jobs[0].run.id)
    names = {job.run.method["name"] for job in jobs if isinstance(job.run, TrainingRun)}
    identity = {
        "runs": [job.run.id for job in jobs],
        "methods": {name: methods.REGISTRY.code(name) for name in sorted(names)},
        "environment": environment(place.device),
    }
    return Checkpoint(file if file.parent.is_dir() else None, place.checkpoint_every, identity)
