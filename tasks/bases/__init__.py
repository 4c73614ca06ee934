"""What a task derives from: the contract of every task, and what those on images share."""

from .image_task import ImageTask, Score
from .task import REGISTRY, Batch, Known, Loss, Model, Task

__all__ = ["REGISTRY", "Batch", "ImageTask", "Known", "Loss", "Model", "Score", "Task"]
