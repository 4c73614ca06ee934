"""Figures that need no training, by kind: one file each, which registers itself."""

from . import noise, theorem2
from .registry import SIMULATIONS

__all__ = ["SIMULATIONS", "noise", "theorem2"]
