"""Smooth network: a classifier against an upper bound of its Lipschitz constant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from .bases import Batch, Model, Task
from .data import Data, epochs, full_batches
from .data.images import load_digits
from .models import exact_log_norm, lecun_normal, log_spectral_norm, start_basis


@dataclass
class SmoothMLP(Task):
    """ReLU network on handwritten digits, as in Figure 3a of the Bloop paper.

    Pixels are standardised by the mean and deviation of all training pixels. Weights start LeCun-normal
    (`tasks.models.lecun_normal`), biases at zero, as Flax does.

    Main: cross-entropy in nats. Auxiliary: the log of the product of the layers' spectral norms, an upper
    bound on the Lipschitz constant. Further metrics: ``accuracy`` in [0, 1], ``bound`` (the product itself).

    Source: Hsieh et al. 2024, arXiv 2402.02998, Section 5.2; pixels and start from the code that its authors
    released.

    Args:
        hidden: widths of the hidden layers.
        batch_size: images per step.
        validation_fraction: share of the training images kept for validation.
        squared: take the norms squared in the auxiliary loss, as the released code does: twice the paper's
            loss, so that λ acts as 2λ.

    Raises:
        ValueError: a setting is out of range.
    """

    hidden: tuple[int, ...] = (256, 128)
    batch_size: int = 256
    validation_fraction: float = 0.1
    squared: bool = False

    name: ClassVar[str] = "smooth_mlp"
    nonpositive: ClassVar[frozenset[str]] = frozenset({"aux"})

    def __post_init__(self) -> None:
        self.check_widths("hidden")
        self.check_at_least(1, "batch_size")
        self.check_share("validation_fraction")

    @cached_property
    def dataset(self) -> Data:
        """Images and labels of handwritten digits, pixels standardised."""
        return load_digits(self.data, self.validation_fraction).to(self.device)

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in the training split."""
        return full_batches(len(self.dataset.splits["train"]["labels"]), self.batch_size)

    def build(self) -> nn.Module:
        """Linear layers with ReLU between; each carries the basis that tracks its spectral norm."""
        train = self.dataset.splits["train"]
        widths = [train["images"].shape[1], *self.hidden, int(train["labels"].max()) + 1]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            linear = lecun_normal(nn.Linear(inputs, outputs))
            linear.register_buffer("basis", start_basis(linear.weight.detach()))
            layers += [linear, nn.ReLU()]
        return nn.Sequential(*layers[:-1])

    def losses(self, model: Model, batch: Batch) -> Iterator[Tensor]:
        """Cross-entropy, then the log bound."""
        yield cross_entropy(model(batch["images"]), batch["labels"])
        yield self._log_bound(model)

    def batches(self, generator: torch.Generator) -> Iterator[Batch]:
        """Shuffled training images."""
        return epochs(self.dataset.splits["train"], self.batch_size, generator)

    def evaluate(self, model: Model, split: str) -> dict[str, float]:
        """Losses, accuracy and the exact bound."""
        data = self.dataset.splits[split]
        logits = torch.cat([model(images) for images in torch.split(data["images"], 8192)])
        log_bound = torch.stack([exact_log_norm(w) for w in _weights(model).values()]).sum()
        return {
            "main": cross_entropy(logits, data["labels"]).item(),
            "aux": self._power * log_bound.item(),
            "accuracy": (logits.argmax(1) == data["labels"]).double().mean().item(),
            "bound": log_bound.exp().item(),
        }

    def _log_bound(self, model: Model) -> Tensor:
        logs = []
        for layer, weight in _weights(model).items():
            buffer = model.buffers[f"{layer}.basis"]
            log, basis = log_spectral_norm(weight, buffer)
            buffer.copy_(basis)
            logs.append(log)
        return self._power * torch.stack(logs).sum()

    @property
    def _power(self) -> int:
        """Of the norms in the auxiliary loss."""
        return 2 if self.squared else 1


def _weights(model: Model) -> dict[str, Tensor]:
    return {n.removesuffix(".weight"): p for n, p in model.parameters.items() if n.endswith(".weight")}
