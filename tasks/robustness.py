"""Robustness: a classifier against how far its answers can be moved by small changes of the image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from .bases import Batch, LeNetTask, Model, Score
from .data import epochs, on_device
from .data.images import GREY, ResidentImages, load_grey
from .models import LeNet

CLASSES = 10
START = 1e-3
"""Standard deviation of the noise that an attack starts with: at the image itself there is no slope."""
STRIDE = 4 / 3
"""Length of all steps of an attack together, in radii of the ball: 40 of 0.01 for 0.3 in the source."""


@dataclass
class Robustness(LeNetTask):
    """A LeNet on digits or clothes, and the divergence of TRADES (Zhang et al. 2019).

    Main: cross-entropy in nats. Auxiliary: KL(p(x) ‖ p(x')) in nats, where x' is sought within ``epsilon`` of
    the image x at every pixel so as to maximise it: ``attack_steps`` steps of projected gradient ascent along
    the signs of the gradient, from x + 0.001 N(0, I), each of 4 ``epsilon`` / 3 ``attack_steps``, as in the
    source, whose 1/λ is our λ. x' counts as constant when the loss is differentiated. Pixels lie in [0, 1].

    Further metrics: ``accuracy``, and at the end of a run ``robust_accuracy``, both in [0, 1]: the share of
    images that are still recognised after ``test_steps`` steps of such an ascent on the cross-entropy, from
    the image itself. Losses and accuracies of a split are over the same images.

    The network is the smaller one of the code that the source released, without its dropout, where
    ``kernels`` are (5, 5). Embedded: scikit-learn's 8 x 8 digits for either set.

    Source: Zhang et al. 2019, arXiv 1901.08573, Algorithm 1, and its code; Madry et al. 2018, arXiv
    1706.06083 (the attack on the cross-entropy).

    Args:
        images: ``mnist`` or ``fashion_mnist``.
        epsilon: the most that a pixel changes, in (0, 1].
        attack_steps: of the auxiliary loss.
        test_steps: of the attack that robust accuracy is measured by.

    The other settings are those of every `LeNetTask`.

    Raises:
        ValueError: a setting is none of these.
    """

    images: str = "mnist"
    epsilon: float = 0.1
    attack_steps: int = 5
    test_steps: int = 20

    name: ClassVar[str] = "robustness"
    shared_forward: ClassVar[bool] = True
    nonpositive: ClassVar[frozenset[str]] = frozenset({"aux"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.images not in GREY:
            raise ValueError(f"images must be one of {', '.join(GREY)}, got {self.images!r}")
        if not 0 < self.epsilon <= 1:
            raise ValueError(f"epsilon must lie above 0 and be at most 1, got {self.epsilon}")
        self.check_at_least(1, "attack_steps", "test_steps")

    @cached_property
    def dataset(self) -> ResidentImages:
        """The images.

        Raises:
            ValueError: the kernels are too large for them.
        """
        return self.fitting(load_grey(self.images, self.data, self.validation_fraction))

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in the training split."""
        return self.dataset.steps(self.batch_size)

    def build(self) -> nn.Module:
        """The network."""
        side = self.dataset.splits["train"]["images"].shape[1]
        return LeNet(side, self.channels, self.kernels, self.hidden, (CLASSES,))

    def losses(self, model: Model, batch: Batch) -> Iterator[Tensor]:
        """Cross-entropy, then the divergence; they share the forward pass of the image as it is."""
        images = _pixels(batch["images"])
        (logits,) = model(images)
        yield cross_entropy(logits, batch["labels"])
        yield self._divergence(model, images, logits, batch["noise"]) / len(images)

    def batches(self, generator: torch.Generator) -> Iterator[Batch]:
        """Shuffled training images, and the ``noise`` ``(B, 1, H, W)`` that attacks start with."""
        for batch in epochs(self.dataset.splits["train"], self.batch_size, generator):
            yield {**batch, "noise": on_device(_noise(batch["images"], generator), self.device)}

    def samples(self, count: int) -> list[tuple[Tensor, str]]:
        """The first training images."""
        train = self.dataset.splits["train"]
        images = train["images"][:count].cpu().expand(-1, -1, -1, 3)
        return [
            (image, f"class {label}")
            for image, label in zip(images, train["labels"][:count].tolist(), strict=True)
        ]

    def evaluate(self, model: Model, split: str) -> dict[str, float]:
        """Losses and accuracy; the noise is the same at every evaluation."""
        score, divergence = Score(), torch.zeros((), dtype=torch.float64, device=self.device)
        generator = torch.Generator().manual_seed(0)
        for batch in self.dataset.in_order(split, self.evaluation_limit):
            images, noise = _pixels(batch["images"]), _noise(batch["images"], generator)
            (logits,) = model(images)
            score.add(logits, batch["labels"])
            divergence += self._divergence(model, images, logits, on_device(noise, self.device))
        main, accuracy = score.values()
        return {"main": main, "aux": divergence.item() / score.count, "accuracy": accuracy}

    def final(self, model: Model, split: str) -> dict[str, float]:
        """Accuracy under attack."""
        score = Score()
        for batch in self.dataset.in_order(split, self.evaluation_limit):
            images, labels = _pixels(batch["images"]), batch["labels"]

            def loss(moved: Tensor, labels: Tensor = labels) -> Tensor:
                return cross_entropy(model(moved)[0], labels, reduction="sum")

            score.add(model(self._attacked(loss, images, images, self.test_steps))[0], labels)
        return {"robust_accuracy": score.values()[1]}

    def _divergence(self, model: Model, images: Tensor, logits: Tensor, noise: Tensor) -> Tensor:
        """The sum over images of KL(p(x) ‖ p(x')) at the x' that is found from x + noise."""
        target = logits.detach().log_softmax(1)

        def loss(moved: Tensor) -> Tensor:
            return _kl(target, model(moved)[0])

        moved = self._attacked(loss, images, images + noise, self.attack_steps)
        return _kl(logits.log_softmax(1), model(moved)[0])

    def _attacked(
        self, loss: Callable[[Tensor], Tensor], images: Tensor, start: Tensor, steps: int
    ) -> Tensor:
        """Images moved so as to increase a loss, by at most ``epsilon`` at every pixel, within [0, 1]."""
        stride = STRIDE * self.epsilon / steps
        low, high = (images - self.epsilon).clamp(min=0), (images + self.epsilon).clamp(max=1)
        moved = start
        with torch.no_grad():
            for _ in range(steps):
                value, pull = torch.func.vjp(loss, moved)[:2]  # unlike grad, without a graph of the slope
                (slope,) = pull(torch.ones_like(value))
                moved = torch.clamp(moved + stride * slope.sign(), low, high)
        return moved


def _kl(target: Tensor, logits: Tensor) -> Tensor:
    """The sum over rows of KL(p ‖ q): log p, and logits of q, each ``(B, classes)``."""
    return (target.exp() * (target - logits.log_softmax(1))).sum()


def _pixels(images: Tensor) -> Tensor:
    """Images ``(B, H, W, 1)`` uint8 as ``(B, 1, H, W)`` in [0, 1]."""
    return images.movedim(-1, -3).float() / 255


def _noise(images: Tensor, generator: torch.Generator) -> Tensor:
    """What an attack on images ``(B, H, W, 1)`` starts with, ``(B, 1, H, W)``, on the CPU."""
    size, height, width, channels = images.shape
    return START * torch.randn(size, channels, height, width, generator=generator)
