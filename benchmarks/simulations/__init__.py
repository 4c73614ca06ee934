"""Figures that need no training, by kind: one file each, which registers itself."""

from . import convergence_rates, noise
from .registry import SIMULATIONS

__all__ = ["SIMULATIONS", "convergence_rates", "noise"]
