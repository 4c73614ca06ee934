"""Workers of a Ray cluster: an existing one, or one that lives as long as the sweep."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

from ....words import first_line
from ...messages import UserError, terminal
from ...records import Folder, anonymous
from ...training import stopping_on
from ..job import FinishedJob, Job
from ..options import ExecutionOptions, on_gpus
from . import Lost, attempt

_TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
"""Of a cluster that is started here: it listens to the network, and executes what it is sent."""
REFRESH = 1.0
"""Seconds between two looks at what the cluster has."""
ANSWER = 5.0
"""Seconds within which a head answers."""
PATIENCE = 30.0
"""Seconds for which the network may hide a head; after 60, Ray itself ends the process."""


class RayExecutor:
    """A task of one core, and on GPUs of its share of one, per population.

    Records come back to the sweep's process, which writes them; checkpoints are written where the results
    folder is shared with the nodes.

    Raises:
        UserError: Ray is not installed, or the cluster cannot be reached.
    """

    reports_steps = False

    def __init__(self, options: ExecutionOptions) -> None:
        ray = self._ray = reached(options.address)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        own: dict[str, Any] = {}
        if options.address is None:
            own = {"num_cpus": options.workers, "include_dashboard": False}
        on_terminate = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(
                address=options.address or "local", log_to_driver=False, logging_level=logging.ERROR, **own
            )
        except (ConnectionError, ValueError, RuntimeError, OSError, ray.exceptions.RayError) as error:
            raise _none_at(options.address, error) from error
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_terminate)  # Ray's own leaves at once
        self._options = replace(options, data=_absolute(options.data))
        self._needs = {"CPU": 1.0}
        if options.device.startswith("cuda"):
            self._needs["GPU"] = options.gpu_share
        self._share = "which takes a core" + f" and {options.gpu_share:g} GPU" * ("GPU" in self._needs)
        needs = {"num_cpus": 1, "num_gpus": self._needs.get("GPU", 0), "max_retries": 0}
        self._work = self._ray.remote(**needs)(_work)
        self._work_once = self._ray.remote(**needs, max_calls=1)(_work)
        self._running: dict[Future[list[FinishedJob]], tuple[Any, float]] = {}
        """Each task, and when it was submitted."""
        given = options.address or ""
        self._head: str = given if ":" in given else ray.get_runtime_context().gcs_address
        self._slots, self._gone = 0, False
        self._left = threading.Event()
        self._looking = threading.Thread(target=self._look, daemon=True)
        self._looking.start()

    @property
    def slots(self) -> int:
        """As many as the nodes that live have cores, or shares of GPUs.

        Raises:
            UserError: the head of the cluster is gone.
        """
        if self._gone:
            raise UserError(
                f"the head of the Ray cluster at {self._head} is gone; finished runs are recorded, "
                "the same command continues with the rest once there is a cluster again"
            )
        return self._slots

    def submit(self, jobs: Sequence[Job]) -> Future[list[FinishedJob]]:
        """Execute a population on a node that has room."""
        outcome: Future[list[FinishedJob]] = Future()
        there = [replace(job, folder=Folder(job.folder.path.absolute())) for job in jobs]
        work = self._work_once if any(job.foreign for job in jobs) else self._work
        reference = work.remote(there, self._options)
        self._running[outcome] = reference, time.monotonic()
        reference.future().add_done_callback(lambda ended: self._deliver(ended, outcome))
        return outcome

    def silence(self, running: Future[list[FinishedJob]]) -> float:
        """Seconds since a population was submitted."""
        _, submitted = self._running.get(running, (None, time.monotonic()))
        return time.monotonic() - submitted

    def kill(self, running: Future[list[FinishedJob]]) -> None:
        """Kill the task of a population."""
        if task := self._running.get(running):
            self._ray.cancel(task[0], force=True)

    def stop(self) -> None:
        """Interrupt the tasks."""
        for reference, _ in list(self._running.values()):
            self._ray.cancel(reference)

    def close(self) -> None:
        """Kill the tasks, and leave the cluster."""
        self._left.set()
        self._looking.join(REFRESH)
        for reference, _ in list(self._running.values()):
            self._ray.cancel(reference, force=True)
        self._ray.shutdown()

    def _look(self) -> None:
        """See what the cluster has, until its head is gone: one that restarts knows nothing of us.

        Not by `ray.cluster_resources`, which ends the process where a head has restarted.
        """
        head, answered = self._ray._raylet.GcsClient(address=self._head), time.monotonic()
        told = False
        while not self._left.is_set():
            try:
                _knock(self._head)
                nodes = head.get_all_node_info(timeout=ANSWER).values()
            except Exception as error:
                gone = isinstance(error, ConnectionRefusedError) or "WrongClusterID" in str(error)
                if gone or time.monotonic() - answered > PATIENCE:
                    self._gone = True
                    return
            else:
                has = [node.resources_total for node in nodes if node.state == node.ALIVE]
                total = {name: sum(node.get(name, 0.0) for node in has) for name in self._needs}
                self._slots = min(
                    on_gpus(total[name], need) if name == "GPU" else int(total[name] / need + 1e-9)
                    for name, need in self._needs.items()
                )
                answered = time.monotonic()
                if not self._slots and not told:
                    terminal.warn(
                        f"the Ray cluster has no room for a run, {self._share}; waiting for a node that has"
                    )
                told = not self._slots
            self._left.wait(REFRESH)

    def _deliver(self, ended: Future[Any], outcome: Future[list[FinishedJob]]) -> None:
        self._running.pop(outcome, None)
        try:
            result = ended.result()
        except Exception as error:
            result = self._lost(error)
        if isinstance(result, Exception):
            outcome.set_exception(result)
        else:
            outcome.set_result(result)

    def _lost(self, error: Exception) -> Exception:
        known = self._ray.exceptions
        if isinstance(error, known.OutOfMemoryError):
            return Lost("its worker was killed by Ray: out of memory", memory=True)
        if isinstance(error, known.NodeDiedError):
            return Lost("its node died", memory=False)
        if isinstance(error, known.WorkerCrashedError):
            return Lost("its worker died (out of memory?)", memory=True)
        if isinstance(error, known.RayError):
            return Lost(anonymous(f"{type(error).__name__}: {first_line(error)}"), memory=False)
        return error


def reached(address: str | None) -> Any:
    """Ray, once the head at an address has answered; what listens there and is none is waited for 40 s.

    Raises:
        UserError: Ray is not installed, or no head answers.
    """
    if address is None and "ray" not in sys.modules:  # which reads them when it is imported
        for name, value in _TOKEN.items():
            os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise UserError("--executor ray needs Ray: pip install 'scalpel-bench[ray]'") from error
    if address is not None and ":" in address:
        try:
            _knock(address)  # Ray itself waits for minutes
            gcs: Any = ray._raylet
            gcs.GcsClient(address=address)  # and for ever where something else listens
        except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
            raise _none_at(address, error) from error
    return ray


def _none_at(address: str | None, error: Exception) -> UserError:
    return UserError(f"no Ray cluster at {address or 'this machine'}: {first_line(error)}")


def _knock(address: str) -> None:
    """See whether anybody answers.

    Raises:
        OSError: nobody.
        ValueError: it is no address.
    """
    host, _, port = address.rpartition(":")
    socket.create_connection((host, int(port)), timeout=10).close()


def _work(jobs: list[Job], options: ExecutionOptions) -> list[FinishedJob] | Exception:
    with stopping_on(signal.SIGINT):
        return attempt(jobs, options)


def _absolute(data: str) -> str:
    return data if data in ("embedded", "hub") else str(Path(data).absolute())
