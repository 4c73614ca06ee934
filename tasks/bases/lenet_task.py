"""What the tasks with a LeNet share: the settings of the network and of its data."""

from __future__ import annotations

from dataclasses import dataclass

from .task import Task


@dataclass
class LeNetTask(Task):
    """A LeNet (`tasks.models.LeNet`) on grey images, as they are.

    Args:
        channels: of each of the two convolutions.
        kernels: the side of each convolution's kernels, in pixels.
        hidden: units of the layer below the heads.
        batch_size: images per step.
        validation_fraction: share of the training images kept for validation.
        evaluation_limit: only the first so many images of each split are evaluated; None: all of them.

    Raises:
        ValueError: a number is out of range, or there are not two convolutions.
    """

    channels: tuple[int, int] = (10, 20)
    kernels: tuple[int, int] = (3, 2)
    hidden: int = 50
    batch_size: int = 64
    validation_fraction: float = 0.1
    evaluation_limit: int | None = None

    def __post_init__(self) -> None:
        for setting in ("channels", "kernels"):
            first, second = value = tuple(pair) if len(pair := getattr(self, setting)) == 2 else (0, 0)
            if min(first, second) < 1:
                raise ValueError(f"{setting} must be two numbers of at least 1, got {list(pair)}")
            setattr(self, setting, value)
        self.check_at_least(1, "hidden", "batch_size", "evaluation_limit")
