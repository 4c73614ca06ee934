"""Fourteen labels of a gene: each is an objective of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from .bases import Batch, Model, Task
from .data import LABELS, Data, epochs, full_batches, load_yeast


@dataclass
class ManyLabels(Task):
    """A ReLU network with a head for each of the 14 labels of yeast's genes: K = 14.

    Main: binary cross-entropy of the first label in nats. Auxiliary: that of each other label, ``label_2`` to
    ``label_14``. No label matters more than another: the first is main by convention, and for methods
    that treat all objectives alike nothing depends on it. Further metrics: ``aux``, the sum of the auxiliary
    losses; ``hamming``, the share of labels that are predicted wrong, in [0, 1].

    Data: `tasks.data.load_yeast`.

    Args:
        hidden: widths of the hidden layers, which all labels share.
        batch_size: genes per step.
        validation_fraction: share of the training genes kept for validation.

    Raises:
        ValueError: a setting is out of range.
    """

    hidden: tuple[int, ...] = (64, 64)
    batch_size: int = 128
    validation_fraction: float = 0.2

    name: ClassVar[str] = "many_labels"
    metrics: ClassVar[tuple[str, ...]] = ("hamming",)
    shared_forward: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.check_widths("hidden")
        self.check_at_least(1, "batch_size")
        self.check_share("validation_fraction")

    @property
    def objectives(self) -> tuple[str, ...]:
        """``main`` for the first label, and the others."""
        return ("main", *(f"label_{k}" for k in range(2, LABELS + 1)))

    @cached_property
    def dataset(self) -> Data:
        """Genes and their labels."""
        return load_yeast(self.data, self.validation_fraction).to(self.device)

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in the training split."""
        return full_batches(len(self.dataset.splits["train"]["labels"]), self.batch_size)

    def build(self) -> nn.Module:
        """Linear layers with ReLU between; the last has an output for each label."""
        widths = [self.dataset.splits["train"]["features"].shape[1], *self.hidden, LABELS]
        layers = [layer for ends in pairwise(widths) for layer in (nn.Linear(*ends), nn.ReLU())]
        return nn.Sequential(*layers[:-1])

    def losses(self, model: Model, batch: Batch) -> Iterator[Tensor]:
        """Cross-entropy of each label; all share a forward pass."""
        yield from _losses(model(batch["features"]), batch["labels"])

    def batches(self, generator: torch.Generator) -> Iterator[Batch]:
        """Shuffled genes."""
        return epochs(self.dataset.splits["train"], self.batch_size, generator)

    def evaluate(self, model: Model, split: str) -> dict[str, float]:
        """Losses, their sum, and the Hamming loss."""
        batch = self.dataset.splits[split]
        logits = model(batch["features"])
        losses = dict(zip(self.objectives, _losses(logits, batch["labels"]).tolist(), strict=True))
        wrong = (logits > 0) != (batch["labels"] > 0)
        aux = sum(loss for name, loss in losses.items() if name != "main")
        return {**losses, "aux": aux, "hamming": wrong.double().mean().item()}


def _losses(logits: Tensor, labels: Tensor) -> Tensor:
    """``(14,)``: means over the batch."""
    return binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(0)
