"""How runs in progress are asked to stop, and where they do."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(KeyboardInterrupt):
    """A run was asked to stop; where it keeps a checkpoint, it has left one."""


def is_asked() -> bool:
    """Whether the runs in progress have been asked to stop."""
    return _stopping.is_set()


@contextmanager
def stopping_on(*signals: signal.Signals) -> Iterator[None]:
    """Let signals stop the runs in progress where they may stop.

    A second one changes nothing: a system that shuts down, or a sweep beside its group's signal, asks twice,
    and a checkpoint is to be whole.
    """

    def ask(number: int, frame: FrameType | None) -> None:
        _stopping.set()

    _stopping.clear()
    before = {number: signal.signal(number, ask) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _stopping.clear()


_stopping = threading.Event()
