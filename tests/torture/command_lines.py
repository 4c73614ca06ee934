"""Command lines that nobody would write, in one process; what would train is asked for with ``--dry-run``."""

from __future__ import annotations

import contextlib
import io
import random
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scalpel_bench.benchmarks.cli.app import app
from scalpel_bench.benchmarks.messages import UserError
from tests.torture import mutations

WORDS = [
    "", " ", "-", "--", "-1", "0", "1", "1e400", "-0.0", "nan", "inf", "10" * 200, "0.1,,nan", ",", "=", "a=b=c", "a.b=",
    "é λ", "\udcff", "\x1b[2J", "[red]", "x" * 300, "a/" * 200, "..", "/", "/dev/null", "/proc/self/mem", "~", "inside",
    "inside/conditioning/smoke", "trap.py", "trap.py:Trap", ":", "x:y", "mine.toml", "embedded", "hub", "cpu", "meta",
    "cuda:-1", "cpu:1", "auto", "smoke", "sum", "bloop", "mgda,,sum", "quadratic", "task.name=sum", "task.steps=1e400",
    "training.epochs=-1", "training.lr=0.1,nan", "method.rho=[[1]]", "training.threads=1979-05-27", "localhost:1",
]  # fmt: skip
"""What stands in the place of a word; the host of an address is this machine."""

COMMANDS = [
    "sweep conditioning --scale smoke --seeds 1 --results inside --dry-run --methods sum,bloop --lam 0.1,1 --lr 0.1",
    "sweep conditioning --scale smoke --results inside --dry-run --axis method.rho=0.1,0.2 --set training.epochs=2",
    "sweep mine.toml --scale smoke --results inside --dry-run --workers 2 --population auto --gpu-share 0.5",
    "run --task quadratic --method bloop --lam 0.1 --rho 0.5 --seed 1 --scale smoke --results inside --dry-run",
    "run --task conditioning --method sum --set training.epochs=2 --results inside --scale smoke --dry-run",
    "reproduce conditioning --scale smoke --results inside --dry-run --checkpoint-every 1 --run-timeout 5",
    "report inside/conditioning/smoke --output inside/page.html",
    "results verify inside/conditioning/smoke",
    "results pack inside/conditioning/smoke",
    "results fill inside/page.md --results inside",
    "list methods --results inside",
    "new method inside_one --folder inside",
]


