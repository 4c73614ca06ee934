"""Times that compare well on a machine that does other things too: taken in turns, summed up by medians."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

Name = TypeVar("Name", bound=Hashable)
Times = dict[Name, NDArray[np.float64]]
"""Seconds ``(turns,)`` of each function."""


@dataclass(frozen=True)
class Ratio:
    """The median of the ratios of each turn, and their quartiles."""

    value: float
    low: float
    high: float


def in_turns(
    functions: Mapping[Name, Callable[[], object]],
    device: str,
    seconds: float,
    least: int = 5,
    most: int = 1000,
) -> Times[Name]:
    """Call every function once a turn, the first of a turn another one each time.

    Args:
        device: where they work; on a GPU each call is waited for.
        seconds: no turn begins after so many, once there have been ``least``.
        least, most: turns, one more of which comes before, to warm up.

    Returns:
        seconds ``(turns,)`` of each.
    """
    names = list(functions)
    times: dict[Name, list[float]] = {name: [] for name in names}
    for name in names:
        functions[name]()
    began = time.perf_counter()
    for turn in range(most):
        if turn >= least and time.perf_counter() - began > seconds:
            break
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            _wait(device)
            started = time.perf_counter()
            functions[name]()
            _wait(device)
            times[name].append(time.perf_counter() - started)
    return {name: np.array(values) for name, values in times.items()}


def ratio(times: Times[Name], name: Name, to: Name, scale: float = 1.0) -> Ratio:
    """The time of one function over that of another, times ``scale``."""
    low, value, high = scale * np.quantile(times[name] / times[to], (0.25, 0.5, 0.75))
    return Ratio(float(value), float(low), float(high))


def milliseconds(times: Times[Name], name: Name) -> float:
    """The median."""
    return 1e3 * float(np.median(times[name]))


def _wait(device: str) -> None:
    if device != "cpu":
        torch.accelerator.synchronize()
