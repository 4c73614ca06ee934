"""Files that one process at a time reads and writes anew; apart from `atomic_write`, which training uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ...words import first_line
from ..messages import UserError

PATIENCE = 60.0
"""Seconds for which a command waits for others that change the same file."""


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Let no other process in that changes a file which it has read, so that nothing written between is lost.

    The system frees the lock of a process that was killed; its file stays, beside the other one.

    Raises:
        UserError: the lock is held for too long, or cannot be taken.
    """
    lock = FileLock(path.with_name(f".{path.name}.lock"), mode=0o666)  # others may write here, too
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout as error:
        raise UserError(
            f"{path}: another command has held it for {PATIENCE:g} s: try again when that has ended, or "
            f"remove {lock.lock_file} if none runs"
        ) from error
    except (OSError, NotImplementedError) as error:
        raise UserError(f"{path} cannot be locked: {first_line(error)}") from error
    try:
        yield
    finally:
        lock.release()
