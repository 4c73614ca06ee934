"""Sweeps that are killed at random moments, and sweeps that share a folder."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scalpel_bench.benchmarks.records import Folder

ROOT = Path(__file__).parents[2]


class Sweeper:
    """A process that sweeps one folder after the other; ``within`` is the command that starts it, if any."""

    def __init__(self, workers: int, within: Sequence[str] = ()) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [*within, sys.executable, "-m", "tests.torture.sweeps", str(workers)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(self, folder: Path) -> None:
        assert self.process.stdin is not None
        print(folder, file=self.process.stdin, flush=True)

    def line(self) -> list[str]:
        """The next thing that it did; nothing where it is dead."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()

    def finish(self) -> list[list[str]]:
        """All that it did until the end of its sweep."""
        lines = []
        while (line := self.line()) not in ([], ["end"]):
            lines.append(line)
        return lines

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def content(folder: Path) -> dict[str, Any]:
    """What the records say, but for seconds, and for what was lost on the way."""
    records, rejected = Folder(folder).read()
    assert not rejected, rejected
    return {record.id: (record.status, record.trajectory) for record in records}


def undisturbed(folder: Path) -> dict[str, Any]:
    """The records of a sweep that nothing happens to."""
    sweeper = Sweeper(workers=2)
    sweeper.begin(folder)
    ended = sweeper.finish()
    sweeper.close()
    records = content(folder)
    assert sorted(line[1] for line in ended) == sorted(records)
    return records


def killed(times: int = 20) -> Iterator[dict[str, Any]]:
    """SIGKILL at random moments, of the sweep or of one of its workers, until nothing is missing."""
    draw = random.Random(0)
    kills, whole, bad, folders, checkpoints = 0, 0, 0, 0, 0
    with tempfile.TemporaryDirectory() as base:
        expected = undisturbed(Path(base) / "whole")
        while kills < times:
            folder, ended = Path(base) / f"killed-{folders}", list[list[str]]()
            folders += 1
            while content(folder).keys() != expected.keys():
                sweeper = Sweeper(workers=2)
                sweeper.begin(folder)
                while kills < times:
                    for _ in range(draw.choice([0, 1, 1, 2])):
                        ended.append(sweeper.line())
                    time.sleep(draw.uniform(0, 0.2))
                    workers = _workers(sweeper.process.pid) if draw.random() < 0.6 else []
                    if not workers and sweeper.process.poll() is not None:
                        break
                    kills += 1
                    checkpoints += bool(list(folder.glob("runs/*.checkpoint")))
                    os.kill(draw.choice(workers) if workers else sweeper.process.pid, signal.SIGKILL)
                    if not workers:
                        whole += 1
                        break
                ended += sweeper.finish()
                sweeper.close()
            left = [file for file in (folder / "runs").iterdir() if file.suffix in (".lease", ".checkpoint")]
            words = [line for line in ended if len(line) == 2]
            doubled = any(count > 1 for count in Counter(run for _, run in words).values())
            started_over = any(word == "over" for word, _ in words)
            bad += content(folder) != expected or bool(left) or doubled or started_over
    of = f"{whole} sweeps, {kills - whole} workers; {checkpoints} with checkpoints"
    what = f"SIGKILL at random moments ({of}): records as undisturbed, no run started over"
    yield {"what": what, "trials": kills, "bad": bad}


def concurrent(times: int = 20) -> Iterator[dict[str, Any]]:
    """Two sweeps on one folder: each run executed exactly once, whoever does it."""
    with tempfile.TemporaryDirectory() as base:
        expected = undisturbed(Path(base) / "whole")
        both, bad, by_first = [Sweeper(workers=1) for _ in range(2)], 0, 0
        for trial in range(times):
            folder = Path(base) / f"shared-{trial}"
            for sweeper in both:
                sweeper.begin(folder)
            lines = [sweeper.finish() for sweeper in both]
            executed = [[line[1] for line in of_one if line[0] == "executed"] for of_one in lines]
            by_first += len(executed[0])
            once = Counter(executed[0] + executed[1]) == Counter(expected.keys())
            bad += (
                not once
                or content(folder) != expected
                or {len(of_one) for of_one in lines} != {len(expected)}
            )
        for sweeper in both:
            sweeper.close()
    share = f"{by_first} of {len(expected) * times} by the first"
    yield {"what": f"two concurrent sweeps ({share}): each run executed once", "trials": times, "bad": bad}


def _workers(sweep: int) -> list[int]:
    """The workers of a sweep: children of the process that forks them, which is a child of the sweep."""

    def children(pid: int) -> list[int]:
        listed = Path("/proc", str(pid)).glob("task/*/children")
        return [int(child) for file in listed for child in file.read_text().split()]

    return [worker for child in children(sweep) for worker in children(child)]
