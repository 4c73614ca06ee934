"""The training loop: steps, evaluations, checkpoints, for one run or several in lock step."""

from scalpel_bench.benchmarks.training.checkpoints import NO_CHECKPOINT, Checkpoint
from scalpel_bench.benchmarks.training.loop import Outcome, train
from scalpel_bench.benchmarks.training.models import FlatModel, StackedModels
from scalpel_bench.benchmarks.training.stepper import Stepper, stream
from scalpel_bench.benchmarks.training.stopping import Interrupted, stopping_on

__all__ = [
    "NO_CHECKPOINT",
    "Checkpoint",
    "FlatModel",
    "Interrupted",
    "Outcome",
    "StackedModels",
    "Stepper",
    "stopping_on",
    "stream",
    "train",
]
