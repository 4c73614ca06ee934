"""Scalpel: gradient-surgery methods, and the reproducible benchmark suite that compares them.

>>> import scalpel_bench as scalpel
>>> surgeon = scalpel.Surgeon(model.parameters(), scalpel.methods.Bloop(lam=0.3))
>>> scalpel.load_results("results/fig5a/workstation").plot()  # with the extra `suite`
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import benchmarks, methods, tasks
    from .benchmarks.api import fronts, leaderboard, load_results, sweep
    from .methods import Method, Surgeon

__all__ = [
    "Method",
    "Surgeon",
    "benchmarks",
    "fronts",
    "leaderboard",
    "load_results",
    "methods",
    "sweep",
    "tasks",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: PyTorch takes seconds."""
    if name in ("benchmarks", "methods", "tasks"):
        return importlib.import_module(f"scalpel_bench.{name}")
    if name in ("fronts", "leaderboard", "load_results", "sweep"):
        return getattr(importlib.import_module("scalpel_bench.benchmarks.api"), name)
    if name in __all__:
        return getattr(importlib.import_module("scalpel_bench.methods"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
