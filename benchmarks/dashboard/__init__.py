"""A view of records in Weights & Biases."""

from scalpel_bench.benchmarks.dashboard.recorded import push
from scalpel_bench.benchmarks.dashboard.tracker import Tracker

__all__ = ["Tracker", "push"]
