"""What is measured: tasks on random data of real shapes.

The time of a step does not depend on values, but for spectral norms: they are measured in training.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ...tasks import Batch, Data, Model, Task
from ...tasks.cifar_mnist import CifarMnist
from ...tasks.data.images import ResidentImages
from ...tasks.language_model import LanguageModel
from ...tasks.small_weights import SmallWeights
from ...tasks.smooth_mlp import SmoothMLP
from ..experiments.settings import DataRecord, Training, TrainingRun
from ..training import Stepper


class MNISTShapes(SmoothMLP):
    """`smooth_mlp` on images of MNIST's shape; the auxiliary loss is a function of the parameters only."""

    @cached_property
    def dataset(self) -> Data:
        """One split."""
        images = torch.rand(4096, 784, generator=_generator())
        return Data(
            "embedded", "random", {"train": {"images": images, "labels": torch.arange(4096) % 10}}
        ).to(self.device)


class CIFARShapes(CifarMnist):
    """`cifar_mnist` on images of CIFAR-10's shape; the losses share a forward pass."""

    @cached_property
    def dataset(self) -> ResidentImages:
        """One split."""
        return _photographs(self.device)


class SmallWeightsShapes(SmallWeights):
    """`small_weights` on images of CIFAR-10's shape; the auxiliary loss is ½‖θ‖²."""

    @cached_property
    def dataset(self) -> ResidentImages:
        """One split."""
        return _photographs(self.device)


class TextShapes(LanguageModel):
    """`language_model` on random bytes; each loss has a forward pass of its own."""

    def batches(self, generator: torch.Generator) -> Iterator[Batch]:
        """Windows of both corpora."""
        shape = (self.batch_size, self.context + 1)
        while True:
            yield {
                name: torch.randint(256, shape, generator=generator).byte().to(self.device)
                for name in self.objectives
            }


@dataclass
class TwoHeads(Task):
    """A wide ReLU network with two heads and one forward pass: almost all of a step is the parameters'."""

    width: int = 1024
    batch_size: int = 64
    layers: int = 2

    shared_forward = True

    @property
    def dataset(self) -> Data:
        """None: `batches` draws."""
        raise NotImplementedError

    @property
    def steps_per_epoch(self) -> int:
        """Any number."""
        return 100

    def build(self) -> nn.Module:
        """Hidden layers, then a head of ten outputs per objective."""
        sizes = [256, *[self.width] * self.layers]
        hidden = [layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())]
        return nn.Sequential(*hidden, nn.Linear(self.width, 20))

    def losses(self, model: Model, batch: Batch) -> Iterator[Tensor]:
        """A cross-entropy per head."""
        main, aux = model(batch["inputs"]).split(10, -1)
        yield cross_entropy(main, batch["labels"])
        yield cross_entropy(aux, batch["digits"])

    def batches(self, generator: torch.Generator) -> Iterator[Batch]:
        """Normal inputs and labels of both kinds."""
        while True:
            inputs = torch.randn(self.batch_size, 256, generator=generator).to(self.device)
            labels = torch.randint(10, (2, self.batch_size), generator=generator).to(self.device)
            yield {"inputs": inputs, "labels": labels[0], "digits": labels[1]}

    def evaluate(self, model: Model, split: str) -> dict[str, float]:
        """Nothing."""
        return {}


@dataclass(frozen=True)
class Workload:
    """A task with the name that the tables give it."""

    title: str
    task: Task

    def batch(self) -> Batch:
        """The same one at every call."""
        return next(self.task.batches(_generator()))

    def stepper(self, method: str, lam: float = 0.3, one_backward: bool = False, **settings: Any) -> Stepper:
        """A run of a method, about to take its first step.

        Args:
            method: its name.
            lam: its λ.
            one_backward: let methods that can, on a task that can, do with one backward pass for all losses,
                as in sweeps; if not, every loss has its own.
            settings: of the method.
        """
        stepper = Stepper([self.run(method, lam, **settings)], self.task)
        stepper.single_backward &= one_backward
        return stepper

    def run(self, method: str, lam: float = 0.3, seed: int = 0, **settings: Any) -> TrainingRun:
        """A run of a method with Adam."""
        return TrainingRun(
            experiment="bench",
            scale="bench",
            label=method,
            task={"name": "bench"},
            data=DataRecord(name="random", fingerprint="0"),
            method={"name": method, **settings},
            lam=lam,
            seed=seed,
            training=Training.model_validate({"optimizer": "adam", "lr": 1e-4, "epochs": 1}),
        )


def mlp(device: str) -> Workload:
    """`smooth_mlp` at the sizes of Figure 3a."""
    return Workload("MLP", MNISTShapes(device=device))


def transformer(device: str) -> Workload:
    """`language_model` at the sizes of `text_conflict`, with windows and batches twice as large."""
    task = TextShapes(device=device, layers=2, heads=4, width=96, feed_forward=384, context=64, batch_size=16)
    return Workload("transformer", task)


def resnet18(device: str, batch_size: int) -> Workload:
    """`cifar_mnist` with the network of Figure 4."""
    task = CIFARShapes(device=device, blocks="resnet18", width=64, batch_size=batch_size)
    return Workload(f"ResNet-18, batch {batch_size}", task)


def small_weights(device: str) -> Workload:
    """`small_weights` with a small residual network."""
    return Workload("ResNet-8", SmallWeightsShapes(device=device, blocks="resnet8", width=32, batch_size=64))


def two_heads(device: str, width: int = 2048) -> Workload:
    """The shared forward pass at its cheapest beside the parameters."""
    return Workload(f"two heads, width {width}", TwoHeads(device=device, width=width))


def eight_layers(device: str, batch_size: int = 8) -> Workload:
    """The same with an eighth of the parameters in the largest layer, and hardly an activation."""
    task = TwoHeads(device=device, layers=8, batch_size=batch_size)
    return Workload(f"eight layers of {task.width}, batch {batch_size}", task)


def _photographs(device: str) -> ResidentImages:
    images = torch.randint(256, (256, 32, 32, 3), dtype=torch.uint8, generator=_generator())
    labels = {"labels": torch.arange(256) % 10, "digits": torch.arange(256) // 10 % 10}
    return ResidentImages("embedded", "random", {"train": {"images": images, **labels}}).to(device)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
