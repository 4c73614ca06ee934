"""The execution of a sweep: runs are leased, executed, retried where a worker died, and recorded."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing
from dataclasses import dataclass, replace

from ... import methods, tasks
from ..experiments.settings import TrainingRun
from ..messages import terminal
from ..records import Record, environment
from . import executors
from .executors import Executor, Lost, OnStep, ignore
from .job import FinishedJob, Job
from .leases import Leases
from .options import ExecutionOptions

POLL = 0.5
"""Seconds between two looks at the runs that another sweep executes."""
SILENT = 120.0
"""Seconds without a step after which a run is named."""
GRACE = 30.0
"""Seconds that runs have to leave what they have in their checkpoints when they are asked to stop."""


@dataclass(frozen=True)
class Attempt:
    """Runs to execute in lock step, why earlier attempts were lost, and how many more there may be."""

    jobs: tuple[Job, ...]
    left: int
    lost: tuple[str, ...] = ()


def execute_all(
    groups: Iterable[Sequence[Job]],
    options: ExecutionOptions,
    retries: int = 2,
    on_step: OnStep = ignore,
) -> Generator[FinishedJob, None, None]:
    """Execute populations and record their runs; yields as they end.

    A run that another sweep executes is waited for, and yielded when that sweep has recorded it. Runs whose
    worker died are tried again, up to ``retries`` times, and then recorded as failed; a population that may
    have needed too much memory is split in half instead. A run that makes no step for a while is named where
    the executor reports steps, and after ``options.run_timeout`` recorded as failed; a population is split in
    half.

    Raises:
        UserError: a record cannot be written, data that a stream reached is not what it should be, or the
            head of a cluster is gone.
    """
    waiting = deque(Attempt(tuple(jobs), retries) for jobs in groups)
    if not waiting:
        return
    runs = [job.run for attempt in waiting for job in attempt.jobs if isinstance(job.run, TrainingRun)]
    options = replace(
        options,
        workers=min(options.workers, len(waiting)),
        method_files=methods.REGISTRY.files(set().union(*(run.methods for run in runs))),
        task_files=tasks.REGISTRY.files({run.task["name"] for run in runs}),
    )
    with Leases() as leases, closing(executors.create(options, on_step)) as executor:
        supervisor = _Supervisor(executor, leases, waiting, options.run_timeout)
        try:
            yield from supervisor.run()
        except BaseException:
            supervisor.stop()
            raise


class _Supervisor:
    def __init__(
        self, executor: Executor, leases: Leases, waiting: deque[Attempt], timeout: float | None
    ) -> None:
        self.executor, self.leases, self.waiting = executor, leases, waiting
        self.timeout = math.inf if timeout is None else timeout
        self.running: dict[Future[list[FinishedJob]], Attempt] = {}
        self.named: set[Future[list[FinishedJob]]] = set()
        self.hung: set[Future[list[FinishedJob]]] = set()
        self.elsewhere: list[tuple[Job, int]] = []

    def run(self) -> Iterator[FinishedJob]:
        """All runs, in the order in which they end."""
        while self.waiting or self.running or self.elsewhere:
            while len(self.running) < self.executor.slots and self.waiting:
                yield from self._begin(self.waiting.popleft())
            if self.running:
                wait(self.running, POLL, FIRST_COMPLETED)
            elif self.waiting or self.elsewhere:
                time.sleep(POLL)
            yield from self._collect()
            yield from self._look_elsewhere()
            self._watch()

    def stop(self) -> None:
        """Ask what runs to stop, and record what ended by itself."""
        self.executor.stop()
        count = 0
        for future in wait(self.running, GRACE).done:
            attempt = self.running.pop(future)
            if future.exception() is None:
                count += len(self._record(future.result(), attempt.lost))
        if count:
            terminal.warn(
                f"{count} run{'s' * (count > 1)} ended while stopping; recorded, and not counted below"
            )

    def _watch(self) -> None:
        """Name the runs that make no step, and end those that have made none for too long."""
        for running, attempt in self.running.items():
            silence = self.executor.silence(running)
            if silence > self.timeout and running not in self.hung:
                self.hung.add(running)
                self.executor.kill(running)
            elif self.executor.reports_steps and silence > SILENT and running not in self.named:
                self.named.add(running)
                hint = "" if self.timeout < math.inf else "; --run-timeout SECONDS ends such runs as failed"
                for job in attempt.jobs:
                    terminal.warn(f"{job.title} has made no step for {silence:.0f} s{hint}")

    def _begin(self, attempt: Attempt) -> Iterator[FinishedJob]:
        """Lease the runs of an attempt and execute those that are ours to execute."""
        ours = []
        for job in attempt.jobs:
            if not self.leases.take(job.file):
                self.elsewhere.append((job, attempt.left))
            elif job.folder.stamp(job.run.id) != job.stamp:
                self.leases.release(job.file)
                yield from self._recorded_elsewhere(job, attempt.left)
            else:
                ours.append(job)
        if ours:
            self.running[self.executor.submit(ours)] = replace(attempt, jobs=tuple(ours))

    def _collect(self) -> Iterator[FinishedJob]:
        done = [future for future in self.running if future.done()]
        for future in sorted(done, key=lambda each: each.exception() is not None):
            attempt = self.running[future]
            try:
                ended = future.result()
            except Lost as lost:
                ended = self._hung(attempt) if future in self.hung else self._lost(attempt, lost)
            recorded = self._record(ended, attempt.lost)
            del self.running[future]  # before that, `stop` records what ended
            yield from recorded

    def _record(self, ended: list[FinishedJob], lost: tuple[str, ...]) -> list[FinishedJob]:
        """Write the records of a population; its checkpoint goes with that of its first run, the last."""
        recorded = [
            replace(done, record=done.record.model_copy(update={"lost": [*lost, *done.record.lost]}))
            for done in ended
        ]
        for done in reversed(recorded):
            done.job.folder.write(done.record)
            self.leases.release(done.job.file)
        return recorded

    def _lost(self, attempt: Attempt, lost: Lost) -> list[FinishedJob]:
        """Queue what is tried again; else the failures to record."""
        causes = (*attempt.lost, lost.cause)
        if lost.memory and len(attempt.jobs) > 1:
            self._split(attempt, causes)
        elif attempt.left:
            self.waiting.append(Attempt(attempt.jobs, attempt.left - 1, causes))
        else:
            return [_failure(job, lost.cause, len(causes)) for job in attempt.jobs]
        return []

    def _hung(self, attempt: Attempt) -> list[FinishedJob]:
        """The failure of a run that took too long; a population's halves are queued."""
        what = "made no step for" if self.executor.reports_steps else "had not ended after"
        cause = f"{what} {self.timeout:g} s"
        if len(attempt.jobs) == 1:
            return [_failure(attempt.jobs[0], cause, 1)]
        self._split(attempt, (*attempt.lost, cause))
        return []

    def _split(self, attempt: Attempt, causes: tuple[str, ...]) -> None:
        middle = len(attempt.jobs) // 2
        for half in (attempt.jobs[:middle], attempt.jobs[middle:]):
            self.waiting.append(Attempt(half, attempt.left, causes))

    def _look_elsewhere(self) -> Iterator[FinishedJob]:
        elsewhere, self.elsewhere = self.elsewhere, []
        for job, left in elsewhere:
            if job.folder.stamp(job.run.id) != job.stamp:
                yield from self._recorded_elsewhere(job, left)
            elif self.leases.take(job.file):
                self.waiting.append(Attempt((job,), left))
            else:
                self.elsewhere.append((job, left))

    def _recorded_elsewhere(self, job: Job, left: int) -> Iterator[FinishedJob]:
        """The record that another sweep has just written; the run is queued where that cannot be read."""
        record = job.folder.find(job.run.id)
        if record is None:
            self.waiting.append(Attempt((replace(job, stamp=job.folder.stamp(job.run.id)),), left))
        else:
            yield FinishedJob(job, record, elsewhere=True)


def _failure(job: Job, cause: str, attempts: int) -> FinishedJob:
    record = Record(
        id=job.run.id,
        run=job.run,
        status="failed",
        reason=f"lost {attempts} times: {cause}" if attempts > 1 else cause,
        lost=[cause],
        environment=environment("cpu"),
    )
    return FinishedJob(job, record)
