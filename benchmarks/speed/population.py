"""(d) Runs that train in lock step as one population, against the same runs one by one."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from ...tasks import Batch
from ..training import Stepper
from . import workloads
from .measurements import Measurement
from .timing import in_turns, milliseconds, ratio

SIZES = (1, 4, 16, 64, 256)
SEEDS = 4
FIGURE = "runs per hour of a population / one by one (MLP)"


def measure(device: str, full: bool) -> Iterator[Measurement]:
    """Bloop on `smooth_mlp` at N values of λ."""
    for size in SIZES if full or device != "cpu" else SIZES[:4]:
        yield from measure_against_one(size, device, 30 if full else 4)


def measure_against_one(
    size: int, device: str, seconds: float, target: float | None = None
) -> Iterator[Measurement]:
    """A population of one size."""
    workload = workloads.mlp(device)
    runs = [workload.run("bloop", lam=10 ** (-4 + 4 * n / size), seed=n % SEEDS) for n in range(size)]
    steppers = {"population": Stepper(runs, workload.task), "one": Stepper(runs[:1], workload.task)}
    functions = {name: partial(_step, stepper, stepper.batches()) for name, stepper in steppers.items()}
    times = in_turns(functions, device, seconds, least=3)
    found = ratio(times, "one", "population", scale=size)
    yield Measurement(
        part="d",
        figure=f"{FIGURE}, N = {size}",
        value=found.value,
        low=found.low,
        high=found.high,
        target=target,
        at_least=target is not None,
        milliseconds=milliseconds(times, "population"),
        at={"N": size},
    )


def _step(stepper: Stepper, batches: Iterator[Batch]) -> None:
    """A step with its batches, which a population stacks."""
    stepper.step(next(batches))
