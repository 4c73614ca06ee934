"""(g) A sweep on two worker processes: how much of the wall time is training."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ..execution import (
    ExecutionOptions,
    Job,
    default_workers,
    describe_data,
    execute,
    execute_all,
)
from ..experiments.loading import load
from ..experiments.schema import Experiment
from ..records import Folder
from .measurements import Measurement

WORKERS = 2
FIGURE = "wall time of a sweep on two cores / (the runs' own training time / 2)"
TARGET = 1.08


def measure(full: bool) -> Iterator[Measurement]:
    """A real sweep of `smooth_mlp` on embedded digits, its records in a temporary folder.

    The runs' own training time is what their records call ``train``: steps, without the evaluations. All else
    is in the wall time: evaluations, records, idle workers; and the start of the processes with what they
    import and load, which one row leaves out.
    """
    if default_workers("cpu") < WORKERS:
        yield Measurement(part="g", figure=FIGURE, value=None, target=TARGET, note="needs two cores")
        return
    with tempfile.TemporaryDirectory() as folder:
        yield from _sweep(Folder(Path(folder)), full)


def _sweep(folder: Folder, full: bool) -> Iterator[Measurement]:
    place = ExecutionOptions(device="cpu", workers=WORKERS)
    folder.prepare()
    (trial,) = execute(_jobs(folder, place, seeds=1, epochs=20)[:1], place)
    each = 10 if full else 2.5
    jobs = _jobs(folder, place, 8 if full else 4, math.ceil(20 * each / trial.record.timings["train"]))
    started, began, trained = time.perf_counter(), [], 0.0
    for done in execute_all([(job,) for job in jobs], place, retries=0):
        timings = done.record.timings
        began.append(time.perf_counter() - started - timings["train"] - timings["evaluate"])
        trained += timings["train"]
    wall, start = time.perf_counter() - started, min(began)
    share = trained / WORKERS
    whole = f"{FIGURE}, {len(jobs)} runs"
    after = f"{whole}, once the first has begun"
    yield Measurement(part="g", figure=whole, value=wall / share, target=TARGET)
    yield Measurement(part="g", figure=after, value=(wall - start) / share, target=TARGET)
    yield Measurement(
        part="g", figure="start of the worker processes, their imports and the data, seconds", value=start
    )


def _jobs(folder: Folder, place: ExecutionOptions, seeds: int, epochs: int) -> list[Job]:
    """Six methods at one λ for each seed."""
    training = {"epochs": epochs, "evaluations": 1}
    experiment = load("fig3a", "laptop", {"seeds": seeds, "lam": [0.01], "training": training})
    assert isinstance(experiment, Experiment)
    return [Job(run, folder) for run in experiment.plan(lambda settings: describe_data(settings, place))]
