"""Checkpoints: what a run that was cut off needs to end with the numbers that it would have had."""

from __future__ import annotations

import hashlib
import io
import time
from pathlib import Path
from typing import Any

import torch

from ..records import write_atomically

State = dict[str, Any]
"""Tensors, numbers, strings, and lists and dicts of these."""


class Checkpoint:
    """The file that holds the state of a run in progress.

    It is a hash and what the hash is of; it is loaded as tensors and plain values, never as code. One that
    was damaged, or that belongs to other runs, other code or another machine, counts for nothing.

    Args:
        path: of the file; None to keep no checkpoint.
        every: seconds between two checkpoints.
        identity: what a state must have been saved under to be loaded.
    """

    def __init__(self, path: Path | None, every: float, identity: State) -> None:
        self.path, self.every, self.identity = path, every, identity
        self._last = time.monotonic()

    def load(self) -> State | None:
        """The state that was saved last, on the CPU; None where there is none."""
        if self.path is None:
            return None
        try:
            content = self.path.read_bytes()
            if hashlib.sha256(content[32:]).digest() != content[:32]:
                return None
            saved = torch.load(io.BytesIO(content[32:]), map_location="cpu", weights_only=True)
            state: State = saved["state"]
            return state if saved["identity"] == self.identity else None
        except Exception:  # a file of any content: what the loader trips over is no concern of the run
            return None

    def due(self, stops: bool) -> bool:
        """Whether a state is to be saved now: the run ``stops``, or time has come."""
        return self.path is not None and (stops or time.monotonic() - self._last >= self.every)

    def save(self, state: State) -> None:
        """Replace the file.

        Raises:
            UserError: it cannot be written.
        """
        assert self.path is not None
        content = io.BytesIO()
        torch.save({"identity": self.identity, "state": state}, content)
        held = content.getvalue()
        write_atomically(self.path, hashlib.sha256(held).digest() + held)
        self._last = time.monotonic()


NO_CHECKPOINT = Checkpoint(None, 0, {})
"""For runs that keep none."""
