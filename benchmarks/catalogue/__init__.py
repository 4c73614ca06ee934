"""What the suite says of its methods, told without importing one: their words, records and tests."""

from .methods import Described, Work, described, works
from .oracles import ORACLES
from .recorded import shipped_results, where_recorded

__all__ = ["ORACLES", "Described", "Work", "described", "shipped_results", "where_recorded", "works"]
