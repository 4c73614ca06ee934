"""Where runs are executed: worker processes of this machine, or a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Protocol

from ...training import Interrupted
from ..job import FinishedJob, Job
from ..options import ExecutionOptions
from ..worker import execute

OnStep = Callable[[int], None]
"""What is told how many steps a population has done."""


def ignore(step: int) -> None:
    """Where nobody watches the steps."""


class Lost(Exception):
    """A worker ended before its runs did.

    Args:
        cause: what ended it.
        memory: whether too little memory may have been the cause.
    """

    def __init__(self, cause: str, memory: bool) -> None:
        super().__init__(cause, memory)
        self.cause, self.memory = cause, memory


def attempt(
    jobs: Sequence[Job], options: ExecutionOptions, on_step: OnStep = ignore
) -> list[FinishedJob] | Exception:
    """What a worker does with a population, and answers."""
    try:
        return execute(jobs, options, on_step)
    except Interrupted:
        return Lost("its worker was asked to stop", memory=False)
    except Exception as error:
        return error


class Executor(Protocol):
    """Executes several runs at a time; a worker that dies takes only its own with it."""

    reports_steps: bool
    """Whether it knows when a run makes a step; else `silence` is the time since it was submitted."""

    @property
    def slots(self) -> int:
        """How many populations it executes at a time; may change while it works.

        Raises:
            UserError: there is nothing left to execute on.
        """

    def submit(self, jobs: Sequence[Job]) -> Future[list[FinishedJob]]:
        """Execute a population; the future raises `Lost`, or what its runs raised."""

    def silence(self, running: Future[list[FinishedJob]]) -> float:
        """Seconds since a population last made a step, or began."""

    def kill(self, running: Future[list[FinishedJob]]) -> None:
        """End a population at once: its future raises `Lost`."""

    def stop(self) -> None:
        """Ask the runs in progress to leave what they have in their checkpoints, and to end."""

    def close(self) -> None:
        """End all workers, at once."""


def check_executor(options: ExecutionOptions) -> None:
    """Refuse an executor that cannot be had here, before anything is written.

    Raises:
        UserError: it is a cluster's, and Ray is not installed or the cluster does not answer.
    """
    if options.executor == "ray":
        from .ray_cluster import reached

        reached(options.address)


def create(options: ExecutionOptions, on_step: OnStep = ignore) -> Executor:
    """The executor that is asked for; a cluster's does not tell of steps.

    Raises:
        UserError: it cannot be had here.
    """
    if options.executor == "ray":
        from .ray_cluster import RayExecutor

        return RayExecutor(options)
    from .local import LocalExecutor

    return LocalExecutor(options, on_step)
