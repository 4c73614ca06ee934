"""(c) The direction alone, against copying the bytes that it must move; (e) how it grows with the work."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from ... import methods
from . import memory, workloads
from .measurements import Measurement
from .timing import Times, in_turns, milliseconds

MOVED = 7
"""Vectors that a direction of Bloop must move: g_a and m read, then g_m, g_a and m, and d and m written."""
TARGETS = {10**5: 4.0, 10**6: 1.7, 10**7: 1.6}
"""Of a direction over that copy, by the number of parameters, on a CPU."""


def measure_against_copy(device: str, full: bool) -> Iterator[Measurement]:
    """Bloop's direction at growing P; its exponent belongs to (c) too, as it is of these times."""
    sizes = [10**5, 3 * 10**5, 10**6, 3 * 10**6, 10**7]
    if full or device != "cpu":
        sizes += [3 * 10**7, 10**8]
    points = []
    for size in sizes:
        times = beside_copy(size, device, 8 if full else 2)
        figure = f"direction of Bloop / copying as many bytes, P = {size:.0e}"
        target = TARGETS.get(size) if device == "cpu" else None
        row = Measurement.of_times("c", figure, times, "direction", "copy", target)
        points.append(row.model_copy(update={"at": {"P": size}}))
    yield from points
    yield _exponent("c", "time of Bloop's direction against P", sizes, [row.milliseconds for row in points])


def beside_copy(size: int, device: str, seconds: float) -> Times[str]:
    """The times of Bloop's ``direction`` and of a ``copy`` of as many bytes as it must move."""
    copied = torch.empty(2, MOVED * size // 2, device=device)
    functions: dict[str, Callable[[], object]] = {
        "direction": direction(size, 2, 1, device),
        "copy": partial(copied[0].copy_, copied[1]),
    }
    return in_turns(functions, device, seconds)


def measure_growth(device: str, full: bool) -> Iterator[Measurement]:
    """The time of a direction against K and N, the peak memory of a step against P."""
    seconds, size = 4 if full else 1, 10**6
    objectives = [2, 3, 4, 6, 8, 12, 16] if full else [2, 4, 8, 16]
    make = partial(direction, size, n=1, device=device, method="pcgrad")
    yield from _grown("PCGrad", "K", objectives, make, device, seconds)
    populations = [1, 2, 4, 8, 16, 32, 64, 128, 256] if full else [1, 4, 16, 64]
    yield from _grown(
        "Bloop", "N", populations, lambda n: direction(size // 10, 2, n, device), device, seconds
    )
    widths = [128, 256, 512, 1024, 2048, 4096] if full else [128, 512, 2048]
    sizes, peaks = [], []
    for width in widths:
        workload = workloads.two_heads(device, width)
        sizes.append(workload.stepper("sum").models.theta.numel())
        peaks.append(memory.of_step(partial(workload.stepper, "bloop"), workload.batch(), device))
        yield Measurement(
            part="e",
            figure=f"peak memory of a step of Bloop, in parameter vectors, P = {sizes[-1]:.1e}",
            value=peaks[-1] / (4 * sizes[-1]),
            at={"P": sizes[-1]},
        )
    yield _exponent("e", "peak memory of a step of Bloop against P", sizes, peaks)


def _grown(
    name: str,
    variable: str,
    values: Sequence[int],
    make: Callable[[int], Callable[[], object]],
    device: str,
    seconds: float,
) -> Iterator[Measurement]:
    functions = {value: make(value) for value in values}
    times = in_turns(functions, device, seconds * len(values))
    first = values[0]
    for value in values:
        figure = f"direction of {name} at {variable} = {value} / at {variable} = {first}"
        row = Measurement.of_times("e", figure, times, value, first)
        yield row.model_copy(update={"at": {variable: value}})
    medians = [milliseconds(times, value) for value in values]
    yield _exponent("e", f"time of the direction of {name} against {variable}", values, medians)


def direction(size: int, k: int, n: int, device: str, method: str = "bloop") -> Callable[[], object]:
    """One surgery on ``n`` times ``k`` gradients of ``size`` parameters, which moves its state along.

    Two batches take turns, so that an EMA is not parallel to its gradient.
    """
    made = methods.create(method, lam=0.3)
    batches = itertools.cycle(torch.randn(2, *((n,) if n > 1 else ()), k, size, device=device))
    state = made.init(next(batches))
    out = torch.empty_like(next(batches)[..., 0, :])

    def call() -> Tensor:
        nonlocal state
        _, state = made.combine(next(batches), state, out=out)
        return out

    return call


def _exponent(part: str, figure: str, sizes: Sequence[float], costs: Sequence[float | None]) -> Measurement:
    """The slope of log cost over log size, with its 95 % interval."""
    fit = stats.linregress(np.log(sizes), np.log(np.array(costs, float)))
    reach = fit.stderr * stats.t.ppf(0.975, len(sizes) - 2)
    return Measurement(
        part=part,
        figure=f"exponent of {figure}",
        value=fit.slope,
        low=fit.slope - reach,
        high=fit.slope + reach,
    )
