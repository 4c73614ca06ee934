"""Command lines that nobody would write, in one process; what would train is asked for with ``--dry-run``."""

from __future__ import annotations

import contextlib
import io
import random
import shutil
import sys
import tempfile
import unittest.mock
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from scalpel_bench.benchmarks import figures
from scalpel_bench.benchmarks.cli import main
from scalpel_bench.benchmarks.experiments import loading
from scalpel_bench.benchmarks.messages import terminal
from tests.benchmarks.recorded import recorded
from tests.torture.damage import is_fine

WORDS = [
    "", " ", "-", "--", "-1", "0", "1", "1e400", "-0.0", "nan", "inf", "10" * 200, "0.1,,nan", ",", "=",
    "a=b=c", "a.b=", "é λ", "\udcff", "\x1b[2J", "[red]", "x" * 300, "a/" * 200, "..", "/",
    "/proc/self/mem", "~", "inside", "inside/conditioning/smoke", "trap.py", "trap.py:Trap", ":", "x:y",
    "mine.toml", "embedded", "hub", "cpu", "meta", "cuda:-1", "cpu:1", "auto", "smoke", "sum", "bloop",
    "mgda,,sum", "quadratic", "task.name=sum", "task.steps=1e400", "training.epochs=-1",
    "training.lr=0.1,nan", "method.rho=[[1]]", "training.threads=1979-05-27", "localhost:1",
]  # fmt: skip
"""What stands in the place of a word; the host of an address is this machine."""

COMMANDS = [
    "sweep conditioning --scale smoke --seeds 1 --results inside --methods sum,bloop --lam 0.1,1",
    "sweep conditioning --scale smoke --results inside --axis method.rho=0.1,0.2 --set training.epochs=2",
    "sweep mine.toml --scale smoke --results inside --workers 2 --population auto --gpu-share 0.5",
    "run --task quadratic --method bloop --lam 0.1 --rho 0.5 --seed 1 --scale smoke --results inside",
    "run --task conditioning --method sum --set training.epochs=2 --results inside --scale smoke",
    "reproduce conditioning --scale smoke --results inside --checkpoint-every 1 --run-timeout 5",
    "compare pcgrad --on conditioning --results inside --out compared --device cpu",
    "leaderboard inside --method bloop --each",
    "report inside/conditioning/smoke --output inside/page.html",
    "results verify inside/conditioning/smoke",
    "results pack inside/conditioning/smoke",
    "results fill inside/page.md --results inside",
    "list methods --results inside",
    "new method inside_one --folder inside",
]
EXPECTED = {"inside", "trap.py", "mine.toml", "sprung", "report.html", "leaderboard.csv"}
"""What may be there in the end: experiments may name files of code, and several folders share a page."""


def mistyped(count: int = 300) -> Iterator[dict[str, Any]]:
    """A row; bad is a traceback, a wrong status, no line that says what is wrong, or a file elsewhere."""
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as base, contextlib.chdir(base):
        Path("trap.py").write_text("open('sprung', 'w')\n")
        shutil.copy(loading.available()["conditioning"], "mine.toml")
        recorded(Path("inside/conditioning/smoke"))
        Path("inside/page.md").write_text("<!-- ratios: conditioning/smoke -->\n<!-- end -->\n")
        with unittest.mock.patch.object(figures, "draw"):
            bad = sum(not is_fine(partial(_runs, _mutated(draw))) for _ in range(count))
        for left in sorted({file.name for file in Path().iterdir()} - EXPECTED):
            terminal.say(f"bad: {left!r} was written")
            bad += 1
    yield {"what": "mutated command lines: done, or one line and status 2", "trials": count, "bad": bad}


def _mutated(draw: random.Random) -> list[str]:
    """A command line in which words are others, one more, or one fewer; nothing is trained."""
    words = draw.choice(COMMANDS).split()
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        at = draw.randrange(1, len(words))
        match draw.randrange(4):
            case 0 | 1:
                words[at] = draw.choice(WORDS)
            case 2:
                words.insert(at, draw.choice(WORDS))
            case _ if len(words) > 2:
                del words[at]
    for flag in ("--output", "--folder", "--results"):  # where to write is the person's word
        if flag in words[:-1]:
            words[words.index(flag) + 1] = draw.choice(["inside", "/proc/x", "mine.toml", "x" * 300])
    dry = ["--dry-run"]
    last = {"new": ["--folder", "inside"], "sweep": dry, "run": dry, "reproduce": dry, "compare": dry}
    return [*words, *last.get(words[0], [])]


def _runs(words: list[str]) -> bool:
    """Whether a command ends as it should."""
    out, error = io.StringIO(), io.StringIO()
    status: Any = 0
    with (
        unittest.mock.patch.object(sys, "argv", ["scalpel", *words]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(error),
    ):
        try:
            main()
        except SystemExit as end:
            status = end.code or 0
    lines = error.getvalue().splitlines()
    clear = status != 2 or (bool(lines) and lines[-1].startswith("scalpel: error:"))
    return status in (0, 2, 3) and clear and "Traceback" not in error.getvalue()
