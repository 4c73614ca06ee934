"""The training loop: steps, evaluations, checkpoints, for one run or several in lock step."""

from .checkpoints import NO_CHECKPOINT, Checkpoint
from .loop import Outcome, train
from .models import FlatModel, StackedModels
from .stepper import Stepper, stream
from .stopping import Interrupted, stopping_on

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
