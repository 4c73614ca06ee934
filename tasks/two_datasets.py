"""Two data sets: one trunk with a head for each, the Bloop paper's negative result."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, cross_entropy

from .bases import Batch, ImageTask, Model, Score
from .data import Data
from .data.images import Images, check_name, load_images
from .models import ResidualNet, Standardise


@dataclass(frozen=True)
class Pair(Data):
    """Two sets of labelled images, main first, and the splits that both have."""

    pair: tuple[Images, ...] = ()

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits, of both."""
        both = " ".join(images.fingerprint for images in self.pair)
        return hashlib.sha256(both.encode()).hexdigest()[:16]

    def to(self, device: str) -> Self:
        """The same pair on another device."""
        moved = tuple(images.to(device) for images in self.pair)
        return replace(self, pair=moved)


@dataclass
class TwoDatasets(ImageTask):
    """A residual network with one head per data set and a forward pass for each, as in the paper's Figure 10.

    Main: cross-entropy of the first data set in nats. Auxiliary: that of the second. Further metrics:
    ``accuracy`` and ``aux_accuracy`` in [0, 1]. Batch norm keeps statistics for each data set apart (not
    printed in the paper): shared ones would describe neither at evaluation. Images of one channel are shown
    in three.

    Source: Hsieh et al. 2024, arXiv 2402.02998, Appendix.

    Args:
        main_images: ``mnist``, ``cifar10`` or ``imagenet`` (`tasks.data.images`).
        aux_images: the same for the second data set.

    The other settings are those of every `ImageTask`.

    Raises:
        ValueError: a setting is none of these.
    """

    main_images: str = "cifar10"
    aux_images: str = "mnist"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in (self.main_images, self.aux_images):
            check_name(name)

    name: ClassVar[str] = "two_datasets"

    @cached_property
    def dataset(self) -> Pair:
        """Both data sets."""
        main, aux = (
            load_images(name, self.data, self.validation_fraction, self.padding, self.flip)
            for name in (self.main_images, self.aux_images)
        )
        splits = {split: rows for split, rows in main.splits.items() if split in aux.splits}
        return Pair(main.source, f"{main.name} and {aux.name}", splits, (main, aux)).to(self.device)

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in the training split of the first data set."""
        self.dataset.pair[1].steps(self.batch_size)
        return self.dataset.pair[0].steps(self.batch_size)

    def build(self) -> nn.Module:
        """One trunk, two heads."""
        return _TwoHeads(self.blocks, self.width, self.stem, self.dataset.pair)

    def losses(self, model: Model, batch: Batch) -> Iterator[Tensor]:
        """The first data set's cross-entropy, then the second's, each with a forward pass of its own."""
        yield cross_entropy(model(batch["main_images"], 0), batch["main_labels"])
        yield cross_entropy(model(batch["aux_images"], 1), batch["aux_labels"])

    def batches(self, generator: torch.Generator) -> Iterator[Batch]:
        """A batch of each data set, each with epochs of its own."""
        first, second = (images.batches(self.batch_size, generator) for images in self.dataset.pair)
        for main, aux in zip(first, second, strict=True):
            yield {f"main_{k}": v for k, v in main.items()} | {f"aux_{k}": v for k, v in aux.items()}

    def evaluate(self, model: Model, split: str) -> dict[str, float]:
        """Each data set's loss and accuracy, on images as they are."""
        values = []
        for which, images in enumerate(self.dataset.pair):
            score = Score()
            for batch in images.in_order(split, self.evaluation_limit):
                score.add(model(batch["images"], which), batch["labels"])
            values.append(score.values())
        (main, accuracy), (aux, aux_accuracy) = values
        return {"main": main, "aux": aux, "accuracy": accuracy, "aux_accuracy": aux_accuracy}


class _TwoHeads(nn.Module):
    def __init__(self, blocks: str, width: int, stem: str, pair: tuple[Images, ...]) -> None:
        super().__init__()
        moments = [tuple(m.expand(3) for m in images.moments()) for images in pair]
        self.standardise = nn.ModuleList(Standardise(mean.clone(), std.clone()) for mean, std in moments)
        classes = tuple(images.classes for images in pair)
        self.net = ResidualNet(blocks, width, stem, 3, classes, norm=NormPerSet)
        self.norms = [module for module in self.net.modules() if isinstance(module, NormPerSet)]

    def forward(self, images: Tensor, which: int) -> Tensor:
        for norm in self.norms:
            norm.which = which
        colour = self.standardise[which](images.expand(-1, -1, -1, 3))
        logits: Tensor = self.net(colour)[which]
        return logits


class NormPerSet(nn.Module):
    """Batch norm with one scale and shift for all data sets, and running statistics for each."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.statistics = nn.ModuleList(nn.BatchNorm2d(channels, affine=False) for _ in range(2))
        self.which = 0

    def forward(self, features: Tensor) -> Tensor:
        """Features ``(B, C, H, W)``, normalised."""
        own: Any = self.statistics[self.which]
        return batch_norm(features, own.running_mean, own.running_var, self.weight, self.bias, self.training)
