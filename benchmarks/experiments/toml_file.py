"""Files of experiments: tables, and the layers that a scale and a command line lay over them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from ...utf8 import NotUTF8, decode_utf8
from ..messages.errors import UserError


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a file.

    Raises:
        UserError: it cannot be read, or is no TOML.
    """
    try:
        text = decode_utf8(path.read_bytes())
        return tomllib.loads(text)
    except OSError as error:
        raise UserError(f"{path}: expected a TOML file: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        last = f"(at line {len(text.splitlines())}, the last)"
        raise UserError(f"{path}: {str(error).replace('(at end of document)', last)}") from error
    except (NotUTF8, RecursionError) as error:
        raise UserError(f"{path}: {error}") from error


def merge(*layers: dict[str, Any]) -> dict[str, Any]:
    """Tables key by key, later layers over earlier ones; grids are replaced whole."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            both = isinstance(value, dict) and isinstance(merged.get(key), dict)
            merged[key] = merge(merged[key], value) if both and not _is_whole(key, value) else value
    return merged


def _is_whole(key: str, value: dict[str, Any]) -> bool:
    """Whether a table replaces an earlier one: a box, or a grid."""
    return key == "box" or "low" in value
