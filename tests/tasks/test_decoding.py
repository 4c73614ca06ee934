"""Pixels of images of every kind, against numpy and Pillow."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from scalpel_bench.tasks import DataError
from scalpel_bench.tasks.data.images import decode

SIDE = 16
COLOUR = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
GREY = COLOUR[..., 0]
OPAQUE, HOLE = np.full((SIDE, SIDE, 1), 255, np.uint8), np.full((SIDE, SIDE, 1), 255, np.uint8)
HOLE[3, 4] = 254
BLACK_AND_WHITE = np.where(GREY > 127, 255, 0).astype(np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def made(*channels: np.ndarray, mode: str | None = None) -> Image.Image:
    pixels = np.concatenate([c.reshape(SIDE, SIDE, -1) for c in channels], -1)
    image = Image.fromarray(pixels.squeeze())
    return image.convert(mode) if mode else image


def deep_png(colour_type: int, channels: int, side: int = SIDE) -> bytes:
    """A PNG of 16 bits a channel, which Pillow opens as one of 8 where it has colours.

    ``side`` is what its header says of its pixels.
    """

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 16, colour_type, 0, 0, 0)
    lines = zlib.compress((b"\0" + bytes(2 * channels * SIDE)) * SIDE)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")


def pixels(data: bytes | None, channels: int = 3) -> np.ndarray:
    return decode({"bytes": data, "path": None}, (SIDE, SIDE, channels), "row 7")


def exif(orientation: int) -> Image.Exif:
    data = Image.Exif()
    data[0x0112] = orientation
    return data


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_formats_without_loss_give_the_pixels(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    assert np.array_equal(pixels(encoded(made(COLOUR), kind, **options)), COLOUR)


@pytest.mark.parametrize("quality", [50, 95])
def test_jpeg_is_what_pillow_reads(quality: int) -> None:
    data = encoded(made(COLOUR), "JPEG", quality=quality)
    assert np.array_equal(pixels(data), np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (made(GREY), GREY[..., None].repeat(3, 2)),
        (made(GREY, mode="P"), GREY[..., None].repeat(3, 2)),
        (made(COLOUR, OPAQUE), COLOUR),
        (made(BLACK_AND_WHITE, mode="1"), BLACK_AND_WHITE[..., None].repeat(3, 2)),
        (made(COLOUR).quantize(32), np.asarray(made(COLOUR).quantize(32).getpalette()).reshape(-1, 3)),
    ],
    ids=["grey", "grey palette", "opaque alpha", "black and white", "palette"],
)
def test_other_kinds_in_colour(image: Image.Image, expected: np.ndarray) -> None:
    if expected.ndim == 2:
        expected = expected[np.asarray(image)]
    assert np.array_equal(pixels(encoded(image)), expected)


def test_colour_in_grey_is_itu_601() -> None:
    weighed = COLOUR.astype(float) @ np.array([0.299, 0.587, 0.114])
    assert np.abs(pixels(encoded(made(COLOUR)), 1)[..., 0] - weighed).max() <= 0.51


def test_cmyk_is_the_complement_of_its_inks() -> None:
    inks = made(COLOUR, mode="CMYK")
    assert np.array_equal(pixels(encoded(inks, "TIFF")), 255 - np.asarray(inks)[..., :3])


def test_grey_stays_grey_in_every_kind() -> None:
    images = (made(GREY), made(GREY, mode="P"), made(GREY, mode="RGB"))
    opaque = Image.fromarray(np.dstack([GREY, OPAQUE]), "LA")
    for image in (*images, opaque):
        assert np.array_equal(pixels(encoded(image), 1)[..., 0], GREY)


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, COLOUR),
        (2, COLOUR[:, ::-1]),
        (3, COLOUR[::-1, ::-1]),
        (4, COLOUR[::-1]),
        (5, COLOUR.swapaxes(0, 1)),
        (6, np.rot90(COLOUR, -1)),
        (7, np.rot90(COLOUR, 2).swapaxes(0, 1)),
        (8, np.rot90(COLOUR)),
    ],
)
def test_a_picture_is_turned_upright(orientation: int, upright: np.ndarray) -> None:
    assert np.array_equal(pixels(encoded(made(COLOUR), exif=exif(orientation))), upright)


def test_the_size_is_that_of_the_upright_picture() -> None:
    lying = encoded(Image.fromarray(COLOUR[:8]), exif=exif(6))
    cell = {"bytes": lying, "path": None}
    assert decode(cell, (SIDE, 8, 3), "row 7").shape == (SIDE, 8, 3)
    with pytest.raises(DataError, match="row 7: the image is 8x16 pixels, expected 16x8"):
        decode(cell, (8, SIDE, 3), "row 7")


def test_the_largest_image_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(DataError, match="row 7: the image is 9000x9000 pixels, expected 16x16"):
        pixels(deep_png(2, 3, side=9000))
    with pytest.raises(DataError, match="row 7: the image is too large"):
        pixels(deep_png(2, 3, side=90_000))


TWO_FRAMES = {"save_all": True, "append_images": [made(COLOUR[::-1])]}
REFUSED = {
    "16 bits, grey": (encoded(Image.fromarray(GREY.astype(np.uint16) * 257)), "has 16 bits a channel"),
    "16 bits, colour": (deep_png(2, 3), "has 16 bits a channel, expected at most 8"),
    "16 bits, grey and alpha": (deep_png(4, 2), "has 16 bits a channel, expected at most 8"),
    "16 bits, TIFF": (encoded(Image.fromarray(GREY.astype(np.uint16)), "TIFF"), "has 16 bits a channel"),
    "floating point": (encoded(Image.fromarray(GREY / np.float32(255)), "TIFF"), "in floating point"),
    "signed": (encoded(Image.fromarray(GREY.astype(np.int32)), "TIFF"), "numbers that are signed"),
    "alpha": (encoded(made(COLOUR, HOLE)), "has 1 transparent pixels, expected none"),
    "grey and alpha": (encoded(Image.fromarray(np.dstack([GREY, HOLE]), "LA")), "has 1 transparent pixels"),
    "a transparent colour": (
        encoded(made(COLOUR), transparency=tuple(map(int, COLOUR[0, 0]))),
        "has 1 transparent pixels",
    ),
    "a transparent palette": (encoded(made(GREY, mode="P"), transparency=int(GREY[0, 0])), "transparent"),
    "LAB": (encoded(made(COLOUR, mode="LAB"), "TIFF"), "pixels of the kind LAB, expected one of 1, L,"),
    "another format": (encoded(made(COLOUR), "PPM"), "is in the format PPM, expected one of PNG, JPEG"),
    **{
        f"animated {kind}": (encoded(made(COLOUR), kind, **TWO_FRAMES), "has 2 frames, expected one")
        for kind in ("PNG", "GIF", "WEBP", "TIFF")
    },
    **{
        f"truncated {kind}": (
            encoded(made(COLOUR), kind)[:-100],
            "is missing or corrupt, expected a whole file",
        )
        for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")
    },
    "no image": (b"<html>", "is missing or corrupt, expected one of PNG, JPEG"),
    "no bytes": (b"", r"is missing or corrupt, expected a whole file \(no bytes\)"),
    "nothing": (None, r"is missing or corrupt, expected a whole file \(no bytes\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_pixels_of_8_bits_is_refused_in_one_line(case: str) -> None:
    data, message = REFUSED[case]
    for channels in (1, 3):
        with pytest.raises(DataError, match=f"^row 7: the image .*{message}") as caught:
            pixels(data, channels)
        assert "\n" not in str(caught.value)


def test_a_file_is_read_by_its_path(tmp_path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(encoded(made(COLOUR)))
    cell = {"bytes": None, "path": str(file)}
    assert np.array_equal(decode(cell, None, "row 7"), COLOUR)
    file.unlink()
    with pytest.raises(DataError, match="row 7: the image is missing .*No such file"):
        decode(cell, None, "row 7")
