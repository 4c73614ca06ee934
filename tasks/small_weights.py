"""Small weights: a classifier against the length of its parameter vector."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from .bases import Batch, ImageTask, Known, Loss, Model, Score
from .data.images import Images, check_name, load_images
from .models import ResidualNet, Standardise

Decay = Literal["all", "matrices"]


@dataclass
class SmallWeights(ImageTask):
    """A residual network on images, as in Figures 3b and 8 of the Bloop paper.

    Main: cross-entropy in nats. Auxiliary: ½‖θ‖², whose gradient is θ itself. Further metric: ``accuracy`` in
    [0, 1].

    Source: Hsieh et al. 2024, arXiv 2402.02998, Section 5.2.

    Args:
        images: ``mnist``, ``cifar10`` or ``imagenet`` (`tasks.data.images`).
        decay: which parameters θ are: ``all``, or ``matrices``, those of more than one dimension only, as in
            the authors' code.

    The other settings are those of every `ImageTask`.

    Raises:
        ValueError: a setting is none of these.
    """

    images: str = "mnist"
    decay: Decay = "all"

    name: ClassVar[str] = "small_weights"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name(self.images)
        if self.decay not in get_args(Decay):
            raise ValueError(f"decay must be one of {', '.join(get_args(Decay))}, got {self.decay!r}")

    @cached_property
    def dataset(self) -> Images:
        """The images."""
        loaded = load_images(self.images, self.data, self.validation_fraction, self.padding, self.flip)
        return loaded.to(self.device)

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in the training split."""
        return self.dataset.steps(self.batch_size)

    def build(self) -> nn.Module:
        """The network."""
        mean, std = self.dataset.moments()
        net = ResidualNet(self.blocks, self.width, self.stem, len(mean), (self.dataset.classes,))
        return nn.Sequential(Standardise(mean, std), net)

    def losses(self, model: Model, batch: Batch) -> Iterator[Loss]:
        """Cross-entropy, then ½‖θ‖²."""
        (logits,) = model(batch["images"])
        yield cross_entropy(logits, batch["labels"])
        decayed = self._decayed(model)
        yield Known(_half_square(decayed), decayed)

    def batches(self, generator: torch.Generator) -> Iterator[Batch]:
        """Shuffled and augmented training images."""
        return self.dataset.batches(self.batch_size, generator)

    def evaluate(self, model: Model, split: str) -> dict[str, float]:
        """Losses and accuracy, on images as they are."""
        score = Score()
        for batch in self.dataset.in_order(split, self.evaluation_limit):
            (logits,) = model(batch["images"])
            score.add(logits, batch["labels"])
        main, accuracy = score.values()
        return {"main": main, "aux": _half_square(self._decayed(model)).item(), "accuracy": accuracy}

    def _decayed(self, model: Model) -> dict[str, Tensor]:
        every = self.decay == "all"
        return {name: p for name, p in model.parameters.items() if every or p.dim() > 1}


def _half_square(parameters: dict[str, Tensor]) -> Tensor:
    squares = [torch.linalg.vector_norm(p).square() for p in parameters.values()]
    return torch.stack(squares).sum() / 2
