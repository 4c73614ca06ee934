"""Figures that need no training, by kind: each module of this folder registers one."""

import importlib
import pkgutil

from scalpel_bench.benchmarks.simulations.registry import SIMULATIONS

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["SIMULATIONS"]
