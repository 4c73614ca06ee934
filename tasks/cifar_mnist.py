"""Cifar10Mnist: two labels of one image, a digit laid over a photograph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from .bases import Batch, ImageTask, Model, Score
from .data import carve, check_source, with_validation
from .data.images import (
    CHUNK,
    CIFAR10,
    EMBEDDED_TEST_FRACTION,
    MNIST,
    ResidentImages,
    embedded_digits,
    load_patches,
    read_images,
)
from .models import ResidualNet, Standardise

OPACITY = 128 / 255


@dataclass
class CifarMnist(ImageTask):
    """A residual network with two heads and one forward pass, as in Figure 4 of the Bloop paper.

    Main: cross-entropy of the photograph's label in nats. Auxiliary: that of the digit's. Further metrics:
    ``accuracy`` and ``aux_accuracy`` in [0, 1].

    The images are composed as by Hotegni et al. 2023: digit i of a split, resized to the photograph
    (bilinear, antialiased, rounded), is laid over photograph i of the same split. Where the digit's pixel is
    above 0, every channel becomes (1 − a) photograph + a digit with a = 128 / 255, rounded; elsewhere the
    photograph is untouched. i counts in the order of the data sets: the pairing depends on nothing else.
    CIFAR-10 has 50,000 training and 10,000 test images, so many digits of MNIST are used. Embedded:
    scikit-learn's 1,797 digits on patches of its two photographs (the label says which), at 8 x 8 pixels.

    Source: Hsieh et al. 2024, arXiv 2402.02998, Section 5.2; Hotegni et al. 2023 (the data set).

    The settings are those of every `ImageTask`.
    """

    name: ClassVar[str] = "cifar_mnist"
    shared_forward: ClassVar[bool] = True

    @cached_property
    def dataset(self) -> ResidentImages:
        """Composed images with ``labels`` and ``digits``."""
        kind = check_source(self.data)
        if kind == "embedded":
            name = "scikit-learn digits on photographs"
            train, test = carve(_composed(load_patches(), embedded_digits()), EMBEDDED_TEST_FRACTION)
        else:
            name = f"{CIFAR10.name} and {MNIST.name}"
            below, above = read_images(CIFAR10, self.data), read_images(MNIST, self.data)
            train, test = (_composed(below[split], above[split]) for split in ("train", "test"))
        splits = with_validation(train, test, self.validation_fraction)
        return ResidentImages(kind, name, splits, self.padding, self.flip).to(self.device)

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in the training split."""
        return self.dataset.steps(self.batch_size)

    def build(self) -> nn.Module:
        """The network; its first head is for the photograph."""
        train = self.dataset.splits["train"]
        classes = tuple(int(train[label].max()) + 1 for label in ("labels", "digits"))
        net = ResidualNet(self.blocks, self.width, self.stem, 3, classes)
        return nn.Sequential(Standardise(*self.dataset.moments()), net)

    def losses(self, model: Model, batch: Batch) -> Iterator[Tensor]:
        """Cross-entropies of the two heads."""
        main, aux = model(batch["images"])
        yield cross_entropy(main, batch["labels"])
        yield cross_entropy(aux, batch["digits"])

    def batches(self, generator: torch.Generator) -> Iterator[Batch]:
        """Shuffled, cropped and mirrored training images."""
        return self.dataset.batches(self.batch_size, generator)

    def samples(self, count: int) -> list[tuple[Tensor, str]]:
        """The first training images."""
        train = self.dataset.splits["train"]
        labels = zip(train["labels"][:count].tolist(), train["digits"][:count].tolist(), strict=True)
        captions = [f"class {label}, digit {digit}" for label, digit in labels]
        return list(zip(train["images"][:count].cpu(), captions, strict=True))

    def evaluate(self, model: Model, split: str) -> dict[str, float]:
        """Losses and accuracies of both heads, on images as they are."""
        scores = Score(), Score()
        for batch in self.dataset.in_order(split, self.evaluation_limit):
            for score, logits, labels in zip(
                scores, model(batch["images"]), (batch["labels"], batch["digits"]), strict=True
            ):
                score.add(logits, labels)
        (main, accuracy), (aux, aux_accuracy) = (score.values() for score in scores)
        return {"main": main, "aux": aux, "accuracy": accuracy, "aux_accuracy": aux_accuracy}


def _composed(photographs: Batch, digits: Batch) -> Batch:
    """Digit i laid over photograph i, as far as both go."""
    size = min(len(photographs["labels"]), len(digits["labels"]))
    parts = zip(*(torch.split(data["images"][:size], CHUNK) for data in (photographs, digits)), strict=True)
    images = torch.cat([overlay(below, above) for below, above in parts])
    labels = {"labels": photographs["labels"][:size], "digits": digits["labels"][:size]}
    return {"images": images, **labels}


def overlay(photographs: Tensor, digits: Tensor) -> Tensor:
    """Digits ``(N, h, w, 1)`` resized to photographs ``(N, H, W, 3)`` and laid over them; all uint8."""
    side = photographs.shape[1:3]
    above = interpolate(digits.permute(0, 3, 1, 2).float(), side, mode="bilinear", antialias=True)
    above = above.round().clamp(0, 255).permute(0, 2, 3, 1)
    mixed = (1 - OPACITY) * photographs.float() + OPACITY * above
    return torch.where(above > 0, mixed.round().byte(), photographs)
