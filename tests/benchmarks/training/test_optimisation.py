"""Whole runs of `sum` against a loop of plain PyTorch, with torch's own optimisers and schedulers."""

import itertools

import pytest
import torch
from torch.optim import lr_scheduler

from scalpel_bench.benchmarks.experiments.settings import TrainingRun
from scalpel_bench.benchmarks.training import stream, train
from scalpel_bench.tasks.bases import Model
from tests.benchmarks.regression import Regression, run_of

FACTORS = {
    None: lambda t, steps: 1.0,
    "linear": lambda t, steps: (steps - t) / steps,
    "inverse": lambda t, steps: 5 / (5 + t),
}
"""On λ in step t, with 5 steps an epoch."""


def scheduler(optimizer: torch.optim.Optimizer, run: TrainingRun, warmup: int) -> lr_scheduler.LRScheduler:
    after: lr_scheduler.LRScheduler
    if run.training.schedule == "cosine":
        after = lr_scheduler.CosineAnnealingLR(optimizer, T_max=run.training.epochs * 5 - warmup)
    else:
        after = lr_scheduler.ConstantLR(optimizer, factor=1.0)
    if not warmup:
        return after
    rising = lr_scheduler.LinearLR(optimizer, start_factor=1 / warmup, total_iters=warmup - 1)
    return lr_scheduler.SequentialLR(optimizer, [rising, after], milestones=[warmup])


def plain_loop(run: TrainingRun, task: Regression) -> list[dict[str, float]]:
    """The losses after each epoch."""
    torch.manual_seed(stream(run.seed, "initialisation"))
    module, settings = task.build(), run.training
    optimizer: torch.optim.Optimizer = torch.optim.Adam(module.parameters(), lr=settings.lr)
    if settings.optimizer == "sgd":
        momentum = settings.momentum
        optimizer = torch.optim.SGD(
            module.parameters(), lr=settings.lr, momentum=momentum, nesterov=momentum > 0
        )
    schedule = scheduler(optimizer, run, round(settings.warmup_epochs * 5))
    model, losses = Model(module, dict(module.named_parameters()), {}), []
    batches = task.batches(torch.Generator().manual_seed(stream(run.seed, "batches")))
    for step, batch in enumerate(itertools.islice(batches, settings.epochs * 5), 1):
        main, aux = task.losses(model, batch)
        optimizer.zero_grad()
        (main + run.lam * FACTORS[settings.lam_schedule](step - 1, settings.epochs * 5) * aux).backward()
        optimizer.step()
        schedule.step()
        if step % 5 == 0:
            losses.append(task.evaluate(model, "train"))
    return losses


@pytest.mark.parametrize(
    "settings",
    [
        {"momentum": 0.0},
        {"momentum": 0.9},
        {"optimizer": "adam", "lr": 0.01, "seed": 1},
        {"schedule": "cosine"},
        {"warmup_epochs": 0.8},
        {"schedule": "cosine", "warmup_epochs": 1.4, "lam": 2.0},
        {"lam_schedule": "linear", "lam": 2.0},
        {"lam_schedule": "inverse", "lam": 2.0, "optimizer": "adam", "lr": 0.01},
    ],
)
def test_a_run_of_sum_is_what_torch_makes_of_the_summed_loss(settings: dict) -> None:
    run, task = run_of(evaluations=4, **settings), Regression()
    rows = train([run], task)[0].trajectory[1:]
    assert [(row["step"], row["epoch"]) for row in rows] == [(5, 1.0), (10, 2.0), (15, 3.0), (20, 4.0)]
    for row, expected in zip(rows, plain_loop(run, task), strict=True):
        assert row["train"] == pytest.approx(expected, rel=1e-4)
