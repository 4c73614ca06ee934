"""Bytes and values that are damaged in every way, and what a person may be told of it."""

from __future__ import annotations

import json
import random
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scalpel_bench.benchmarks.messages import UserError, terminal

TRICKS: list[Any] = [
    None, True, -1, 0, 10**400, 1e308, float("nan"), float("inf"), "", "../../escaped", "/tmp/escaped", "a/b",
    "..",    "trap.py:Trap", "\x00", "x" * 10_000, [], {}, [[]], {"name": "../x"}, "NaN", "experiment.toml",
]  # fmt: skip
SLOW = 60.0
"""Seconds that no trial may take."""


def damaged(draw: random.Random, content: bytes) -> bytes:
    """Truncated, with flipped bits, with a piece doubled or cut out, or with a trick in place of a value."""
    kind = draw.randrange(5)
    at = draw.randrange(len(content))
    if kind == 0:
        return content[:at]
    if kind == 1:
        flipped = bytearray(content)
        for _ in range(draw.randint(1, 5)):
            flipped[draw.randrange(len(flipped))] ^= 1 << draw.randrange(8)
        return bytes(flipped)
    end = min(len(content), at + draw.randint(1, 60))
    if kind == 2:
        return content[:end] + content[at:]
    if kind == 3:
        return content[:at] + content[end:]
    return content[:at] + json.dumps(draw.choice(TRICKS), default=str).encode() + content[end:]


def tricked(draw: random.Random, value: Any) -> Any:
    """A copy of a JSON value in which one leaf or branch is something else."""
    if isinstance(value, dict) and value and draw.random() < 0.85:
        key = draw.choice(list(value))
        return {**value, key: tricked(draw, value[key])}
    if isinstance(value, list) and value and draw.random() < 0.85:
        index = draw.randrange(len(value))
        return [*value[:index], tricked(draw, value[index]), *value[index + 1 :]]
    return draw.choice(TRICKS)


def is_fine(trial: Callable[[], Any]) -> bool:
    """Whether a trial ends in time, with nothing or with a `UserError` of one line."""
    started, said = time.monotonic(), ""
    try:
        wrong = trial() is False
    except UserError as error:
        said, wrong = str(error), "\n" in str(error).strip()
    except Exception as error:
        wrong, last = True, traceback.extract_tb(error.__traceback__)[-1]
        said = f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno}: {error}"
    seconds = time.monotonic() - started
    if wrong or seconds > SLOW:
        terminal.say(f"bad, {seconds:.0f} s: {said[:300]!r}")
    return not wrong and seconds <= SLOW
