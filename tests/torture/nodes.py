"""Ray clusters of several nodes on this machine: a node dies, one joins, the head restarts, many runs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scalpel_bench.benchmarks.execution import ExecutionOptions, execute_all
from scalpel_bench.benchmarks.messages import terminal
from scalpel_bench.benchmarks.records import Folder
from tests.benchmarks.runs import conditioning, jobs_of
from tests.torture.kills import ROOT

HEAD = {"num_cpus": 0, "include_dashboard": False}


def node_killed() -> Iterator[dict[str, Any]]:
    """All runs complete on a node that joined before the first died."""
    with _cluster() as cluster, tempfile.TemporaryDirectory() as base:
        doomed = cluster.add_node(num_cpus=2)
        folder = Folder(Path(base))
        folder.prepare()
        jobs = jobs_of(conditioning(training={"epochs": 5000}), folder)
        ended = []
        place = ExecutionOptions(executor="ray", address=cluster.address)
        for done in execute_all([[job] for job in jobs], place):
            ended.append(done.record)
            if len(ended) == 2:
                cluster.add_node(num_cpus=2)
            if len(ended) == 5:
                cluster.remove_node(doomed, allow_graceful=False)
        recorded = [record.id for record in folder.read()[0]]
    bad = sum(record.status != "completed" for record in ended) + (
        recorded != sorted(record.id for record in ended) or len(ended) != len(jobs)
    )
    lost = sum(bool(record.lost) for record in ended)
    what = f"Ray: one node joins, another is killed, {lost} runs retried: all complete, none twice"
    yield {"what": what, "trials": len(jobs), "bad": bad + (lost == 0)}


def head_restarted(times: int = 1) -> Iterator[dict[str, Any]]:
    """The head dies in mid-sweep, another takes its place: one line, and the same command does the rest."""
    bad, before, after = 0, 0, 0
    for _ in range(times):
        port = _free_port()
        with tempfile.TemporaryDirectory() as base, _cluster(port) as cluster:
            cluster.add_node(num_cpus=2)
            command, runs = _command(cluster.address, base), Path(base) / "conditioning/smoke/runs"
            sweep = _started(command)
            while len(_stamps(runs)) < 2 and sweep.poll() is None:
                time.sleep(0.05)
            cluster.remove_node(cluster.head_node, allow_graceful=False)
            with _cluster(port) as successor:
                _, words = sweep.communicate()
                kept = _stamps(runs)
                successor.add_node(num_cpus=2)
                again = _started(command)
                again.communicate()
            ended = _stamps(runs)
            said = [
                line for line in words.splitlines() if line.startswith("scalpel: error: the head of the Ray")
            ]
            faults = {
                "the sweep's end": sweep.returncode != 2 or len(said) != 1,
                "the same command's end": again.returncode != 0,
                "a record made again": any(ended[name] != stamp for name, stamp in kept.items()),
                "nothing done after": len(ended) <= len(kept),
                "left": any(file.suffix in (".lease", ".checkpoint") for file in runs.iterdir()),
            }
            if any(faults.values()):
                found = ", ".join(fault for fault, seen in faults.items() if seen)
                terminal.say(f"bad: {found}; status {sweep.returncode}, {words[-600:]}")
            bad += any(faults.values())
            before, after = before + len(kept), after + len(ended) - len(kept)
    what = f"Ray: the head restarts: one line, then the same command; {before} + {after} runs, none twice"
    yield {"what": what, "trials": times, "bad": bad}


def many_runs(count: int = 1000) -> Iterator[dict[str, Any]]:
    """Short runs on two nodes: what Ray adds to each, and what the sweep's process holds on to."""
    with _cluster() as cluster, tempfile.TemporaryDirectory() as base:
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        folder = Folder(Path(base))
        folder.prepare()
        jobs = jobs_of(conditioning(seeds=1 + count // 10, training={"epochs": 1, "evaluations": 1}), folder)[
            :count
        ]
        own, held, moments, completed = 0.0, [], [], 0
        place = ExecutionOptions(executor="ray", address=cluster.address)
        for number, done in enumerate(execute_all([[job] for job in jobs], place)):
            completed += done.record.status == "completed"
            if number >= count // 4:
                own += sum(done.record.timings.values())
                moments.append(time.perf_counter())
                held.append(_held())
        recorded = len(folder.read()[0])
    seconds = 2 * (moments[-1] - moments[0]) / (len(moments) - 1)
    added = 1000 * (seconds - own / len(moments))
    memory, files = held[-1][0] - held[0][0], held[-1][1] - held[0][1]
    what = (
        f"Ray, two nodes: {added:.0f} ms a run beside its own (target 100); over the last three quarters the "
        f"sweep's process grew by {memory:.1f} MiB and {files} open files"
    )
    bad = 2 * count - completed - recorded + (added > 100) + (memory > 16) + (files > 4)
    yield {"what": what, "trials": count, "bad": bad}


@contextmanager
def _cluster(port: int | None = None) -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    os.environ.setdefault("RAY_worker_niceness", "0")  # else workers wait for whatever else this machine does
    where = {} if port is None else {"gcs_server_port": port}
    cluster = Cluster(initialize_head=True, head_node_args={**HEAD, **where})
    try:
        yield cluster
    finally:
        cluster.shutdown()


def _command(address: str, results: str) -> list[str]:
    cli = [sys.executable, "-m", "scalpel_bench.benchmarks.cli", "sweep", "conditioning", "--scale", "smoke"]
    longer = ["--set", "training.epochs=1000", "--results", results]
    return [*cli, *longer, "--executor", "ray", "--address", address]


def _started(command: list[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def _stamps(runs: Path) -> dict[str, tuple[int, int]]:
    """Which file each record is, and when it was written."""
    stats = {file.name: file.stat() for file in runs.glob("*.json")} if runs.exists() else {}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in stats.items()}


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def _held() -> tuple[float, int]:
    """Memory in MiB, and open files, of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20, len(list(Path("/proc/self/fd").iterdir()))
