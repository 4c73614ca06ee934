"""Figures that need no training: each a module with ``simulate``, ``quantities``, ``overview``, ``draw``."""

from types import ModuleType

from scalpel_bench.benchmarks.simulations import convergence_rates as rates
from scalpel_bench.benchmarks.simulations import noise

SIMULATIONS: dict[str, ModuleType] = {"noise": noise, "rates": rates}
