"""(b) Our step against TorchJD's and LibMTL's of the same method: same model, batch, optimiser and threads.

A peer calls the module itself, keeps its parameters as tensors of their own, and takes a step as its own
documentation or trainer does. Source: https://torchjd.org, "autojac"; LibMTL 1.1.5, ``LibMTL/trainer.py``.
"""

from __future__ import annotations

import importlib.util
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ...tasks import Batch, Known, Task
from ...words import first_line
from ..training import Stepper
from . import memory, workloads
from .measurements import Measurement
from .steps import plain
from .timing import in_turns
from .workloads import Workload

INSTALL = "not installed: pip install 'scalpel-bench[peers]'"
_TORCHJD = {"pcgrad": "PCGrad", "mgda": "MGDA", "upgrad": "UPGrad"}
_LIBMTL = {"pcgrad": "PCGrad", "mgda": "MGDA"}


class Peer(Protocol):
    """A training loop of another library."""

    module: nn.Module

    def step(self, batch: Batch) -> None:
        """One step."""


class TorchJD:
    """The loop of TorchJD's documentation: a batched backward of all losses, then the aggregation.

    Args:
        chunk: ``parallel_chunk_size``: 1 for one backward pass per loss, None for all at once.
        by_tensor: ``optimize_gramian_computation``, which saves the concatenation of the Jacobians.
    """

    def __init__(self, task: Task, method: str, chunk: int | None = None, by_tensor: bool = False) -> None:
        from torchjd import aggregation, autojac

        self.task, self.module, self.optimizer = _start(task)
        self.aggregator = getattr(aggregation, _TORCHJD[method])()
        self.autojac, self.chunk, self.by_tensor = autojac, chunk, by_tensor

    def step(self, batch: Batch) -> None:
        """Losses, Jacobians, aggregation, one step of the optimiser."""
        losses = [loss for loss in self.task.losses(plain(self.module), batch) if isinstance(loss, Tensor)]
        self.autojac.backward(losses, parallel_chunk_size=self.chunk)
        options: dict[str, Any] = {"optimize_gramian_computation": True} if self.by_tensor else {}
        self.autojac.jac_to_grad(self.module.parameters(), self.aggregator, **options)
        self.optimizer.step()
        self.optimizer.zero_grad()


class LibMTL:
    """The step of LibMTL's trainer, with the whole model shared, as ours is."""

    def __init__(self, task: Task, method: str) -> None:
        architecture, weighting = _libmtl()
        self.task, self.module, self.optimizer = _start(task)
        module = self.module

        class Shared(architecture.HPS, getattr(weighting, _LIBMTL[method])):  # type: ignore[misc, name-defined]
            def zero_grad_share_params(self) -> None:
                """In place, as `zero_grad` was when LibMTL was written; it keeps to the tensors."""
                self.encoder.zero_grad(set_to_none=False)

        objectives, device = list(task.objectives), torch.device(task.device)
        self.model = Shared(objectives, lambda: module, {}, False, True, device)
        self.model.init_param()

    def step(self, batch: Batch) -> None:
        """Losses, gradients, surgery, one step of the optimiser."""
        losses = torch.zeros(len(self.task.objectives), device=self.task.device)
        for k, loss in enumerate(self.task.losses(plain(self.module), batch)):
            losses[k] = loss.value if isinstance(loss, Known) else loss
        self.optimizer.zero_grad(set_to_none=False)
        self.model.backward(losses, mgda_gn="none")
        self.optimizer.step()


class Rival(NamedTuple):
    """A peer, and what is to be reached against it."""

    title: str
    package: str
    make: Callable[[], Peer]
    time: float | None = None
    memory: float | None = None


def measure(device: str, full: bool) -> Iterator[Measurement]:
    """Time and peak memory of our step over each peer's."""
    every = tuple(_TORCHJD)
    for workload, chosen in (
        (workloads.mlp(device), every if full else ("pcgrad",)),
        (workloads.transformer(device), every),
        (workloads.two_heads(device), every if full else ("pcgrad",)),
        (workloads.resnet18(device, 64 if full else 16), ("pcgrad",)),
    ):
        for method in chosen:
            yield from compared(workload, method, rivals(workload.task, method, full), 15 if full else 5)


def rivals(task: Task, method: str, full: bool) -> list[Rival]:
    """The peers that have a method: TorchJD by default and by its options that save memory.

    Its `autogram`, which needs the losses to be outputs of modules, is left out: ours may be of parameters.
    """
    title = f"TorchJD, {_TORCHJD[method]}"
    modes = {"by default": (None, False), "one loss and one tensor at a time": (1, True)}
    if full:
        modes["one loss at a time"] = (1, False)
    found = [
        Rival(f"{title}, {words}", "torchjd", partial(TorchJD, task, method, *options), 1.0, 0.80)
        for words, options in modes.items()
    ]
    if method in _LIBMTL:
        found.append(Rival(f"LibMTL, {_LIBMTL[method]}", "LibMTL", partial(LibMTL, task, method), 0.85))
    return found


def compared(workload: Workload, method: str, against: list[Rival], seconds: float) -> Iterator[Measurement]:
    """Two rows per rival, or one that says that it is not installed."""
    batch, device = workload.batch(), workload.task.device
    ours = partial(workload.stepper, method, lam=1.0)
    missing = {package: _missing(package) for package in {rival.package for rival in against}}
    installed = {rival.title: rival for rival in against if not missing[rival.package]}
    makers: dict[str, Callable[[], Peer | Stepper]] = {"ours": ours}
    makers |= {title: rival.make for title, rival in installed.items()}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop")  # TorchJD's batched attention
        functions = {title: partial(make().step, batch) for title, make in makers.items()}
        times = in_turns(functions, device, seconds, least=8)
        del functions
        peaks = {title: memory.of_step(make, batch, device) for title, make in makers.items()}
    for rival in against:
        figure = f"ours / {rival.title} ({workload.title})"
        if rival.title not in installed:
            note = missing[rival.package]
            yield Measurement(part="b", figure=f"time: {figure}", value=None, target=rival.time, note=note)
            continue
        yield Measurement.of_times("b", f"time: {figure}", times, "ours", rival.title, rival.time)
        space = peaks["ours"] / peaks[rival.title]
        yield Measurement(part="b", figure=f"peak memory: {figure}", value=space, target=rival.memory)


def _start(task: Task) -> tuple[Task, nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    module = task.build().to(task.device)
    module.train()
    return task, module, torch.optim.Adam(module.parameters(), lr=1e-4, fused=True)


def _missing(package: str) -> str:
    """Why a peer cannot be measured; empty where it can."""
    if importlib.util.find_spec(package) is None:
        return INSTALL
    try:
        _libmtl() if package == "LibMTL" else importlib.import_module(package)
    except ImportError as error:
        return f"cannot be imported: {first_line(error)}"
    return ""


def _libmtl() -> tuple[Any, Any]:
    """Its architectures and weightings.

    LibMTL 1.1.5 imports a function of `torch.hub`, which is not called here, from a module that torchvision
    has dropped: that module is put back.
    """
    dropped = "torchvision.models.utils"
    if dropped not in sys.modules and importlib.util.find_spec(dropped) is None:
        module = types.ModuleType(dropped)
        module.load_state_dict_from_url = torch.hub.load_state_dict_from_url  # type: ignore[attr-defined]
        sys.modules[dropped] = module
    return importlib.import_module("LibMTL.architecture"), importlib.import_module("LibMTL.weighting")
