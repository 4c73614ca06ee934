"""Worker processes of this machine, each of which may die alone."""

from __future__ import annotations

import math
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any

import torch

from ...training import stopping_on
from ..job import FinishedJob, Job
from ..options import ExecutionOptions
from . import Lost, OnStep, attempt, ignore

CONTEXT: Any = get_context("forkserver" if "forkserver" in get_all_start_methods() else "spawn")
"""Workers are forked from a process that has imported what they need, and nothing else."""
if CONTEXT.get_start_method() == "forkserver":
    CONTEXT.set_forkserver_preload([__name__, "torch._dynamo"])  # which optimisers import
SAFE_PATH = "PYTHONSAFEPATH"
"""Keeps the working directory out of a new process's module path, where its files would hide packages."""
_OF_THE_TERMINAL = {signal.SIGHUP}
TELL_EVERY = 0.1
"""Seconds between two messages about the steps that are done."""


class LocalExecutor:
    """A process per slot; on GPUs, the slots take the visible devices in turns."""

    reports_steps = True

    def __init__(self, options: ExecutionOptions, on_step: OnStep = ignore) -> None:
        self.slots = options.workers
        gpus = _visible_gpus() if options.device == "cuda" else [None]
        self._workers = [_Worker(options, gpus[n % len(gpus)], on_step) for n in range(self.slots)]
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(self.slots)
        self._executing: dict[Future[list[FinishedJob]], _Worker] = {}

    def submit(self, jobs: Sequence[Job]) -> Future[list[FinishedJob]]:
        """Execute a population in the next idle worker."""
        worker = self._idle.get()
        worker.heard = math.inf
        running = self._threads.submit(self._execute, worker, jobs)
        self._executing[running] = worker
        running.add_done_callback(self._executing.pop)
        return running

    def silence(self, running: Future[list[FinishedJob]]) -> float:
        """Seconds since a population last made a step, or was sent to its process; less where that starts."""
        worker = self._executing.get(running)
        return time.monotonic() - worker.heard if worker else 0.0

    def kill(self, running: Future[list[FinishedJob]]) -> None:
        """Kill the worker of a population; another comes in its place."""
        if worker := self._executing.get(running):
            worker.signal(signal.SIGKILL)

    def stop(self) -> None:
        """Ask the workers to end their runs."""
        for worker in self._workers:
            worker.signal(signal.SIGTERM)

    def close(self) -> None:
        """Kill the workers."""
        for worker in self._workers:
            worker.close()
        self._threads.shutdown()

    def _execute(self, worker: _Worker, jobs: Sequence[Job]) -> list[FinishedJob]:
        try:
            return worker.execute(jobs)
        finally:
            self._idle.put(worker)


class _Worker:
    """A process that is started when it is needed, and again after it died."""

    def __init__(self, options: ExecutionOptions, gpu: str | None, on_step: OnStep) -> None:
        self.options, self.gpu, self.on_step = options, gpu, on_step
        self.process: Any = None
        self.closed = False
        self.heard = math.inf
        """When its process last told of a step, or was sent runs; infinite before."""
        self.lock = threading.Lock()

    def execute(self, jobs: Sequence[Job]) -> list[FinishedJob]:
        """Execute a population there.

        Raises:
            Lost: the process died.
            UserError: of the runs.
        """
        try:
            self._start()
            self.heard = time.monotonic()
            self.connection.send(jobs)
            while isinstance(outcome := self.connection.recv(), int):
                self.heard = time.monotonic()
                self.on_step(outcome)
        except (EOFError, OSError):
            self.process.join()
            raise _lost(self.process.exitcode) from None
        if any(job.foreign for job in jobs):
            self._retire()
        if isinstance(outcome, Exception):
            raise outcome
        ended: list[FinishedJob] = outcome
        return ended

    def signal(self, number: int) -> None:
        """Send a signal to the process, if it runs."""
        with self.lock:
            if self.process is not None and self.process.is_alive():
                os.kill(self.process.pid, number)

    def close(self) -> None:
        """Kill the process, and start no other."""
        with self.lock:
            self.closed = True
        self.signal(signal.SIGKILL)

    def _retire(self) -> None:
        """End the process: the next runs have another."""
        self.connection.close()
        self.process.join()

    def _start(self) -> None:
        with self.lock:
            if self.closed:
                raise Lost("no worker was left", memory=False)
            if self.process is not None and self.process.is_alive():
                return
            self.connection, theirs = CONTEXT.Pipe()
            self.process = CONTEXT.Process(target=serve, args=(theirs, self.options, self.gpu))
            try:
                with _nothing_of_the_user():
                    self.process.start()
            except OSError as error:
                self.process = None
                raise Lost(f"no worker can be started: {error.strerror}", memory=False) from error
            finally:
                theirs.close()


def serve(connection: Connection, options: ExecutionOptions, gpu: str | None) -> None:
    """The life of a worker: execute what comes, and end when the process that sent it is gone."""
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    waiting: queue.SimpleQueue[Sequence[Job]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, waiting), daemon=True).start()
    while True:
        jobs = waiting.get()
        with stopping_on(signal.SIGTERM):
            connection.send(attempt(jobs, options, _telling(connection)))


def _telling(connection: Connection) -> OnStep:
    """Sends the number of steps that are done, now and then."""
    last = time.monotonic()

    def tell(step: int) -> None:
        nonlocal last
        if time.monotonic() - last >= TELL_EVERY:
            last = time.monotonic()
            connection.send(step)

    return tell


def _listen(connection: Connection, waiting: queue.SimpleQueue[Sequence[Job]]) -> None:
    try:
        while True:
            waiting.put(connection.recv())
    except (EOFError, OSError):
        os._exit(1)


@contextmanager
def _nothing_of_the_user() -> Iterator[None]:
    """Keep from workers the module that was started, the working directory, and the end of the terminal.

    A terminal that is closed sends SIGHUP to all processes: the sweep's own asks the workers to stop.
    """
    with _starting:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _OF_THE_TERMINAL)
        main, safe = sys.modules["__main__"], os.environ.get(SAFE_PATH)
        sys.modules["__main__"] = ModuleType("__main__")
        os.environ[SAFE_PATH] = "1"
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            sys.modules["__main__"] = main
            if safe is None:
                del os.environ[SAFE_PATH]
            else:
                os.environ[SAFE_PATH] = safe


_starting = threading.Lock()


def _lost(status: int) -> Lost:
    if status >= 0:
        return Lost(f"its worker left with status {status}", memory=False)
    name = signal.Signals(-status).name
    memory = name == "SIGKILL"
    return Lost(f"its worker was killed by {name}{' (out of memory?)' if memory else ''}", memory)


def _visible_gpus() -> Sequence[str | None]:
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return given.split(",") if given else [str(n) for n in range(torch.cuda.device_count())]
