"""What the tasks on images share: their settings, and how predictions are scored."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..models import BLOCKS, STEMS
from .task import Task


@dataclass
class ImageTask(Task):
    """A residual network that is trained on cropped and mirrored images, and evaluated on images as they are.

    Args:
        blocks: the residual network (`tasks.models.BLOCKS`).
        width: channels of its first stage.
        stem: its first layer (`tasks.models.STEMS`).
        batch_size: images (of each data set) per step.
        validation_fraction: share of the training images kept for validation.
        padding: each training image is shifted at random, by up to so many pixels in either direction.
        flip: mirror training images at random. ImageNet's are always cropped and mirrored at random, whatever
            ``padding`` and ``flip`` say.
        evaluation_limit: only the first so many images of each split are evaluated; None: all of them.

    Raises:
        ValueError: an unknown name, or a number out of range.
    """

    blocks: str = "resnet8"
    width: int = 8
    stem: str = "3x3"
    batch_size: int = 64
    validation_fraction: float = 0.1
    padding: int = 1
    flip: bool = True
    evaluation_limit: int | None = None

    def __post_init__(self) -> None:
        for setting, known in (("blocks", BLOCKS), ("stem", STEMS)):
            if (value := getattr(self, setting)) not in known:
                raise ValueError(f"{setting} must be one of {', '.join(known)}, got {value!r}")
        self.check_at_least(1, "width", "batch_size", "evaluation_limit")
        self.check_at_least(0, "padding")
        self.check_share("validation_fraction")


class Score:
    """Mean cross-entropy in nats and accuracy in [0, 1], summed up over chunks on the device."""

    def __init__(self) -> None:
        self.sums: Tensor | None = None
        self.count = 0

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """A chunk: logits ``(B, classes)`` and labels ``(B,)``."""
        loss = cross_entropy(logits, labels, reduction="sum").double()
        sums = torch.stack([loss, (logits.argmax(1) == labels).sum().double()])
        self.sums = sums if self.sums is None else self.sums + sums
        self.count += len(labels)

    def values(self) -> tuple[float, float]:
        """Mean cross-entropy and accuracy."""
        assert self.sums is not None
        loss, accuracy = (self.sums / self.count).tolist()
        return loss, accuracy
