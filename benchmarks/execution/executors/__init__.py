"""Where runs are executed: worker processes of this machine, or a Ray cluster."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Protocol

from scalpel_bench.benchmarks.execution.jobs import Done, Job, Place, execute
from scalpel_bench.benchmarks.training import Interrupted


class Lost(Exception):
    """A worker ended before its runs did.

    Args:
        cause: what ended it.
        memory: whether too little memory may have been the cause.
    """

    def __init__(self, cause: str, memory: bool) -> None:
        super().__init__(cause, memory)
        self.cause, self.memory = cause, memory


def attempt(jobs: Sequence[Job], place: Place) -> list[Done] | Exception:
    """What a worker does with a population, and answers."""
    try:
        return execute(jobs, place)
    except Interrupted:
        return Lost("its worker was asked to stop", memory=False)
    except Exception as error:
        return error


class Executor(Protocol):
    """Executes several runs at a time; a worker that dies takes only its own with it."""

    @property
    def slots(self) -> int:
        """How many populations it executes at a time; may change while it works."""

    def submit(self, jobs: Sequence[Job]) -> Future[list[Done]]:
        """Execute a population; the future raises `Lost`, or what its runs raised."""

    def stop(self) -> None:
        """Ask the runs in progress to leave what they have in their checkpoints, and to end."""

    def close(self) -> None:
        """End all workers, at once."""


def create(place: Place) -> Executor:
    """The executor of a place.

    Raises:
        UserError: it cannot be had here.
    """
    if place.executor == "ray":
        from scalpel_bench.benchmarks.execution.executors.ray_cluster import RayExecutor

        return RayExecutor(place)
    from scalpel_bench.benchmarks.execution.executors.local import LocalExecutor

    return LocalExecutor(place)
