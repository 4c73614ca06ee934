"""A view of records in Weights & Biases."""

from .recorded import push
from .tracker import Tracker

__all__ = ["Tracker", "push"]
