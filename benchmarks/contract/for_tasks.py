"""The rules that every task must keep."""

from __future__ import annotations

import math

import torch

from ... import tasks
from ...words import first_line
from ..training import FlatModel, StackedModels
from .rules import Rule, require, require_close, violations


def task_rules() -> dict[str, Rule]:
    """The rules for a task by name."""
    return {
        "losses are finite scalars, one per objective": _losses,
        "every split is measured in every objective, with finite numbers": _evaluates,
        "batches depend on the generator alone": _batches,
        "gradients reach the flat parameters": _gradients,
    }


def check_task(name: str) -> dict[str, str]:
    """What is wrong with a task, by rule; an empty text where the rule holds."""
    return violations(task_rules(), name)


def alone(name: str) -> str:
    """Why the runs of a task cannot train in lock step; nothing where they can.

    A sweep then trains them one by one, whatever the population that it is asked for.
    """
    try:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            task = tasks.create(name)
            both = StackedModels([task.build(), task.build()], "cpu", shared_batch=True)
        batch = next(task.batches(torch.Generator().manual_seed(0)))
        for loss in both.losses(task, batch):
            both.gradient(loss, torch.empty_like(both.theta, requires_grad=False), keep=True)
    except Exception as error:
        return first_line(error).partition(". ")[0]
    return ""


def _task(name: str) -> tuple[tasks.Task, FlatModel]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        task = tasks.create(name)
        return task, FlatModel(task.build(), "cpu")


def _losses(name: str) -> None:
    task, flat = _task(name)
    losses = list(task.losses(flat.model(), next(task.batches(torch.Generator().manual_seed(0)))))
    require(
        len(losses) == len(task.objectives), f"{len(losses)} losses for {len(task.objectives)} objectives"
    )
    for objective, loss in zip(task.objectives, losses, strict=True):
        value = loss.value if isinstance(loss, tasks.Known) else loss
        require(value.shape == () and value.isfinite(), f"loss {objective!r} is {value}")


def _evaluates(name: str) -> None:
    task, flat = _task(name)
    require({"train", "test"} <= set(task.splits), f"splits {task.splits} lack train or test")
    for split in task.splits:
        with torch.no_grad():
            metrics = task.evaluate(flat.model(), split)
        for objective in (*task.objectives, "aux"):
            require(objective in metrics, f"{split}: no value of objective {objective!r}")
        for metric in task.metrics:
            require(metric in metrics, f"{split}: no value of its metric {metric!r}")
        for metric, value in metrics.items():
            require(
                isinstance(value, float | int), f"{split}: {metric} is no float, but {type(value).__name__}"
            )
            require(math.isfinite(value), f"{split}: {metric} is {value}")


def _batches(name: str) -> None:
    task, _ = _task(name)
    first, second, other = (task.batches(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        a = next(first)
        torch.manual_seed(1)
        b = next(second)
    require(all(torch.equal(a[k], b[k]) for k in a), "generators with the same seed give different batches")
    c = next(other)
    require(not a or any(not torch.equal(a[k], c[k]) for k in a), "the generator changes nothing")


def _gradients(name: str) -> None:
    task, flat = _task(name)
    batch = next(task.batches(torch.Generator().manual_seed(0)))
    for objective, loss in zip(task.objectives, task.losses(flat.model(), batch), strict=True):
        keep, gradient = task.shared_forward, torch.empty_like(flat.theta, requires_grad=False)
        flat.gradient(loss, gradient, keep=keep)
        if isinstance(loss, tasks.Known):
            depends = loss.value.requires_grad
            require(depends, f"the value of {objective!r} does not depend on the parameters")
            expected = torch.empty_like(gradient)
            flat.gradient(loss.value, expected, keep=keep)
            broken = f"the known gradient of {objective!r} is not that of its value"
            require_close(gradient, expected, 1e-5, broken)
        require(gradient.isfinite().all(), f"the gradient of {objective!r} is not finite")
        require(gradient.any(), f"the gradient of {objective!r} is zero")
