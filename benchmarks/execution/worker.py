"""What a worker does: it trains the runs that it is given, and says what is to be recorded of them."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from pydantic_core import to_json

from ... import methods, tasks
from ...words import plain, said
from ..experiments.settings import Simulation, TrainingRun
from ..messages import UserError
from ..records import Record, anonymous, environment
from ..simulations import SIMULATIONS
from ..training import Checkpoint, train
from ..training.checkpoints import State
from .code import code_of
from .job import FinishedJob, Job
from .loaded_tasks import get_task
from .options import ExecutionOptions
from .threads import threads

OF_THE_PROCESS = ("commit", "threads")
"""What differs between the processes that train a run, and decides none of its bits: its own threads are a
setting."""
STARTED_OVER = (
    "a checkpoint could not be used (it is damaged, or of other code, versions or population): "
    "what it belonged to started over"
)


def execute(
    jobs: Sequence[Job], options: ExecutionOptions, on_step: Callable[[int], None] = lambda step: None
) -> list[FinishedJob]:
    """Execute runs here, in lock step where there are several.

    Where a population raises, its halves are tried: so too little memory is met by a smaller one, and a run
    that raises by itself has failed, alone.

    Raises:
        UserError: a checkpoint cannot be written, or data that a stream reached is not what it should be.
        Interrupted: the runs were asked to stop.
    """
    problem, trace = "", ""
    checkpoint = _checkpoint(jobs, options)
    try:
        _load_files(jobs, options)
        _refuse_other_code(jobs)
        outcomes = _outcomes(jobs, options, checkpoint, on_step)
        to_json(outcomes)  # what cannot be written fails here, not the whole sweep
    except UserError:
        raise
    except tasks.DataError as error:
        raise UserError(str(error)) from error
    except (Exception, SystemExit) as error:
        problem, trace = (
            anonymous(f"{type(error).__name__}: {said(error)}"),
            plain(traceback.format_exc(limit=-30)[-20_000:]),
        )
        outcomes = [{"status": "failed", "reason": problem, "environment": {}}]
    if problem and len(jobs) > 1:
        middle = len(jobs) // 2
        jobs[0].folder.checkpoint(jobs[0].run.id).unlink(missing_ok=True)  # of all: of no use to a half
        ended = execute(jobs[:middle], options, on_step) + execute(jobs[middle:], options, on_step)
        alone = (
            f"{len(jobs)} runs could not train in lock step ({problem.splitlines()[0]}): "
            "they were trained in smaller populations, or alone"
        )
        return [replace(done, note=done.note or alone) for done in ended]
    common = {**environment(options.device), "population": len(jobs)}
    ended, note = [], STARTED_OVER if checkpoint.was_unusable else ""
    for job, outcome in zip(jobs, outcomes, strict=True):
        outcome["environment"] = {**common, **outcome["environment"]}
        record = Record(id=job.run.id, run=job.run, **outcome)
        ended.append(FinishedJob(job, record, trace, note))
    return ended


def _outcomes(
    jobs: Sequence[Job], options: ExecutionOptions, checkpoint: Checkpoint, on_step: Callable[[int], None]
) -> list[dict[str, Any]]:
    """What is to be recorded of each run, beside the facts that all have in common."""
    if isinstance(run := jobs[0].run, Simulation):
        with threads(1):
            trajectory = SIMULATIONS[run.kind].simulate(run)
        return [
            {
                "status": "completed",
                "trajectory": trajectory,
                "environment": {"code": jobs[0].code, "threads": 1},
            }
        ]
    runs = [job.run for job in jobs if isinstance(job.run, TrainingRun)]
    task = get_task(runs[0].task, options)
    _refuse_other_weights(runs[0], task)
    with threads(count := runs[0].training.threads or 1):
        outcomes = train(runs, task, on_step, checkpoint)
    return [
        {
            "status": "completed" if outcome.diverged_at is None else "diverged",
            "diverged_at": outcome.diverged_at,
            "data_source": task.dataset.source,
            "notes": task.dataset.notes,
            "trajectory": outcome.trajectory,
            "timings": outcome.timings,
            "environment": {"code": job.code, "threads": count},
        }
        for job, outcome in zip(jobs, outcomes, strict=True)
    ]


def _refuse_other_weights(run: TrainingRun, task: tasks.Task) -> None:
    """Refuse a task that starts here from other weights than where the run was planned.

    Raises:
        DataError: it does.
    """
    if task.pretrained and task.dataset.fingerprint != run.data.fingerprint:
        raise tasks.DataError(
            f"{task.name} starts here from {task.dataset.name}, but {run.data.name} was planned: bits agree "
            "on one kind of processor with the same versions; share the cache folder (XDG_CACHE_HOME)"
        )


def _load_files(jobs: Sequence[Job], options: ExecutionOptions) -> None:
    for run in (job.run for job in jobs if isinstance(job.run, TrainingRun)):
        for file in (options.method_files[name] for name in run.methods & options.method_files.keys()):
            methods.get(file)
        if file := options.task_files.get(run.task["name"], ""):
            tasks.get(file)


def _refuse_other_code(jobs: Sequence[Job]) -> None:
    """Refuse runs that were planned with other code: this process may have imported either.

    Raises:
        UserError: they were.
    """
    if any(code_of(job.run) != job.code for job in jobs):
        raise UserError(
            "the code is not what it was when the sweep began: it was edited, or a node has another version; "
            "what is recorded stays, and the same command continues with one version everywhere"
        )


class _Watched(Checkpoint):
    """A checkpoint that remembers whether its file was there and could not be used."""

    was_unusable = False

    def load(self) -> State | None:
        """As of a checkpoint."""
        state = super().load()
        self.was_unusable = state is None and self.path is not None and self.path.exists()
        return state


def _checkpoint(jobs: Sequence[Job], options: ExecutionOptions) -> _Watched:
    """That of a population carries the name of its first run; none where the folder is not to be seen."""
    file = jobs[0].folder.checkpoint(jobs[0].run.id)
    identity = {
        "runs": [job.run.id for job in jobs],
        "code": [job.code for job in jobs],
        "environment": {k: v for k, v in environment(options.device).items() if k not in OF_THE_PROCESS},
    }
    return _Watched(file if file.parent.is_dir() else None, options.checkpoint_every, identity)
