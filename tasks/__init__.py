"""What is trained on what: model, data, losses and metrics, one file per task.

>>> task = tasks.create("smooth_mlp", data="embedded")
>>> module = task.build()
"""

from .bases import REGISTRY, Batch, ImageTask, Known, LeNetTask, Loss, Model, Task
from .data import Data, DataError, check_source

available, create, get, origin = REGISTRY.available, REGISTRY.create, REGISTRY.get, REGISTRY.origin

__all__ = [
    "REGISTRY",
    "Batch",
    "Data",
    "DataError",
    "ImageTask",
    "Known",
    "LeNetTask",
    "Loss",
    "Model",
    "Task",
    "available",
    "check_source",
    "create",
    "get",
    "origin",
]
