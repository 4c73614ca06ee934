"""The Slurm script of docs/cluster.md, with stand-ins for `scalpel` and `scontrol`."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from scalpel_bench.benchmarks.records import Folder

ROOT = Path(__file__).parents[3]


def script_of_the_documentation() -> str:
    blocks = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8").split("```sh\n")[1:]
    (script,) = [block.split("```")[0] for block in blocks if "#SBATCH --array" in block]
    return script


class Array:
    """Jobs of one array: real processes on one results folder."""

    def __init__(self, place: Path, *arguments: str) -> None:
        self.place, self.arguments = place, arguments
        (place / "array.sh").write_text(script_of_the_documentation())
        programs = {
            "scalpel": f'exec {sys.executable} -m scalpel_bench.benchmarks.cli "$@"',
            "scontrol": f'echo "$@" >> {place}/queue',
        }
        (place / "bin").mkdir()
        for name, what in programs.items():
            (place / "bin" / name).write_text(f"#!/bin/sh\n{what}\n")
            (place / "bin" / name).chmod(0o755)

    def start(self, task: int) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "PATH": f"{self.place}/bin:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "src"),
            "SLURM_ARRAY_JOB_ID": "7",
            "SLURM_ARRAY_TASK_ID": str(task),
        }
        return subprocess.Popen(
            ["bash", str(self.place / "array.sh"), *self.arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def at_work(job: subprocess.Popen[str], runs: Path) -> bool:
    """Whether the sweep of a job holds a run."""
    sweeps = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
    owners = []
    for lease in runs.glob("*.lease"):
        with suppress(FileNotFoundError, ValueError):  # it is given back, or not written yet
            owners.append(str(json.loads(lease.read_text())["pid"]))
    return not set(owners).isdisjoint(sweeps)


def stamps_of(runs: Path) -> dict[str, tuple[int, int]]:
    stats = {file.name: file.stat() for file in runs.glob("*.json")} if runs.exists() else {}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in stats.items()}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
def test_a_job_whose_time_is_up_queues_again_and_the_array_does_each_run_once(tmp_path) -> None:
    sweep = ["conditioning", "--scale", "smoke", "--set", "training.epochs=1000", "--workers", "1"]
    array, runs = Array(tmp_path, *sweep, "--results", str(tmp_path)), tmp_path / "conditioning/smoke/runs"
    jobs = [array.start(0), array.start(1)]
    while not (stamps_of(runs) and at_work(jobs[0], runs)):
        assert jobs[0].poll() is None
        time.sleep(0.05)
    before = stamps_of(runs)
    jobs[0].send_signal(signal.SIGUSR1)
    said = jobs[0].communicate()[0]
    assert "recorded in all; the same command continues with the rest" in said
    assert (tmp_path / "queue").read_text() == "requeue 7_0\n"
    before |= stamps_of(runs)
    jobs[0] = array.start(0)
    assert [(job.communicate()[0], job.returncode)[1] for job in jobs] == [0, 0]
    records, rejected = Folder(runs.parent).read()
    assert {record.status for record in records} == {"completed"}
    assert not rejected
    assert before.items() <= stamps_of(runs).items()
    assert len(before) < len(records) == len(stamps_of(runs)) == 11
    assert {file.suffix for file in runs.iterdir()} == {".json"}
