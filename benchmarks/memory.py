"""Peak memory of a step with two losses, against that of one loss alone."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.experiment import Experiment, load
from benchmarks.settings import DataRecord
from benchmarks.training import Stepper
from tasks.language_model import LanguageModel

TARGET = 1.15


def rows() -> list[dict[str, object]]:
    """The ratio of a step of `bloop` to the larger single loss plus two parameter vectors, and its target.

    Both count what they allocate at their peak; the step also what it keeps from one step to the next (the
    gradients, the direction, the EMA). The optimiser's own state is in neither.
    """
    experiment = load("fig5a", "workstation", {"lam": [0.2], "seeds": 1})
    assert isinstance(experiment, Experiment)
    (run,) = (
        run
        for run in experiment.plan(lambda settings: DataRecord(name="random", fingerprint="0"))
        if run.label == "bloop"
    )
    task = LanguageModel(**{key: value for key, value in run.task.items() if key != "name"})
    stepper = Stepper(run, task)
    batch = {
        name: torch.randint(256, (task.batch_size, task.context + 1), dtype=torch.uint8)
        for name in task.objectives
    }
    stepper.step(batch)
    assert stepper.state is not None
    kept = [stepper.gradients, stepper.direction, *stepper.state.values()]
    step = peak(lambda: stepper.step(batch)) + sum(tensor.nbytes for tensor in kept)

    def single(objective: str) -> None:
        alone = {**batch, "main": batch[objective]}
        torch.autograd.grad(next(task.losses(stepper.flat.model(), alone)), stepper.flat.theta)

    largest = max(peak(lambda o=objective: single(o)) for objective in task.objectives)  # type: ignore[misc]
    return [
        {
            "figure": "peak memory of a step of bloop / of the larger loss alone plus two parameter vectors "
            "(language_model)",
            "ratio": step / (largest + 2 * stepper.flat.theta.nbytes),
            "target": TARGET,
            "milliseconds": None,
        }
    ]


def peak(function: Callable[[], object]) -> int:
    """The most bytes that lay allocated at once during a call, above what lay there before it."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        function()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return max(accumulate(changes), default=0)
