"""Figures that need no training, by kind: one file each, which registers itself."""

from scalpel_bench.benchmarks.simulations import convergence_rates, noise
from scalpel_bench.benchmarks.simulations.registry import SIMULATIONS

__all__ = ["SIMULATIONS", "convergence_rates", "noise"]
