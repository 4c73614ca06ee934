"""Two overlapping images in one, as in MultiMNIST: what is at the top left, what at the bottom right?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from .bases import Batch, LeNetTask, Model, Score
from .data import DataError, epochs
from .data.images import ResidentImages, load_grey
from .models import LeNet, Standardise

PAIRS = {
    "multi_mnist": ("mnist", "mnist"),
    "multi_fashion": ("fashion_mnist", "fashion_mnist"),
    "fashion_and_mnist": ("mnist", "fashion_mnist"),
}
"""The sets of the image at the top left, and of that at the bottom right."""
SHIFT = 1 / 7
"""How far an image may lie from its corner, as a share of its side: 4 of 28 pixels."""
_SEED = 20191230
CLASSES = 10


@dataclass
class MultiDigits(LeNetTask):
    """A LeNet with two heads and one forward pass on two overlapping images, as in Lin et al. 2019.

    Main: cross-entropy in nats of the label of the image at the top left. Auxiliary: of that at the bottom
    right. Further metrics: ``accuracy`` and ``aux_accuracy`` in [0, 1].

    Each image of a split is laid at the top left of a black square that is 8 pixels larger (36 x 36), up to 4
    pixels from the corner in either direction, and one drawn from the same split at the bottom right, as far
    from that corner; pixels are added, and clipped at 255. All placements are equally likely, but for the
    one at which both lie in the same place. Both are of one set and of different classes, or one is of MNIST
    and the other of Fashion-MNIST. Pairs and places are drawn once for all. Pixels are standardised by the
    mean and deviation of all training pixels. Embedded: scikit-learn's 8 x 8 digits for both sets, in squares
    of 10 x 10.

    Source: Sabour, Frosst, Hinton 2017, arXiv 1710.09829 (MultiMNIST; its code adds pixels up); Sener &
    Koltun 2018, arXiv 1810.04650 (one composed image for each); Lin et al. 2019, arXiv 1912.12854 (places,
    the other two sets, the network). Lin et al. released 120,000 and 20,000 composed images, without the code
    that made them.

    Args:
        images: ``multi_mnist``, ``multi_fashion`` or ``fashion_and_mnist`` (MNIST at the top left).
        overlays: composed images for each image of the set.

    The other settings are those of every `LeNetTask`.

    Raises:
        ValueError: a setting is none of these.
    """

    images: str = "multi_mnist"
    overlays: int = 1

    name: ClassVar[str] = "multi_digits"
    shared_forward: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.images not in PAIRS:
            raise ValueError(f"images must be one of {', '.join(PAIRS)}, got {self.images!r}")
        self.check_at_least(1, "overlays")

    @cached_property
    def dataset(self) -> ResidentImages:
        """Composed images ``(N, H, W, 1)`` uint8 with labels ``top_left`` and ``bottom_right``.

        Raises:
            DataError: a split has one class only, so that no two differ.
            ValueError: the kernels are too large for the images.
        """
        upper, lower = PAIRS[self.images]
        first = second = load_grey(upper, self.data, self.validation_fraction)
        if lower != upper:
            second = load_grey(lower, self.data, self.validation_fraction)
        name = " and ".join(dict.fromkeys([first.name, second.name]))
        splits = {
            split: composed(rows, second.splits[split], lower == upper, self.overlays, f"{name}, {split}")
            for split, rows in first.splits.items()
        }
        return self.fitting(ResidentImages(first.source, name, splits))

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in the training split."""
        return self.dataset.steps(self.batch_size)

    def build(self) -> nn.Module:
        """The network; its first head is for the top left."""
        side = self.dataset.splits["train"]["images"].shape[1]
        net = LeNet(side, self.channels, self.kernels, self.hidden, (CLASSES, CLASSES))
        return nn.Sequential(Standardise(*self.dataset.moments()), net)

    def losses(self, model: Model, batch: Batch) -> Iterator[Tensor]:
        """Cross-entropies of the two heads."""
        main, aux = model(batch["images"])
        yield cross_entropy(main, batch["top_left"])
        yield cross_entropy(aux, batch["bottom_right"])

    def batches(self, generator: torch.Generator) -> Iterator[Batch]:
        """Shuffled training images."""
        return epochs(self.dataset.splits["train"], self.batch_size, generator)

    def samples(self, count: int) -> list[tuple[Tensor, str]]:
        """The first training images."""
        train = {name: tensor[:count].cpu() for name, tensor in self.dataset.splits["train"].items()}
        labels = zip(train["top_left"].tolist(), train["bottom_right"].tolist(), strict=True)
        captions = [f"top left {first}, bottom right {second}" for first, second in labels]
        return list(zip(train["images"].expand(-1, -1, -1, 3), captions, strict=True))

    def evaluate(self, model: Model, split: str) -> dict[str, float]:
        """Losses and accuracies of both heads."""
        scores = Score(), Score()
        for batch in self.dataset.in_order(split, self.evaluation_limit):
            for score, logits, place in zip(
                scores, model(batch["images"]), ("top_left", "bottom_right"), strict=True
            ):
                score.add(logits, batch[place])
        (main, accuracy), (aux, aux_accuracy) = (score.values() for score in scores)
        return {"main": main, "aux": aux, "accuracy": accuracy, "aux_accuracy": aux_accuracy}


