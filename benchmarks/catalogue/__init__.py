"""What the suite says of its methods, told without importing one: their words, records and tests."""

from .methods import Described, Work, described, works
from .oracles import ORACLES
from .recorded import packed_sweeps, shipped_results, where_recorded

__all__ = [
    "ORACLES",
    "Described",
    "Work",
    "described",
    "packed_sweeps",
    "shipped_results",
    "where_recorded",
    "works",
]
