"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path

from ..messages import UserError


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file through a synced temporary one in the same folder.

    Raises:
        UserError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise UserError(f"{path.parent} cannot be written: {error.strerror}") from error


def check_replaceable(path: Path) -> None:
    """Refuse to write over a folder, a device or a pipe.

    Raises:
        UserError: it is one.
    """
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is no file that can be replaced")
