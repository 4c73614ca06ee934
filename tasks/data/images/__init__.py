"""Labelled images: found by name, read and checked, kept in memory or streamed."""

from .catalogue import check_name, load_images
from .decoding import decode
from .digits import EMBEDDED_TEST_FRACTION, embedded_digits, load_digits
from .grey import FASHION_MNIST, GREY, load_grey
from .photographs import load_patches
from .reading import CIFAR10, MNIST, ImageSet, read_images
from .resident import CHUNK, Images, ResidentImages
from .stream import IMAGENET, stream_images

__all__ = [
    "CHUNK",
    "CIFAR10",
    "EMBEDDED_TEST_FRACTION",
    "FASHION_MNIST",
    "GREY",
    "IMAGENET",
    "MNIST",
    "ImageSet",
    "Images",
    "ResidentImages",
    "check_name",
    "decode",
    "embedded_digits",
    "load_digits",
    "load_grey",
    "load_images",
    "load_patches",
    "read_images",
    "stream_images",
]
