"""Weights that a task trains once and starts from: kept in the cache under a hash of what decides them."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data import DataError, cache_folder

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """Weights on the CPU by the names of their parameters."""

    weights: Weights

    @cached_property
    def digest(self) -> str:
        """12 hexadecimal digits of a SHA-256 over names, types, shapes and every bit."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.weights.items()):
            digest.update(f"{name}/{tensor.dtype}/{tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()[:12]


def trained_once(identity: Any, train: Callable[[], Weights]) -> Checkpoint:
    """The weights that were trained under an identity; they are trained now where there are none.

    Other processes that ask for the same wait meanwhile. A file that was damaged, or that holds weights of
    another identity, counts for nothing, and is replaced. It is loaded as tensors, never as code.

    Args:
        identity: all that decides the weights, as JSON.
        train: makes them, on the CPU.

    Raises:
        DataError: the cache folder cannot be written.
    """
    from filelock import FileLock

    key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    try:
        folder = cache_folder() / "checkpoints"
        folder.mkdir(exist_ok=True)
        file = folder / f"{key[:16]}.pt"
        with FileLock(file.with_suffix(".lock")):
            if (weights := _read(file, key)) is None:
                weights = train()
                _write(file, key, weights)
    except OSError as error:
        raise DataError(f"a checkpoint cannot be kept in the cache (XDG_CACHE_HOME): {error}") from error
    return Checkpoint(weights)


def _read(file: Path, key: str) -> Weights | None:
    try:
        content = file.read_bytes()
        if hashlib.sha256(content[32:]).digest() != content[:32]:
            return None
        saved = torch.load(io.BytesIO(content[32:]), map_location="cpu", weights_only=True)
        weights: Weights = saved["weights"]
        return weights if saved["key"] == key else None
    except Exception:  # a file of any content: what the loader trips over is no concern of the task
        return None


def _write(file: Path, key: str, weights: Weights) -> None:
    held = io.BytesIO()
    torch.save({"key": key, "weights": weights}, held)
    content = held.getvalue()
    temporary = file.with_suffix(".tmp")
    with temporary.open("wb") as opened:
        opened.write(hashlib.sha256(content).digest() + content)
        opened.flush()
        os.fsync(opened.fileno())
    temporary.replace(file)
