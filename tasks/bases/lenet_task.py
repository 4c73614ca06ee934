"""What the tasks with a LeNet share: the settings of the network and of its data."""

from __future__ import annotations

from dataclasses import dataclass

from ..data.images import ResidentImages
from ..models import side_left
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
        ValueError: a number is out of range.
    """

    channels: tuple[int, int] = (10, 20)
    kernels: tuple[int, int] = (3, 2)
    hidden: int = 50
    batch_size: int = 64
    validation_fraction: float = 0.1
    evaluation_limit: int | None = None

    def __post_init__(self) -> None:
        for setting in ("channels", "kernels"):
            if min(pair := tuple(getattr(self, setting))) < 1:
                raise ValueError(f"{setting} must be two numbers of at least 1, got {list(pair)}")
            setattr(self, setting, pair)
        self.check_at_least(1, "hidden", "batch_size", "evaluation_limit")
        self.check_share("validation_fraction")

    def fitting(self, images: ResidentImages) -> ResidentImages:
        """The same images ``(N, H, H, C)``, on the task's device.

        Raises:
            ValueError: the kernels are too large for them.
        """
        side_left(images.splits["train"]["images"].shape[1], self.kernels)
        return images.to(self.device)
