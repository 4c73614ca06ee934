"""Speed, as ratios of medians measured side by side in one process."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import pandas as pd
import torch
from torch import Tensor

from benchmarks import memory
from benchmarks.experiment import Experiment, load
from benchmarks.records import environment, write_atomically
from benchmarks.settings import DataRecord, TrainingRun
from benchmarks.training import Stepper
from tasks import Batch, Data, Task
from tasks.cifar_mnist import CifarMnist
from tasks.data.images import ResidentImages
from tasks.smooth_mlp import SmoothMLP
from tasks.spectral import log_spectral_norm, start_basis

ROUNDS = 40


class _MNISTShapes(SmoothMLP):
    """`smooth_mlp` on random images of MNIST's shape: the time of a step does not depend on the pixels."""

    @property
    def dataset(self) -> Data:
        generator = torch.Generator().manual_seed(0)
        images = torch.rand(4096, 784, generator=generator)
        labels = torch.arange(4096) % 10
        return Data("embedded", "random", {"train": {"images": images, "labels": labels}})


class _CIFARShapes(CifarMnist):
    """`cifar_mnist` on random images of CIFAR-10's shape."""

    @property
    def dataset(self) -> ResidentImages:
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(256, (256, 32, 32, 3), dtype=torch.uint8, generator=generator)
        labels = {"labels": torch.arange(256) % 10, "digits": torch.arange(256) // 10 % 10}
        return ResidentImages("embedded", "random", {"train": {"images": images, **labels}})


def run(results: Path) -> pd.DataFrame:
    """Measure, write ``results/bench/quick.json``, and return the table of figures and targets.

    Everything runs on one thread, after one another in turns, so that a busy machine slows all alike.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = [*_steps_of_methods(), *_spectral_norm(), *_residual_network(), *memory.rows()]
        facts = environment("cpu")
    finally:
        torch.set_num_threads(threads)
    folder = results / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "quick.json", json.dumps({"environment": facts, "rows": rows}, indent=1) + "\n")
    return pd.DataFrame(rows)


def _steps_of_methods() -> list[dict[str, object]]:
    experiment = load("fig3a", "workstation")
    assert isinstance(experiment, Experiment)
    runs = experiment.plan(lambda settings: DataRecord(name="random", fingerprint="0"))
    task = _MNISTShapes()
    steppers = {run.label: Stepper(run, task) for run in runs if run.seed == 0 and run.lam == 0.01}
    batch = next(task.batches(torch.Generator().manual_seed(0)))
    times = _in_turns({label: lambda s=s: s.step(batch) for label, s in steppers.items()})  # type: ignore[misc]
    return [
        {
            "figure": f"step of {label} / step of sum (smooth_mlp, MNIST shapes, batch 256)",
            "ratio": times[label] / times["sum"],
            "target": 1.15 if label == "bloop" else None,
            "milliseconds": 1e3 * times[label],
        }
        for label in steppers
    ]


def _spectral_norm() -> list[dict[str, object]]:
    module = _MNISTShapes().build()
    weights = [p.detach().clone().requires_grad_() for p in module.parameters() if p.dim() == 2]
    bases = [start_basis(w.detach()) for w in weights]

    def exact() -> None:
        _gradient([torch.linalg.matrix_norm(w, 2).log() for w in weights], weights)

    def ours() -> None:
        _gradient([log_spectral_norm(w, b)[0] for w, b in zip(weights, bases, strict=True)], weights)

    times = _in_turns({"svd": exact, "ours": ours})
    return [
        {
            "figure": "gradient of the spectral norms / the same by differentiating an SVD",
            "ratio": times["ours"] / times["svd"],
            "target": 1 / 3,
            "milliseconds": 1e3 * times["ours"],
        }
    ]


def _residual_network() -> list[dict[str, object]]:
    """Bloop against `sum`, ResNet-18 on the shapes of CIFAR-10, both losses of Cifar10Mnist."""
    experiment = load("fig4", "paper")
    assert isinstance(experiment, Experiment)
    runs = experiment.plan(lambda settings: DataRecord(name="random", fingerprint="0"))
    settings = {**experiment.task, "batch_size": 128}
    task = _CIFARShapes(**{name: value for name, value in settings.items() if name != "name"})
    chosen = {run.label: run for run in runs if run.label in ("sum", "bloop") and run.seed == 0}
    steppers = {label: Stepper(run, task) for label, run in chosen.items()}
    batch = next(task.batches(torch.Generator().manual_seed(0)))
    peaks = {label: memory.peak(partial(_two_steps, run, task, batch)) for label, run in chosen.items()}
    times = _in_turns({label: lambda s=s: s.step(batch) for label, s in steppers.items()}, rounds=4)  # type: ignore[misc]
    vector = 4 * steppers["sum"].flat.theta.numel()
    return [
        {
            "figure": "step of bloop / step of sum with two gradients (ResNet-18, CIFAR shapes, batch 128)",
            "ratio": times["bloop"] / times["sum"],
            "target": 1.03,
            "milliseconds": 1e3 * times["bloop"],
        },
        {
            "figure": "peak memory of bloop − peak memory of sum, in parameter vectors (ResNet-18)",
            "ratio": (peaks["bloop"] - peaks["sum"]) / vector,
            "target": 1.05,
            "milliseconds": None,
        },
    ]


def _two_steps(run: TrainingRun, task: Task, batch: Batch) -> None:
    stepper = Stepper(run, task)
    for _ in range(2):
        stepper.step(batch)


def _gradient(logs: list[Tensor], weights: list[Tensor]) -> None:
    torch.autograd.grad(torch.stack(logs).sum(), weights)


def _in_turns(functions: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Median seconds of each, measured in turns after a warm-up."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    warm = min(3, rounds // 3)
    for turn in range(rounds + warm):
        for name, function in functions.items():
            started = time.perf_counter()
            function()
            if turn >= warm:
                times[name].append(time.perf_counter() - started)
    return {name: median(values) for name, values in times.items()}
