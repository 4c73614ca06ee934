"""What a task derives from: the contract of every task, and what those on images share."""

from scalpel_bench.tasks.bases.image_task import ImageTask, Score
from scalpel_bench.tasks.bases.task import REGISTRY, Batch, Known, Loss, Model, Task

__all__ = ["REGISTRY", "Batch", "ImageTask", "Known", "Loss", "Model", "Score", "Task"]
