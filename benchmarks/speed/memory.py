"""Peak memory of a training step: what it allocates, and what is kept from step to step."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Protocol

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from ...tasks import Batch

MARK = "measured step"


class Steps(Protocol):
    """Something that trains."""

    def step(self, batch: Batch) -> None:
        """One step."""


def of_step(make: Callable[[], Steps], batch: Batch, device: str) -> int:
    """The most bytes at once in the third step of what ``make`` returns, parameters and all else included."""

    def start() -> Callable[[], None]:
        stepper = make()
        for _ in range(2):
            stepper.step(batch)
        return lambda: stepper.step(batch)

    return of_call(start, device)


def of_call(start: Callable[[], Callable[[], object]], device: str) -> int:
    """The most bytes at once in a call of what ``start`` returns, of those allocated since ``start``."""
    gc.collect()  # what others leave must not be freed, and counted, in between
    if device != "cpu":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        function = start()
        torch.cuda.reset_peak_memory_stats()
        function()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        function = start()
        with record_function(MARK):
            function()
    events = sorted(profiler.profiler.kineto_results.events(), key=lambda event: event.start_ns())
    began = next(event.start_ns() for event in events if event.name() == MARK)
    lying = peak = 0
    for event in events:
        if event.name() == "[memory]":
            before = event.start_ns() < began
            lying += event.nbytes()
            peak = lying if before else max(peak, lying)
    return peak
