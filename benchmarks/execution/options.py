"""How runs are executed: on what data, device and workers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch

from ...words import first_line
from ..messages import UserError


@dataclass(frozen=True)
class ExecutionOptions:
    """How runs are executed: none of it is part of what a run is."""

    data: str = "embedded"
    device: str = "cpu"
    workers: int = 1
    population: int | None = None
    """How many runs train in lock step; None for what is fastest on the device."""
    checkpoint_every: float = 60.0
    """Seconds between two checkpoints of a run."""
    run_timeout: float | None = None
    """Seconds without a step, on Ray since it was submitted, after which a run has failed; None for none."""
    executor: str = "local"
    address: str | None = None
    """Of a Ray cluster; None for one that is started for the sweep."""
    gpu_share: float = 1.0
    """What a population takes of a GPU."""
    method_files: Mapping[str, str] = field(default_factory=dict)
    task_files: Mapping[str, str] = field(default_factory=dict)
    """Loose files, ``path.py:Class``, by name: a worker process loads what its runs use by itself."""

    @property
    def in_this_process(self) -> ExecutionOptions:
        """How the sweep's own process looks at data: it may have no GPU where it uses a cluster's."""
        return replace(self, device="cpu") if self.executor == "ray" else self


def default_workers(device: str, gpu_share: float = 1.0) -> int:
    """One per core this process may use; on GPUs, as many as have room there."""
    if device.startswith("cuda"):
        return max(1, on_gpus(torch.cuda.device_count() if device == "cuda" else 1, gpu_share))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def on_gpus(gpus: float, share: float) -> int:
    """How many runs have room on so many GPUs, of each of which one takes a share."""
    return int(gpus * int(1 / share + 1e-9))


def default_device() -> str:
    """The first GPU where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def check_device(device: str, here: bool = True) -> str:
    """The device as it is compared: ``cpu`` for ``cpu:0``, too.

    Raises:
        UserError: it is none, or, where runs are trained ``here``, this machine does not have it.
    """
    try:
        kind = torch.device(device).type
        if here:
            torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {device}: {first_line(error)}") from error
    if kind == "meta":
        raise UserError(f"--device {device}: it holds no numbers")
    return kind if kind == "cpu" else device
