"""Commands that are killed or asked to stop at random moments, and a disk that fills up under them."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from scalpel_bench.benchmarks.commands.report import report
from scalpel_bench.benchmarks.messages import terminal
from scalpel_bench.benchmarks.records import Folder
from tests.benchmarks.recorded import recorded
from tests.torture.kills import Sweeper, content, undisturbed

ROOT = Path(__file__).parents[2]
SWEEP = ["sweep", "conditioning", "--scale", "smoke", "--methods", "sum,bloop", "--workers", "2"]
RUNS = 4
START = "from scalpel_bench.benchmarks.cli import app, command; print('ready', flush=True); command()"
DISK = 4 * 2**20
"""Bytes of the disk that fills up."""


def derived(reports: int = 12, packs: int = 50) -> Iterator[dict[str, Any]]:
    """A row each for SIGKILL in mid-report and in mid-pack: done again, all is as it would have been."""
    for what, of, kills in (("report", _report, reports), ("results pack", _pack, packs)):
        draw, killed, bad = random.Random(0), 0, 0
        with tempfile.TemporaryDirectory() as base:
            path = recorded(Path(base) / "conditioning" / "smoke")
            action, before = partial(of, path), _written(path)
            began = time.perf_counter()
            _forked(action)
            seconds, expected = time.perf_counter() - began, _written(path)
            for _ in range(kills):
                for file in path.rglob("*"):
                    if file.is_file() and file.name not in before:
                        file.unlink()
                killed += _forked(action, draw.uniform(0, seconds)) != 0
                bad += bool(Folder(path).read()[1])
                bad += _forked(action) != 0 or _written(path) != expected
        does = f"SIGKILL in mid-{what}, {killed} in time: done again, the same bytes"
        yield {"what": does, "trials": kills, "bad": bad}


def _report(path: Path) -> None:
    report([path], None)


def _pack(path: Path) -> None:
    Folder(path).pack()


def _written(path: Path) -> dict[str, bytes]:
    """What is in a folder, but for what a kill may leave under a name that nothing reads."""
    return {
        file.name: file.read_bytes() for file in path.rglob("*") if file.is_file() and file.suffix != ".tmp"
    }


def _forked(action: Callable[[], Any], seconds: float | None = None) -> int:
    """Do something in a fork, which is killed after so many seconds; its status."""
    if not (child := os.fork()):
        terminal.console.quiet = terminal._errors.quiet = True
        status = 1
        try:
            action()
            status = 0
        finally:
            os._exit(status)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def packed(times: int = 3) -> Iterator[dict[str, Any]]:
    """A row: a folder is packed over and over, and that is killed, while a sweep writes to it."""
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as base:
        expected = undisturbed(Path(base) / "whole")
        sweeper, bad, packs = Sweeper(workers=2), 0, 0
        for trial in range(times):
            folder = Folder(Path(base) / f"packed-{trial}")
            sweeper.begin(folder.path)
            while len(list(folder.runs.glob("*.json"))) < len(expected):
                if folder.has_records:
                    packs += 1
                    _forked(folder.pack, draw.choice([None, draw.uniform(0, 0.05)]))
                    bad += bool(folder.read()[1])
                time.sleep(0.01)
            sweeper.finish()
            folder.pack()
            shutil.rmtree(folder.runs)
            bad += content(folder.path) != expected
        sweeper.close()
    yield {"what": "packed, and killed at that, while a sweep writes: records as undisturbed",
           "trials": packs, "bad": bad}  # fmt: skip


def stopped(times: int = 8) -> Iterator[dict[str, Any]]:
    """A row: Ctrl-C, SIGTERM and SIGHUP, up to three times, at random moments of a sweep and its report."""
    draw = random.Random(0)
    bad, statuses = 0, []
    with tempfile.TemporaryDirectory() as base:
        began = time.perf_counter()
        bad += _told(_begun(Path(base) / "whole"))[0] != 0
        seconds = time.perf_counter() - began
        for trial in range(times):
            results = Path(base) / str(trial)
            process = _begun(results)
            waits = [draw.uniform(0, seconds), *draw.choices([0.0, 0.1, 1.0], k=draw.choice([0, 1, 1, 2]))]
            for wait in waits:
                time.sleep(wait)
                _signal(process, draw.choice([signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGHUP]))
            status, error = _told(process)
            statuses.append(status)
            kept = _records(results)
            again, _ = _told(_begun(results))
            lost = any(_records(results).get(name) != held for name, held in kept.items())
            whole = again == 0 and len(_records(results)) == RUNS
            unheard = not error and -status in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # not begun
            fine = (status in (0, 130) or unheard) and "Traceback" not in error and whole and not lost
            if not fine:
                terminal.say(f"bad: status {status}, {error[-600:]!r}")
            bad += not fine
    ended = f"{statuses.count(130)} in time"
    what = f"SIGINT, SIGTERM, SIGHUP one to three times ({ended}): one line, and it goes on"
    yield {"what": what, "trials": times, "bad": bad}


def _signal(process: subprocess.Popen[str], number: int) -> None:
    """As a terminal does, which asks all processes of a command, or as Slurm does, which asks the first."""
    with suppress(ProcessLookupError):
        if number == signal.SIGTERM:
            process.send_signal(number)
        else:
            os.killpg(process.pid, number)


def _begun(results: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", START, *SWEEP, "--results", str(results)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    return process


def _told(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, error = process.communicate(timeout=600)
    return process.returncode, error


def _records(results: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in results.glob("*/*/runs/*.json")}


def full_disk(times: int = 4) -> Iterator[dict[str, Any]]:
    """A row: a small disk that is full, or nearly so; nothing where this user may mount none."""
    draw = random.Random(0)
    try:
        with _small_disk() as disk:
            bad = sum(_fills_up(disk / str(trial), disk, draw) for trial in range(times))
    except OSError as error:
        terminal.say(f"no disk to fill up: {error}")
        return
    yield {
        "what": "a disk that fills up: one line, and with room again all is there",
        "trials": times,
        "bad": bad,
    }


def _fills_up(results: Path, disk: Path, draw: random.Random) -> bool:
    """Whether a sweep on a disk with little room ends with more than a line, or loses something."""
    filler = disk / "filler"
    free = shutil.disk_usage(disk).free
    filler.write_bytes(b"x" * max(0, free - draw.choice([0, 4, 16, 64, 256]) * 2**10))
    status, error = _told(_begun(results))
    kept = _records(results)
    filler.unlink()
    again, _ = _told(_begun(results))
    now = _records(results)
    lines = error.strip().splitlines()
    one = len(lines) == 1 and lines[0].startswith("scalpel: error: ") and status in (2, 3)
    fine = one and again == 0 and len(now) == RUNS and all(now[name] == held for name, held in kept.items())
    if not fine:
        terminal.say(f"bad: status {status}, then {again}, {len(kept)} of {len(now)} kept, {error[-600:]!r}")
    shutil.rmtree(results)
    return not fine


@contextmanager
def _small_disk() -> Iterator[Path]:
    """A disk of its own, of `DISK` bytes.

    Raises:
        OSError: there can be none here.
    """
    with tempfile.TemporaryDirectory() as base:
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "scalpel-torture", base]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(done.stderr.strip() or "mount failed")
        try:
            yield Path(base)
        finally:
            subprocess.run(["umount", base], check=True)
