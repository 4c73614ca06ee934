"""Which runs train in lock step, and how many at once."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterable, Sequence
from itertools import islice

import torch

from ...tasks import Task
from ..experiments.settings import TrainingRun
from ..training import Stepper
from .job import Job
from .loaded_tasks import as_key, get_task
from .options import ExecutionOptions

SIZES = (1, 4, 16, 64, 256)
STEPS = 10
GAIN = 1.1
"""How many times the runs per second a larger population must give to be worth its memory."""


def populations(jobs: Iterable[Job], options: ExecutionOptions) -> list[tuple[Job, ...]]:
    """Jobs in groups that train in lock step: of the same task, data and training, in the order given.

    Their size is that of ``options``; where these have none, one run on the CPU, where stacking gains
    little, and on a GPU the `fastest`, measured on runs of the suite's own methods and tasks.
    """
    alike: dict[Hashable, list[Job]] = {}
    for job in jobs:
        run = job.run
        shared: Hashable = run.id
        if isinstance(run, TrainingRun):
            shared = as_key(run.task), run.data, run.training
        alike.setdefault((job.folder.path, shared), []).append(job)
    groups: list[tuple[Job, ...]] = []
    for same in alike.values():
        size, rest = _size(same, options), iter(same)
        while group := tuple(islice(rest, size)):
            groups.append(group)
    return groups


def _size(jobs: Sequence[Job], options: ExecutionOptions) -> int:
    runs = [job.run for job in jobs if isinstance(job.run, TrainingRun)]
    if not runs or len(runs) == 1:
        return 1
    if options.population is not None:
        return options.population
    own = [job.run for job in jobs if isinstance(job.run, TrainingRun) and not job.foreign]
    return fastest(own, get_task(own[0].task, options)) if own and options.device != "cpu" else 1


def fastest(runs: Sequence[TrainingRun], task: Task) -> int:
    """The number of replicas, of 1, 4, 16, …, that trains most runs per second, measured over a few steps.

    Sizes are tried upwards until one does not fit in memory, or cannot be computed for several replicas at
    once, or is hardly faster than the one before.

    Args:
        runs: of the same task, data and training.
        task: theirs.
    """
    best, rate = 1, 0.0
    for size in (size for size in SIZES if size <= len(runs)):
        try:
            now = size / _seconds(runs[:size], task)
        except Exception:  # whatever it is, a run that is trained alone tells it in its record
            break
        if now < GAIN * rate:
            break
        best, rate = size, now
    return best


def _seconds(runs: Sequence[TrainingRun], task: Task) -> float:
    with torch.random.fork_rng():
        stepper = Stepper(runs, task)
        batches = list(islice(stepper.batches(), 2))
        for batch in batches:
            stepper.step(batch)
        int(stepper.done)
        started = time.perf_counter()
        for step in range(STEPS):
            stepper.step(batches[step % 2])
        int(stepper.done)
        return time.perf_counter() - started
