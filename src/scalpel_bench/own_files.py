"""Files of results, which may come from anybody: links, pipes and devices are not followed."""

from __future__ import annotations

import lzma
import stat
from pathlib import Path


def is_own_file(path: Path) -> bool:
    """Whether there is a regular file, and no link to one.

    Raises:
        OSError: there is nothing of that name.
    """
    return stat.S_ISREG(path.lstat().st_mode)


def unpacked(archive: Path) -> list[bytes]:
    """The lines of a file that was packed as ``.xz``.

    Raises:
        OSError: it cannot be read, or is no file of its own.
        lzma.LZMAError: it is damaged.
    """
    if not is_own_file(archive):
        raise OSError("no regular file")
    return lzma.decompress(archive.read_bytes(), lzma.FORMAT_XZ).splitlines()
