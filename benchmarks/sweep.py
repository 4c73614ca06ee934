"""Sweeps: runs on a pool of local worker processes, each recorded as it ends."""

from __future__ import annotations

import functools
import os
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from typing import Any

import torch

import methods
import tasks
from benchmarks.errors import UserError, as_user_error
from benchmarks.records import Folder, Record, environment
from benchmarks.settings import AnyRun, DataRecord, Simulation, TrainingRun
from benchmarks.simulations import SIMULATIONS
from benchmarks.training import train


@dataclass(frozen=True)
class Job:
    """A run, and the folder that takes its record."""

    run: AnyRun
    folder: Folder


@dataclass(frozen=True)
class Done:
    """A job that has ended, its record, and the traceback of a failure."""

    job: Job
    record: Record
    traceback: str = field(default="", repr=False)


@dataclass(frozen=True)
class Place:
    """Where runs are executed: none of it is part of what a run is."""

    data: str = "embedded"
    device: str = "cpu"
    workers: int = 1
    methods: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    """Loose files, ``path.py:Class``, which every worker process loads by itself."""


def default_workers() -> int:
    """One per core this process may use."""
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


def execute(job: Job, place: Place, on_step: Callable[[int], None] = lambda step: None) -> Done:
    """Execute one run here and record it. A run that raises is recorded as failed.

    Raises:
        UserError: the record cannot be written, or data that a stream reached is not what it should be.
    """
    run, trace = job.run, ""
    facts: dict[str, Any] = {"id": run.id, "run": run, "environment": environment(place.device)}
    try:
        for file in place.methods:
            methods.get(file)
        for file in place.tasks:
            tasks.get(file)
        if isinstance(run, Simulation):
            record = Record(status="completed", trajectory=SIMULATIONS[run.kind].simulate(run), **facts)
        else:
            task = get_task(run.task, place)
            facts["environment"]["method_code"] = methods.REGISTRY.code(run.method["name"])
            outcome = train(run, task, on_step)
            record = Record(
                status="completed" if outcome.diverged_at is None else "diverged",
                diverged_at=outcome.diverged_at,
                data_source=task.dataset.source,
                notes=task.dataset.notes,
                trajectory=outcome.trajectory,
                timings=outcome.timings,
                **facts,
            )
    except tasks.DataError as error:
        raise UserError(str(error)) from error
    except Exception as error:
        trace = traceback.format_exc()
        record = Record(status="failed", reason=f"{type(error).__name__}: {error}", **facts)
    job.folder.write(record)
    return Done(job, record, trace)


def execute_all(jobs: Iterable[Job], place: Place) -> Iterator[Done]:
    """Execute runs, on worker processes of one thread each where there are several; yields as they end.

    Raises:
        UserError: a record cannot be written, or the system killed a worker.
    """
    jobs = list(jobs)
    workers = min(place.workers, len(jobs))
    if workers <= 1:
        for job in jobs:
            yield execute(job, place)
        return
    import loky

    runs = [job.run for job in jobs if isinstance(job.run, TrainingRun)]
    method_files = methods.REGISTRY.files({run.method["name"] for run in runs})
    task_files = tasks.REGISTRY.files({run.task["name"] for run in runs})
    place = replace(place, methods=tuple(method_files), tasks=tuple(task_files))
    pool = loky.ProcessPoolExecutor(max_workers=workers, initializer=_start_worker)
    finished = False
    try:
        futures = [pool.submit(execute, job, place) for job in jobs]
        for future in as_completed(futures):
            yield future.result()
        finished = True
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process was killed (out of memory?); finished runs are kept, the same command continues"
        ) from error
    finally:
        pool.shutdown(kill_workers=not finished)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
