"""Handwritten digits: MNIST from the hub or a folder, scikit-learn's 8 x 8 digits embedded."""

import torch
from torch import Tensor

from .. import Data, carve, check_source, with_validation
from .reading import MNIST, read_images

EMBEDDED_TEST_FRACTION = 0.2
_INK = 16
"""The darkest pixel of scikit-learn's digits."""


def load_digits(source: str, validation_fraction: float) -> Data:
    """Digit images ``(N, H * W)`` float32 under ``images``, classes under ``labels``.

    Pixels are standardised: less their mean over the training split, and over their deviation there.

    MNIST (LeCun, Cortes, Burges) keeps its own test split; scikit-learn's digits (1,797 images; Alpaydin &
    Kaynak 1998) have none, and give a fifth. Validation is carved from train; without it there is none.

    Raises:
        DataError: the data set is missing or not what it should be.
    """
    kind = check_source(source)
    if kind == "embedded":
        name = "scikit-learn digits"
        images, labels = _embedded()
        train, test = carve(_flat(images / _INK, labels), EMBEDDED_TEST_FRACTION)
    else:
        name = MNIST.name
        splits = read_images(MNIST, source)
        train, test = (
            _flat(splits[s]["images"].double() / 255, splits[s]["labels"]) for s in ("train", "test")
        )
    splits = with_validation(train, test, validation_fraction)
    deviation, mean = torch.std_mean(splits["train"]["images"].double(), correction=0)
    for split in splits.values():
        split["images"] = ((split["images"] - mean) / deviation).float()
    return Data(kind, name, splits)


def embedded_digits() -> dict[str, Tensor]:
    """scikit-learn's digits: ``images`` ``(1797, 8, 8, 1)`` uint8 from 0 to 255, ``labels`` ``(1797,)``."""
    images, labels = _embedded()
    return {"images": (images * (255 / _INK)).round().byte()[..., None], "labels": labels}


def _embedded() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits as load_embedded

    digits = load_embedded()
    return torch.from_numpy(digits.images), torch.from_numpy(digits.target).long()


def _flat(images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    return {"images": images.float().flatten(1), "labels": labels}
