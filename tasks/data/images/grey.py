"""Grey images of 28 x 28 pixels in ten classes: MNIST and Fashion-MNIST."""

from .. import carve, check_source, with_validation
from .digits import EMBEDDED_TEST_FRACTION, embedded_digits
from .reading import MNIST, ImageSet, read_images
from .resident import ResidentImages

FASHION_MNIST = ImageSet("zalando-datasets/fashion_mnist", "image", "label", (28, 28, 1), 10)
GREY = {"mnist": MNIST, "fashion_mnist": FASHION_MNIST}
"""By the names that tasks call them."""


def load_grey(name: str, source: str, validation_fraction: float) -> ResidentImages:
    """A set of `GREY`, without augmentation; embedded, scikit-learn's 8 x 8 digits stand in for either.

    Source: LeCun, Cortes, Burges (MNIST); Xiao, Rasul, Vollgraf 2017, arXiv 1708.07747 (Fashion-MNIST).

    Args:
        name: of the set.
        source: ``"embedded"``, ``"hub"`` or a folder in the hub's layout.
        validation_fraction: share of the training images kept for validation.

    Raises:
        DataError: the data set is missing or not what it should be.
    """
    kind = check_source(source)
    if kind == "embedded":
        title = "scikit-learn digits"
        train, test = carve(embedded_digits(), EMBEDDED_TEST_FRACTION)
    else:
        title = GREY[name].name
        splits = read_images(GREY[name], source)
        train, test = splits["train"], splits["test"]
    return ResidentImages(kind, title, with_validation(train, test, validation_fraction))
