"""Encoded images as pixels of 8 bits, or a refusal that says what was expected."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from ....words import first_line
from .. import DataError

FORMATS = ("PNG", "JPEG", "MPO", "GIF", "BMP", "TIFF", "WEBP")
"""Pillow's names of the formats whose bits per channel are checked; MPO is a JPEG with further pictures."""
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK")
"""Pillow's kinds of pixels that have at most 8 bits a channel."""
_BITS_PER_SAMPLE, _SAMPLE_FORMAT, _UNSIGNED = 258, 339, 1  # of TIFF
_BIT_DEPTH = 24  # where a PNG states it
_ORIENTATION, _ON_ITS_SIDE = 0x0112, (5, 6, 7, 8)  # of EXIF


def decode(cell: dict[str, Any] | None, shape: tuple[int, int, int] | None, where: str) -> np.ndarray:
    """The pixels of an image as the hub stores it.

    The picture is turned upright as its EXIF orientation says. Palettes, CMYK and black and white become RGB
    or grey as Pillow's ``convert`` makes them: grey is 0.299 R + 0.587 G + 0.114 B (ITU-R 601-2), grey as
    colour is the same value three times. Colour profiles are not applied. What has no such value is refused:
    more than 8 bits a channel, floating point, pixels that are transparent, more than one frame.

    Args:
        cell: ``bytes`` of the file, or its ``path``.
        shape: ``(H, W, C)`` that it must have, C = 1 for grey and 3 for colour; None: any size, in colour.
        where: its place, for messages.

    Returns:
        ``(H, W, C)`` uint8.

    Raises:
        DataError: the image is missing, damaged, of another size, or of a kind that is refused.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        data = _content(cell)
        with Image.open(io.BytesIO(data)) as image:
            problem = _wrong_size(image, shape) or _wrong_kind(image, data)
            if not problem:
                upright: Image.Image = ImageOps.exif_transpose(image)
                problem = _transparent(upright)
                pixels = np.asarray(upright.convert("L" if shape and shape[2] == 1 else "RGB"))
    except UnidentifiedImageError as error:
        raise DataError(
            f"{where}: the image is missing or corrupt, expected one of {', '.join(FORMATS)}"
        ) from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{where}: the image is too large ({error})") from error
    except Exception as error:  # Pillow raises whatever a damaged file makes its decoders raise
        cause = first_line(error)
        raise DataError(
            f"{where}: the image is missing or corrupt, expected a whole file ({cause})"
        ) from error
    if problem:
        raise DataError(f"{where}: the image {problem}")
    return pixels.reshape(*pixels.shape[:2], -1)


def _content(cell: dict[str, Any] | None) -> bytes:
    if cell is None:
        raise ValueError("no image")
    data: bytes | None = cell.get("bytes")
    if data is None and cell.get("path"):
        data = Path(cell["path"]).read_bytes()
    if not data:
        raise ValueError("no bytes")
    return data


def _wrong_size(image: Any, shape: tuple[int, int, int] | None) -> str | None:
    """Checked before anything is decoded, as the largest image would take all memory."""
    if shape is None:
        return None
    size, expected = image.size, (shape[1], shape[0])
    if set(size) == set(expected) and image.getexif().get(_ORIENTATION) in _ON_ITS_SIDE:
        size = size[::-1]
    return None if size == expected else f"is {size[0]}x{size[1]} pixels, expected {shape[1]}x{shape[0]}"


def _wrong_kind(image: Any, data: bytes) -> str | None:
    if image.format not in FORMATS:
        return f"is in the format {image.format}, expected one of {', '.join(FORMATS)}"
    bits = 8
    if image.format == "PNG":
        bits = data[_BIT_DEPTH]
    elif image.format == "TIFF":
        bits = max(image.tag_v2.get(_BITS_PER_SAMPLE, (1,)))
        if set(image.tag_v2.get(_SAMPLE_FORMAT, (_UNSIGNED,))) != {_UNSIGNED}:
            return "has numbers that are signed or in floating point, expected whole ones from 0 to 255"
    if bits > 8:
        return f"has {bits} bits a channel, expected at most 8"
    if image.mode not in MODES:
        return f"has pixels of the kind {image.mode}, expected one of {', '.join(MODES)}"
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if frames > 1:
        return f"has {frames} frames, expected one"
    return None


def _transparent(image: Any) -> str | None:
    if not image.has_transparency_data:
        return None
    alpha = np.asarray(image.convert("RGBA"))[..., 3]
    if count := int((alpha < 255).sum()):
        return f"has {count} transparent pixels, expected none: what lies behind them is unknown"
    return None
