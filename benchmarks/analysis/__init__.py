"""From records to tables: fronts, indicators, statistics, verdicts."""

from . import at_rest
from .analyses import (
    Analysis,
    MixedLossAnalysis,
    SimulationAnalysis,
    TrainingAnalysis,
    analyse,
)

__all__ = ["Analysis", "MixedLossAnalysis", "SimulationAnalysis", "TrainingAnalysis", "analyse", "at_rest"]
