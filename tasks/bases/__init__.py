"""What a task derives from: the contract of every task, and what those on images share."""

from .image_task import ImageTask, Score
from .lenet_task import LeNetTask
from .task import REGISTRY, Batch, Known, Loss, Model, Task

__all__ = ["REGISTRY", "Batch", "ImageTask", "Known", "LeNetTask", "Loss", "Model", "Score", "Task"]
