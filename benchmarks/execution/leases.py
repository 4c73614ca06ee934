"""Who executes which run: leases, so that sweeps that share a results folder execute each run once."""

from __future__ import annotations

import json
import os
import platform
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Self

from ...own_files import is_own_file
from ..messages import UserError
from ..records import one_at_a_time, write_atomically

HEARTBEAT = 10.0
"""Seconds between two signs of life of an owner."""
EXPIRY = 60.0
"""Seconds without one after which another sweep takes the run over."""
LEASES = "leases"
"""What is locked, so that of two that find a lease expired one comes first."""


class Leases:
    """The leases that this process holds on runs, kept alive by a thread.

    A lease is a file beside the record that it is about, created exclusively, and touched as long as its
    owner lives. It expires where its owner's process is gone from this machine, or where it stayed untouched
    for ``EXPIRY`` seconds of the observer's own clock: clocks of other machines are not compared. A process
    that was suspended for longer finishes what it began; its record holds the same numbers.
    """

    def __init__(self) -> None:
        self._owner = {"machine": _machine(), "pid": os.getpid(), "started": _started(os.getpid())}
        self._text = json.dumps({**self._owner, "token": uuid.uuid4().hex})
        self._held: set[Path] = set()
        self._seen: dict[Path, tuple[tuple[str, int], float]] = {}
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._left.set()
        self._thread.join()
        for lease in list(self._held):
            with suppress(OSError, UserError):
                self._release(lease)

    def take(self, record: Path) -> bool:
        """Lease the run of a record's file; whether it is ours now.

        Raises:
            UserError: the folder cannot be written.
        """
        lease = record.with_suffix(".lease")
        if lease in self._held:
            return True
        try:
            with lease.open("x", encoding="utf-8") as file:
                self._held.add(lease)
                file.write(self._text)
        except FileExistsError:
            if not self._take_over(lease):
                return False
            self._held.add(lease)
        except OSError as error:
            if lease in self._held:  # it is there, but the disk is full
                self._held.remove(lease)
                lease.unlink(missing_ok=True)
            raise UserError(f"{lease.parent} cannot be written: {error.strerror}") from error
        return True

    def release(self, record: Path) -> None:
        """Give a run up, or back after its record was written.

        Raises:
            UserError: the folder cannot be written.
        """
        lease = record.with_suffix(".lease")
        try:
            self._release(lease)
        except OSError as error:
            raise UserError(f"{lease.parent} cannot be written: {error.strerror}") from error

    def _release(self, lease: Path) -> None:
        self._held.discard(lease)
        if _read(lease) == self._text:
            lease.unlink()

    def _take_over(self, lease: Path) -> bool:
        if not self._expired(lease):
            return False
        with one_at_a_time(lease.parent / LEASES):
            if not self._expired(lease):
                return False
            write_atomically(lease, self._text)
        self._seen.pop(lease, None)
        return True

    def _expired(self, lease: Path) -> bool:
        """Whether a lease's owner is gone, or it is a link, say; not so where the lease itself is gone."""
        try:
            if not is_own_file(lease):
                return True
            text, touched = _read(lease), lease.stat().st_mtime_ns
        except FileNotFoundError:
            return False
        with suppress(ValueError, KeyError, TypeError):
            owner = json.loads(text)
            if owner["machine"] == self._owner["machine"] and _started(int(owner["pid"])) != owner["started"]:
                return True
        state, since = self._seen.get(lease, (None, 0.0))
        if state != (text, touched):
            self._seen[lease] = (text, touched), time.monotonic()
            return False
        return time.monotonic() - since > EXPIRY

    def _beat(self) -> None:
        while not self._left.wait(HEARTBEAT):
            for lease in list(self._held):
                with suppress(OSError):
                    os.utime(lease)


def _read(lease: Path) -> str:
    with suppress(FileNotFoundError, UnicodeDecodeError):
        return lease.read_text(encoding="utf-8")
    return ""


def _machine() -> str:
    """A name under which process numbers mean the same: that of a container differs from its host's."""
    parts = [platform.node()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def _started(pid: int) -> str | None:
    """When a process of this machine started, so that a number used again is told apart; None for none."""
    try:
        state, *_ = fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state == "Z" else fields[19]
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self/stat").exists():
            return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "unknown"
