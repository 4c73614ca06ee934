"""What tasks keep between runs, damaged in every way: the same data, or one clear line."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import unittest.mock
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from scalpel_bench.benchmarks.execution import ExecutionOptions, describe_data, loaded_tasks
from tests.tasks import articles, phrases
from tests.torture.damage import damaged, is_fine

KEPT = {"language_model": articles.SMALL, "translation": phrases.SMALL}


def damaged_caches(count: int = 200) -> Iterator[dict[str, Any]]:
    """A row for each task that keeps JSON; bad is what raises, or text that is not what was read."""
    draw = random.Random(0)
    for task, settings in KEPT.items():
        with tempfile.TemporaryDirectory() as base:
            cache, whole = Path(base) / "cache", Path(base) / "whole"
            data = "embedded"
            if task == "language_model":
                data = str(articles.write_all(Path(base) / "data"))
            described = partial(_described, {"name": task, **settings}, ExecutionOptions(data=data))
            with unittest.mock.patch.dict(os.environ, XDG_CACHE_HOME=str(cache)):
                expected = described()
                cache.rename(whole)
                trials = count // len(KEPT)
                trial = partial(_same_or_refused, draw, cache, whole, described, expected)
                bad = sum(not is_fine(trial) for _ in range(trials))
        yield {
            "what": f"damaged cache of {task}: the same data, or one clear line",
            "trials": trials,
            "bad": bad,
        }


def _described(settings: dict[str, Any], options: ExecutionOptions) -> Any:
    loaded_tasks._task.cache_clear()
    loaded_tasks._described.cache_clear()
    return describe_data(settings, options)


def _same_or_refused(draw: random.Random, cache: Path, whole: Path, described: Any, expected: Any) -> bool:
    """Whether damage is refused, or does not tell; tokens and images are known by what they are."""
    shutil.rmtree(cache, ignore_errors=True)
    shutil.copytree(whole, cache)
    file = draw.choice([file for file in sorted(cache.rglob("*")) if file.is_file() and file.stat().st_size])
    file.write_bytes(damaged(draw, file.read_bytes()))
    found = described()
    return found == expected or file.suffix in (".ids", ".ends")
