"""Image data sets by name, from any source."""

from .. import carve, check_source, with_validation
from .digits import EMBEDDED_TEST_FRACTION, embedded_digits
from .photographs import load_patches
from .reading import CIFAR10, MNIST, read_images
from .resident import Images, ResidentImages
from .stream import IMAGENET, stream_images

_RESIDENT = {"mnist": MNIST, "cifar10": CIFAR10}
_EMBEDDED = {
    "mnist": ("scikit-learn digits", embedded_digits),
    "cifar10": ("scikit-learn photographs", load_patches),
    "imagenet": ("scikit-learn photographs", load_patches),
}


def check_name(name: str) -> None:
    """Refuse a name that is not one of an image data set.

    Raises:
        ValueError: the name is unknown.
    """
    if name not in _EMBEDDED:
        raise ValueError(f"unknown image data set {name!r}; known: {', '.join(_EMBEDDED)}")


def load_images(name: str, source: str, validation_fraction: float, padding: int, flip: bool) -> Images:
    """Labelled images: ``mnist`` and ``cifar10`` in memory, ``imagenet`` streamed.

    Embedded, scikit-learn's digits stand in for MNIST, and patches of its two photographs for the others.

    Args:
        name: the data set.
        source: ``"embedded"``, ``"hub"`` or a folder in the hub's layout.
        validation_fraction: share of the training images kept for validation; of a stream there is none.
        padding: training images in memory are shifted by up to so many pixels.
        flip: training images in memory are mirrored at random (those of a stream always are).

    Raises:
        ValueError: validation of a stream.
        DataError: the data set is missing or not what it should be.
    """
    kind = check_source(source)
    if kind == "embedded":
        title, load = _EMBEDDED[name]
        train, test = carve(load(), EMBEDDED_TEST_FRACTION)
    elif name in _RESIDENT:
        title = _RESIDENT[name].name
        splits = read_images(_RESIDENT[name], source)
        train, test = splits["train"], splits["test"]
    elif validation_fraction:
        raise ValueError(f"{name} is streamed, and has no validation split: set validation_fraction to 0")
    else:
        return stream_images(IMAGENET, source)
    return ResidentImages(kind, title, with_validation(train, test, validation_fraction), padding, flip)
