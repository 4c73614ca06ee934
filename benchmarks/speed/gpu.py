"""(gpu) What only a GPU can tell, in less than eight minutes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch

from ...tasks import Batch
from ...words import first_line
from ..training import Stepper
from . import population, steps, surgery, workloads
from .measurements import Measurement
from .timing import in_turns
from .workloads import Workload

SECONDS = 20.0
"""Of each comparison, its compilation and the start of its models apart."""
PARAMETERS = 10**8
RUNS = 64
"""Of a population."""
WARM_UP = 3
"""Steps before one is captured."""


def measure(device: str) -> Iterator[Measurement]:
    """Every row, at the sizes of a GPU."""
    yield from of_direction(device, PARAMETERS, SECONDS)
    yield from population.measure_against_one(RUNS, device, SECONDS, target=20.0)
    for workload in (workloads.resnet18(device, 256), workloads.transformer(device)):
        yield from steps.beside_sum(workload, ("bloop",), 1.03, SECONDS)
        yield from of_compilation(workload, SECONDS)
    yield from steps.measure_memory(device, full=True)


def of_direction(device: str, size: int, seconds: float) -> Iterator[Measurement]:
    """The bandwidth of Bloop's direction over that of a copy."""
    times = surgery.beside_copy(size, device, seconds)
    figure = f"bandwidth of Bloop's direction / bandwidth of a copy, P = {size:.0e}"
    row = Measurement.of_times("gpu", figure, times, "copy", "direction", 0.70)
    yield row.model_copy(update={"at_least": True})


def of_compilation(workload: Workload, seconds: float) -> Iterator[Measurement]:
    """A step of Bloop with its model compiled, and captured in a CUDA graph, against the step as it is."""
    batch, device = workload.batch(), workload.task.device
    plain = partial(workload.stepper("bloop").step, batch)
    for title, make in (("compiled", _compiled), ("captured in a CUDA graph", _captured)):
        figure = f"step of Bloop, {title} / as it is ({workload.title})"
        try:
            functions: dict[str, Callable[[], object]] = {"changed": make(workload, batch), "plain": plain}
            times = in_turns(functions, device, seconds)
        except (RuntimeError, ValueError) as error:
            note = f"{title}: {first_line(error)}"
            yield Measurement(part="gpu", figure=figure, value=None, note=note)
        else:
            yield Measurement.of_times("gpu", figure, times, "changed", "plain")


def _compiled(workload: Workload, batch: Batch) -> Callable[[], object]:
    run = workload.run("bloop")
    training = run.training.model_copy(update={"compile": True})
    return partial(Stepper([run.model_copy(update={"training": training})], workload.task).step, batch)


def _captured(workload: Workload, batch: Batch) -> Callable[[], object]:
    """The replay of a step on the same batch: its learning rate and the method's counters stand still."""
    stepper, graph = workload.stepper("bloop"), torch.cuda.CUDAGraph()
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    for group in stepper.update.own.optimizer.param_groups:
        group["capturable"] = True
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            stepper.step(batch)
    torch.cuda.current_stream().wait_stream(stream)
    with torch.cuda.graph(graph):
        stepper.step(batch)
    return _Replay(graph, stepper)


class _Replay:
    """A captured step, and the stepper whose memory it works on."""

    def __init__(self, graph: torch.cuda.CUDAGraph, stepper: Stepper) -> None:
        self.graph, self.stepper = graph, stepper

    def __call__(self) -> None:
        self.graph.replay()
