"""Worker processes of this machine, each of which may die alone."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any

import torch

from scalpel_bench.benchmarks.execution.executors import Lost, attempt
from scalpel_bench.benchmarks.execution.jobs import Done, Job, Place
from scalpel_bench.benchmarks.training import stopping_on

CONTEXT: Any = get_context("forkserver" if "forkserver" in get_all_start_methods() else "spawn")
"""Workers are forked from a process that has imported what they need, and nothing else."""
if CONTEXT.get_start_method() == "forkserver":
    CONTEXT.set_forkserver_preload([__name__, "torch._dynamo"])  # which optimisers import


class LocalExecutor:
    """A process per slot; on GPUs, the slots take the visible devices in turns."""

    def __init__(self, place: Place) -> None:
        self.slots = place.workers
        gpus = _visible_gpus() if place.device == "cuda" else []
        self._workers = [_Worker(place, gpus[n % len(gpus)] if gpus else None) for n in range(self.slots)]
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(self.slots)

    def submit(self, jobs: Sequence[Job]) -> Future[list[Done]]:
        """Execute a population in the next idle worker."""
        return self._threads.submit(self._execute, jobs)

    def stop(self) -> None:
        """Ask the workers to end their runs."""
        for worker in self._workers:
            worker.signal(signal.SIGTERM)

    def close(self) -> None:
        """Kill the workers."""
        for worker in self._workers:
            worker.close()
        self._threads.shutdown()

    def _execute(self, jobs: Sequence[Job]) -> list[Done]:
        worker = self._idle.get()
        try:
            return worker.execute(jobs)
        finally:
            self._idle.put(worker)


class _Worker:
    """A process that is started when it is needed, and again after it died."""

    def __init__(self, place: Place, gpu: str | None) -> None:
        self.place, self.gpu = place, gpu
        self.process: Any = None
        self.closed = False
        self.lock = threading.Lock()

    def execute(self, jobs: Sequence[Job]) -> list[Done]:
        """Execute a population there.

        Raises:
            Lost: the process died.
            UserError: of the runs.
        """
        try:
            self._start()
            self.connection.send(jobs)
            outcome = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            raise _lost(self.process.exitcode) from None
        if isinstance(outcome, Exception):
            raise outcome
        ended: list[Done] = outcome
        return ended

    def signal(self, number: int) -> None:
        """Send a signal to the process, if it runs."""
        with self.lock:
            if self.process is not None and self.process.is_alive():
                os.kill(self.process.pid, number)

    def close(self) -> None:
        """Kill the process, and start no other."""
        self.signal(signal.SIGKILL)
        self.closed = True

    def _start(self) -> None:
        with self.lock:
            if self.closed:
                raise Lost("no worker was left", memory=False)
            if self.process is not None and self.process.is_alive():
                return
            self.connection, theirs = CONTEXT.Pipe()
            self.process = CONTEXT.Process(target=serve, args=(theirs, self.place, self.gpu))
            with _nothing_as_main():
                self.process.start()
            theirs.close()


def serve(connection: Connection, place: Place, gpu: str | None) -> None:
    """The life of a worker: execute what comes, and end when the process that sent it is gone."""
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if place.workers > 1:
        torch.set_num_threads(1)
    waiting: queue.SimpleQueue[Sequence[Job]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, waiting), daemon=True).start()
    while True:
        jobs = waiting.get()
        with stopping_on(signal.SIGTERM):
            connection.send(attempt(jobs, place))


def _listen(connection: Connection, waiting: queue.SimpleQueue[Sequence[Job]]) -> None:
    try:
        while True:
            waiting.put(connection.recv())
    except (EOFError, OSError):
        os._exit(1)


@contextmanager
def _nothing_as_main() -> Iterator[None]:
    """Keep workers from importing the module that was started: the whole command line, seconds each."""
    with _main_lock:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


_main_lock = threading.Lock()


def _lost(status: int) -> Lost:
    if status >= 0:
        return Lost(f"its worker left with status {status}", memory=False)
    name = signal.Signals(-status).name
    memory = name == "SIGKILL"
    return Lost(f"its worker was killed by {name}{' (out of memory?)' if memory else ''}", memory)


def _visible_gpus() -> list[str]:
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return given.split(",") if given else [str(n) for n in range(torch.cuda.device_count())]
