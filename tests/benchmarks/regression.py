"""A task of microseconds: two regressions through one network, whose dropout the runs' generator decides."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from scalpel_bench import tasks
from scalpel_bench.benchmarks.experiments.settings import Training, TrainingRun
from scalpel_bench.tasks.bases import Batch, Model, Task
from tests.benchmarks.runs import DATA


class Regression(Task):
    steps_per_epoch = 5
    splits = ("train",)

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout

    @property
    def dataset(self) -> tasks.Data:
        return tasks.Data("embedded", "none", {"train": self.draw(torch.Generator().manual_seed(9))})

    def build(self) -> nn.Module:
        return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(self.dropout), nn.Linear(8, 2))

    def draw(self, generator: torch.Generator) -> Batch:
        inputs = torch.randn(16, 3, generator=generator)
        return {"inputs": inputs, "targets": torch.stack([inputs.prod(1), inputs.sum(1)])}

    def batches(self, generator: torch.Generator) -> Iterator[Batch]:
        while True:
            yield self.draw(generator)

    def losses(self, model: Model, batch: Batch) -> Iterator[Tensor]:
        for k in (0, 1):
            yield mse_loss(model(batch["inputs"])[:, k], batch["targets"][k])

    def evaluate(self, model: Model, split: str) -> dict[str, float]:
        main, aux = self.losses(model, self.dataset.splits[split])
        return {"main": main.item(), "aux": aux.item()}


class Slow(Regression):
    """An evaluation takes 100 seconds of a clock that the test turns."""

    def __init__(self, clock: list[float]) -> None:
        super().__init__()
        self.clock = clock

    def evaluate(self, model: Model, split: str) -> dict[str, float]:
        self.clock[0] += 100
        return super().evaluate(model, split)


def run_of(method: str = "sum", lam: float = 0.5, seed: int = 0, **training: Any) -> TrainingRun:
    return TrainingRun(
        experiment="regression",
        scale="smoke",
        label=method,
        task={"name": "regression"},
        data=DATA,
        method={"name": method},
        lam=lam,
        seed=seed,
        training=Training.model_validate({"optimizer": "sgd", "lr": 0.1, "epochs": 4, **training}),
    )
