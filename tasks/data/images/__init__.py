"""Labelled images: found by name, read and checked, kept in memory or streamed."""

from scalpel_bench.tasks.data.images.catalogue import check_name, load_images
from scalpel_bench.tasks.data.images.decoding import decode
from scalpel_bench.tasks.data.images.digits import EMBEDDED_TEST_FRACTION, embedded_digits, load_digits
from scalpel_bench.tasks.data.images.photographs import load_patches
from scalpel_bench.tasks.data.images.reading import CIFAR10, MNIST, ImageSet, read_images
from scalpel_bench.tasks.data.images.resident import CHUNK, Images, ResidentImages
from scalpel_bench.tasks.data.images.stream import IMAGENET, stream_images

__all__ = [
    "CHUNK",
    "CIFAR10",
    "EMBEDDED_TEST_FRACTION",
    "IMAGENET",
    "MNIST",
    "ImageSet",
    "Images",
    "ResidentImages",
    "check_name",
    "decode",
    "embedded_digits",
    "load_digits",
    "load_images",
    "load_patches",
    "read_images",
    "stream_images",
]
