"""What the code of others may change in a process by being imported, and must not."""

from __future__ import annotations

import builtins
import math
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

_SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "the default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "the default device": (torch.get_default_device, torch.set_default_device),
    "whether gradients are recorded": (torch.is_grad_enabled, torch.set_grad_enabled),
    "the number of threads": (torch.get_num_threads, torch.set_num_threads),
    "deterministic algorithms": (
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    "the working directory": (os.getcwd, os.chdir),
}
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_WATCHED = (
    *(torch, torch.nn.functional, torch.linalg, torch.autograd, torch.Tensor, torch.nn.Module),
    *(math, random, builtins, time),
)


class Snapshot:
    """The state of this process that all methods and tasks share, and how it is had back.

    Args:
        package: the package or module that is about to be imported. Functions that its own code puts in the
            place of others are noticed; what libraries do to each other is not.
    """

    def __init__(self, package: str) -> None:
        self.package = package
        self.settings = {name: get() for name, (get, _) in _SETTINGS.items()}
        self.handlers = {number: signal.getsignal(number) for number in _SIGNALS}
        self.functions = {place: dict(vars(place)) for place in (*_WATCHED, *_own())}

    def restore(self) -> list[str]:
        """Put back what was changed since, and name it."""
        changed = []
        for name, (get, put) in _SETTINGS.items():
            if get() != self.settings[name]:
                put(self.settings[name])
                changed.append(name)
        for number, handler in self.handlers.items():
            if signal.getsignal(number) != handler:
                signal.signal(number, handler)
                changed.append(f"what is done on {number.name}")
        for place, before in self.functions.items():
            for name, value in before.items():
                new = vars(place).get(name)
                if (
                    new is not value
                    and callable(value)
                    and _root(getattr(new, "__module__", "")) == self.package
                ):
                    setattr(place, name, value)
                    changed.append(f"{place.__name__}.{name}")
        return changed


def _root(module: str | None) -> str:
    return (module or "").partition(".")[0]


def _own() -> list[Any]:
    """The suite's modules and their classes."""
    modules = [m for name, m in list(sys.modules.items()) if _root(name) == __package__]
    classes = {c for m in modules for c in vars(m).values() if isinstance(c, type)}
    return [*modules, *(c for c in classes if _root(c.__module__) == __package__)]