def composed(first: Batch, second: Batch, same_set: bool, overlays: int, where: str) -> Batch:
    """Every image of ``first`` at the top left, ``overlays`` times, one of ``second`` at the bottom right.

    Args:
        first: ``images`` ``(N, H, H, 1)`` uint8 and ``labels``.
        second: the same; of the same set where the classes are to differ.
        same_set: whether they are to.
        overlays: how often each is used.
        where: what they are, for messages.

    Raises:
        DataError: the classes are to differ, and there is only one.
    """
    generator = torch.Generator().manual_seed(_SEED)
    labels = first["labels"].repeat_interleave(overlays)
    if not same_set:
        other = torch.randint(len(second["labels"]), (len(labels),), generator=generator)
    elif first["labels"].min() < first["labels"].max():
        other = of_another_class(labels, second["labels"], generator)
    else:
        raise DataError(f"{where}: all images are of one class, expected two or more")
    side = first["images"].shape[1]
    shift = round(side * SHIFT)
    places = torch.randint(1, (shift + 1) ** 4, (len(labels),), generator=generator)  # 0: both in one place
    up, left, down, right = (places // (shift + 1) ** k % (shift + 1) for k in range(4))
    above = _placed(first["images"].repeat_interleave(overlays, 0), shift - up, shift - left, shift)
    below = _placed(second["images"][other], shift + down, shift + right, shift)
    images = above + torch.minimum(below, 255 - above)
    return {"images": images, "top_left": labels, "bottom_right": second["labels"][other]}


def of_another_class(labels: Tensor, among: Tensor, generator: torch.Generator) -> Tensor:
    """For each label the place of one of another class, all of those equally likely: ``(N,)``."""
    counts = among.bincount(minlength=int(labels.max()) + 1)
    begins = counts.cumsum(0) - counts
    own = counts[labels]
    drawn = torch.rand(len(labels), dtype=torch.float64, generator=generator) * (len(among) - own)
    place = drawn.long()
    return among.argsort(stable=True)[place + torch.where(place >= begins[labels], own, 0)]


def _placed(images: Tensor, top: Tensor, left: Tensor, shift: int) -> Tensor:
    """Images ``(N, H, H, 1)``, each in a black square larger by twice ``shift`` at its own place."""
    side = images.shape[1]
    squares = images.new_zeros(len(images), side + 2 * shift, side + 2 * shift, 1)
    for row in sorted(set(top.tolist())):
        for column in sorted(set(left.tolist())):
            here = (top == row) & (left == column)
            squares[here, row : row + side, column : column + side] = images[here]
    return squares
