"""(h) `methods.Surgeon` in a loop by hand against the engine, and on two processes against plain DDP."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from ... import methods
from ...methods.surgeon import Memory
from ...tasks.language_model import LanguageModel
from ..experiments.loading import load
from ..experiments.schema import Experiment
from ..experiments.settings import DataRecord
from ..training import Stepper
from . import workloads
from .measurements import Measurement
from .steps import ByHand, plain
from .timing import in_turns

ROUNDS = 20
PROCESSES = 2
LAM = 0.2


def measure() -> Iterator[Measurement]:
    """On the CPU, one thread per process."""
    yield _against_the_engine()
    yield _streaming()
    yield from _against_plain_ddp()


def _against_the_engine() -> Measurement:
    """Bloop on a small transformer: separate parameters in a plain loop, and the engine's flat vector."""
    experiment = load("fig5a", "laptop", {"lam": [LAM], "seeds": 1})
    assert isinstance(experiment, Experiment)
    runs = experiment.plan(lambda settings: DataRecord(name="random", fingerprint="0"))
    run = next(run for run in runs if run.label == "bloop")
    task = LanguageModel(**{key: value for key, value in run.task.items() if key != "name"})
    shape = task.batch_size, task.context + 1
    batch = {name: torch.randint(256, shape, dtype=torch.uint8) for name in task.objectives}
    stepper = Stepper([run], task)
    module = task.build()
    optimizer = torch.optim.Adam(module.parameters(), lr=run.training.lr, fused=True)
    surgeon = methods.Surgeon(module.parameters(), methods.create(**run.method, lam=run.lam))
    model = plain(module)

    def by_hand() -> None:
        losses = task.losses(model, batch)
        surgeon.backward(lambda: _next(losses), lambda: _next(losses))
        optimizer.step()
        optimizer.zero_grad()

    times = in_turns({"engine": lambda: stepper.step(batch), "surgeon": by_hand}, "cpu", 10)
    return Measurement.of_times(
        "h",
        "Surgeon in a plain loop / the engine's step (Bloop, transformer of fig5a laptop)",
        times,
        "surgeon",
        "engine",
        1.05,
    )


def _streaming() -> Measurement:
    workload = workloads.eight_layers("cpu", batch_size=64)
    batch = workload.batch()
    steps = {memory: partial(ByHand(workload.task, memory).step, batch) for memory in get_args(Memory)}
    title = f"Surgeon's streaming step / its step on rows (Bloop, {workload.title})"
    times = in_turns(steps, "cpu", 5)
    return Measurement.of_times("h", title, times, "streaming", "rows", 1.25)


def _next(losses: Iterator[Any]) -> Tensor:
    loss: Tensor = next(losses)
    return loss


def _against_plain_ddp() -> Iterator[Measurement]:
    with TemporaryDirectory() as folder:
        spawn(_measure, (folder,), nprocs=PROCESSES)  # type: ignore[no-untyped-call]
        measured = json.loads((Path(folder) / "times.json").read_text())
    for data, seconds in measured.items():
        times = {name: np.array(values) for name, values in seconds.items()}
        figure = f"Surgeon's step / DDP step of the summed loss, {PROCESSES} processes ({data})"
        yield Measurement.of_times("h", figure, times, "surgeon", "sum", 2.2)


def _measure(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=PROCESSES)
    torch.manual_seed(rank)
    images, labels = torch.randn(2, 256, 784), torch.randint(10, (2, 256))
    model = DistributedDataParallel(
        nn.Sequential(nn.Linear(784, 768), nn.ReLU(), nn.Linear(768, 768), nn.ReLU(), nn.Linear(768, 20))
    )
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    surgeon = methods.Surgeon(model.parameters(), methods.create("bloop", lam=LAM))

    def heads() -> list[Tensor]:
        outputs = model(images[0]).chunk(2, 1)
        return [cross_entropy(output, label) for output, label in zip(outputs, labels, strict=True)]

    def halves() -> list[Tensor]:
        outputs = model(images.flatten(0, 1)).chunk(2)
        return [cross_entropy(output, label) for output, label in zip(outputs, labels, strict=True)]

    def single(k: int) -> Tensor:
        return cross_entropy(model(images[k]), labels[k])

    def finish() -> None:
        optimizer.step()
        optimizer.zero_grad()

    def summed(losses: list[Tensor]) -> None:
        (losses[0] + LAM * losses[1]).backward()  # type: ignore[no-untyped-call]
        finish()

    def operated(*losses: Tensor | Callable[[], Tensor]) -> None:
        surgeon.backward(*losses)
        finish()

    seconds = {
        "one batch, two heads": _seconds(lambda: summed(heads()), lambda: operated(*heads())),
        "two batches": _seconds(
            lambda: summed(halves()), lambda: operated(lambda: single(0), lambda: single(1))
        ),
    }
    if rank == 0:
        (Path(folder) / "times.json").write_text(json.dumps(seconds))
    dist.barrier()
    dist.destroy_process_group()


def _seconds(summed: Callable[[], None], operated: Callable[[], None]) -> dict[str, list[float]]:
    """Of each call, which all processes begin at once."""
    seconds: dict[str, list[float]] = {"sum": [], "surgeon": []}
    sides = [("sum", summed), ("surgeon", operated)]
    for turn in range(ROUNDS + 3):
        for name, function in sides if turn % 2 else sides[::-1]:
            dist.barrier()
            started = time.perf_counter()
            function()
            if turn >= 3:
                seconds[name].append(time.perf_counter() - started)
    return seconds
