"""Two hosts on one results folder: neither sees the other's processes, and their names differ."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.torture.kills import Sweeper, content, undisturbed


def two_hosts(times: int = 2) -> Iterator[dict[str, Any]]:
    """Both sweep one folder, to the end; then half as often, one dies with all that runs on it."""
    if subprocess.run([*host("first"), "true"], check=False, capture_output=True).returncode:
        yield {
            "what": "two hosts on one folder: not tried, as namespaces are not permitted",
            "trials": 0,
            "bad": 0,
        }
        return
    with tempfile.TemporaryDirectory() as base:
        expected = undisturbed(Path(base) / "whole")
        yield from _both_live(Path(base), times, expected)
        yield from _one_dies(Path(base), (times + 1) // 2, expected)


def host(name: str) -> list[str]:
    """The command that starts another on a host of this name, with process numbers of its own."""
    unshare = ["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return [*unshare, "sh", "-c", f'hostname {name} && exec "$@"', "sh"]


def _both_live(base: Path, times: int, expected: dict[str, Any]) -> Iterator[dict[str, Any]]:
    both, bad, by_first = [Sweeper(1, host(name)) for name in ("first", "second")], 0, 0
    for trial in range(times):
        folder = base / f"live-{trial}"
        for sweeper in both:
            sweeper.begin(folder)
        lines = [sweeper.finish() for sweeper in both]
        by_first += len(_executed(lines[0]))
        once = Counter(_executed(lines[0]) + _executed(lines[1])) == Counter(expected.keys())
        bad += not once or not _as_expected(folder, expected)
    for sweeper in both:
        sweeper.close()
    share = f"{by_first} of {len(expected) * times} runs by the first"
    yield {"what": f"two hosts on one folder ({share}): each run executed once", "trials": times, "bad": bad}


def _one_dies(base: Path, times: int, expected: dict[str, Any]) -> Iterator[dict[str, Any]]:
    survivor, bad, waited = Sweeper(1, host("survivor")), 0, 0.0
    for trial in range(times):
        folder, doomed = base / f"dead-{trial}", Sweeper(1, host("doomed"))
        doomed.begin(folder)
        lines = [doomed.line(), doomed.line()]
        survivor.begin(folder)
        lines.append(survivor.line())
        doomed.process.kill()
        died = time.monotonic()
        lines += doomed.finish() + survivor.finish()
        waited = max(waited, time.monotonic() - died)
        doomed.close()
        twice = max(Counter(_executed(lines)).values()) > 1
        bad += twice or not _as_expected(folder, expected)
    survivor.close()
    what = f"one of two hosts dies: its runs are taken over, the last after {waited:.0f} s, none twice"
    yield {"what": what, "trials": times, "bad": bad}


def _executed(lines: list[list[str]]) -> list[str]:
    return [line[1] for line in lines if len(line) == 2 and line[0] == "executed"]


def _as_expected(folder: Path, expected: dict[str, Any]) -> bool:
    left = [file for file in (folder / "runs").iterdir() if file.suffix in (".lease", ".checkpoint")]
    return content(folder) == expected and not left
