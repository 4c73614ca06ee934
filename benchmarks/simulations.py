"""Figures that need no training: each a module with ``simulate``, ``quantities``, ``overview``, ``draw``."""

from types import ModuleType

from benchmarks import noise, rates

SIMULATIONS: dict[str, ModuleType] = {"noise": noise, "rates": rates}
