"""Softmax regression on two labellings that conflict: a convex task, whose front is known exactly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy

from .bases import Batch, Model, Task
from .data import Data
from .data.images import load_digits
from .models import TwoLabellings, lecun_normal

CLASSES = 10
_BLOCK = 4


@dataclass
class SoftmaxRegression(Task):
    """A linear classifier of digits that is to give each image two answers; its front is known exactly.

    Main: cross-entropy of the digit in nats + ½ ``l2`` ‖θ‖². Auxiliary: the same, of the digit + 1 modulo 10.
    Every image then has a second answer that excludes the first, the classes stay as frequent, and nothing
    is random; the auxiliary loss has the main one's minimum, by the same weights one class further.

    Both losses are strongly convex. The main one has a single minimiser, so that it solves the bilevel
    problem, and the minimisers of main + λ aux are the whole front (`tasks.models.TwoLabellings`). Further
    metrics: ``accuracy`` in [0, 1]; on train ``excess``, the main loss above its minimum, which is the
    distance to the bilevel solution, and ``regret``, the main loss above the least at the same auxiliary
    loss, which is the distance to the front. Both are in nats, and not negative but for rounding.

    Each loss has images of its own in a batch, drawn with replacement: the noise of its gradient is
    independent over steps and of the other's, with a covariance that falls like 1 / ``batch_size``, as
    theory has it. Images are scikit-learn's of 8 x 8 pixels; MNIST's are averaged over blocks of 4 x 4,
    as scikit-learn's were made. They are standardised by the mean and deviation of all training pixels.

    Args:
        batch_size: images of each loss per step; the number of training images for all of them, without
            noise.
        steps_per_epoch: steps that count as an epoch, the same for every batch size.
        l2: of the squared norm of all parameters, above 0. The slowest direction of either loss has this
            curvature, and gradient descent a time constant of 1 / (``l2`` lr) steps.
        examples: only so many training images are used, the first; None: all of them.

    Raises:
        ValueError: a setting is out of range.
    """

    batch_size: int = 64
    steps_per_epoch: int = 100
    l2: float = 0.1
    examples: int | None = 512

    name: ClassVar[str] = "softmax_regression"

    def __post_init__(self) -> None:
        self.check_at_least(1, "batch_size", "steps_per_epoch", "examples")
        if not self.l2 > 0:
            raise ValueError(f"l2 must be above 0, got {self.l2}")

    @cached_property
    def dataset(self) -> Data:
        """Images, and the two labellings ``main`` and ``aux``.

        Raises:
            ValueError: a batch is larger than the training data.
        """
        data = _load(self.data, self.examples)
        if self.batch_size > (most := len(data.splits["train"]["images"])):
            raise ValueError(f"batch_size must be at most the {most} training images, got {self.batch_size}")
        return data.to(self.device)

    @property
    def exact(self) -> TwoLabellings:
        """The losses on all training images in float64, and their front; computed once per process."""
        return _exact(self.data, self.examples, self.l2)

    def build(self) -> nn.Module:
        """A linear layer from LeCun's start."""
        return lecun_normal(nn.Linear(self.dataset.splits["train"]["images"].shape[1], CLASSES))

    def losses(self, model: Model, batch: Batch) -> Iterator[Tensor]:
        """The loss of each labelling, on images of its own."""
        for objective in self.objectives:
            logits = model(batch[f"{objective}_images"])
            squares = torch.stack([p.square().sum() for p in model.parameters.values()]).sum()
            yield cross_entropy(logits, batch[f"{objective}_labels"]) + self.l2 / 2 * squares

    def batches(self, generator: torch.Generator) -> Iterator[Batch]:
        """Images drawn with replacement, for each loss apart; all images where the batch is as large."""
        train = self.dataset.splits["train"]
        size = len(train["images"])
        while True:
            rows = {o: slice(None) for o in self.objectives}
            if self.batch_size < size:
                drawn = torch.randint(size, (len(self.objectives), self.batch_size), generator=generator)
                rows = dict(zip(self.objectives, drawn.to(self.device), strict=True))
            batch = {f"{o}_images": train["images"][rows[o]] for o in rows}
            yield batch | {f"{o}_labels": train[o][rows[o]] for o in rows}

    def evaluate(self, model: Model, split: str) -> dict[str, float]:
        """Losses and accuracy; on train, the distances to the bilevel solution and to the front."""
        theta = torch.cat([model.parameters["weight"], model.parameters["bias"][:, None]], 1).cpu().double()
        if split == "train":
            problem = self.exact
        else:
            problem = _on(_load(self.data, self.examples).splits[split], self.l2)
        main, aux = problem.losses(theta).tolist()
        right = (problem.inputs @ theta.T).argmax(1) == problem.labels[0]
        metrics = {"main": main, "aux": aux, "accuracy": right.double().mean().item()}
        if split == "train":
            front = problem.front
            metrics |= {"excess": main - front.points[0, 0].item(), "regret": main - front.main(aux)}
        return metrics


@lru_cache(maxsize=2)
def _load(source: str, examples: int | None) -> Data:
    """The digits with both labellings, images of at most 8 x 8 pixels."""
    digits = load_digits(source, 0.0)
    small = {name: _averaged(split["images"]) for name, split in digits.splits.items()}
    deviation = small["train"].double().std(correction=0).float()
    splits = {
        name: {
            "images": small[name] / deviation,
            "main": split["labels"],
            "aux": (split["labels"] + 1) % CLASSES,
        }
        for name, split in digits.splits.items()
    }
    splits["train"] = {name: tensor[:examples] for name, tensor in splits["train"].items()}
    return Data(digits.source, digits.name, splits)


def _averaged(images: Tensor) -> Tensor:
    """``(N, H * W)`` images averaged over blocks of 4 x 4 pixels, unless they are of 8 x 8 or fewer."""
    side = round(images.shape[1] ** 0.5)
    return images if side <= 8 else avg_pool2d(images.view(-1, 1, side, side), _BLOCK).flatten(1)


@lru_cache(maxsize=2)
def _exact(source: str, examples: int | None, l2: float) -> TwoLabellings:
    return _on(_load(source, examples).splits["train"], l2)


def _on(split: dict[str, Tensor], l2: float) -> TwoLabellings:
    inputs = split["images"].double()
    ones = inputs.new_ones(len(inputs), 1)
    return TwoLabellings(
        torch.cat([inputs, ones], 1), torch.stack([split["main"], split["aux"]]), CLASSES, l2
    )
