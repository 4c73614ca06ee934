"""(a) What a step of each method costs beside one of `sum`, and beside plain PyTorch; (f) its memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice

import torch
from torch import Tensor, nn

from ... import methods
from ...methods.surgeon import Memory
from ...tasks import Batch, Model, Task
from ...tasks.models import log_spectral_norm
from . import memory, workloads
from .measurements import Measurement
from .timing import in_turns
from .workloads import Workload

FEW_AT_A_TIME = 5
STEPS_BEFORE = 200
FEW = ("sum", "pcgrad", "mgda", "dynamic_barrier", "bloop", "bloop_no_ema")
Loss = Callable[[Task, Model, Batch], Tensor]


class Bare:
    """Plain PyTorch on one loss: the module itself, one backward pass, fused Adam."""

    def __init__(self, task: Task, loss: Loss, weight_decay: float = 0.0) -> None:
        torch.manual_seed(0)
        self.task, self.loss = task, loss
        self.module = task.build().to(task.device)
        self.module.train()
        parameters = self.module.parameters()
        self.optimizer = torch.optim.Adam(parameters, lr=1e-4, weight_decay=weight_decay, fused=True)

    def step(self, batch: Batch) -> None:
        """Forward, backward, one step of the optimiser."""
        self.optimizer.zero_grad()
        self.loss(self.task, plain(self.module), batch).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()


class ByHand(Bare):
    """Bloop by a `Surgeon` in such a loop, of the two losses of a task with one forward pass."""

    def __init__(self, task: Task, memory: Memory) -> None:
        super().__init__(task, _first)
        self.surgeon = methods.Surgeon(self.optimizer, methods.create("bloop", lam=0.3), memory=memory)

    def step(self, batch: Batch) -> None:
        """Forward, surgery, one step of the optimiser."""
        self.optimizer.zero_grad()
        losses = self.task.losses(plain(self.module), batch)
        self.surgeon.backward(*(loss for loss in losses if isinstance(loss, Tensor)))
        self.optimizer.step()


def plain(module: nn.Module) -> Model:
    """A module as tasks see it, called as it is."""
    return Model(module, dict(module.named_parameters()), dict(module.named_buffers()), _call)


def measure_time(device: str, full: bool) -> Iterator[Measurement]:
    """Methods against `sum`, Bloop against plain PyTorch."""
    every = tuple(
        name for name, method in methods.REGISTRY.classes().items() if method.objectives in (None, 2)
    )
    seconds = 15 if full else 5
    yield from _against_sum(workloads.mlp(device), every if full else FEW, 1.15, seconds)
    yield from _against_sum(workloads.transformer(device), every if full else FEW, 1.03, 2 * seconds)
    residual = workloads.resnet18(device, 64 if full else 16)
    yield from _against_sum(residual, FEW if full else ("sum", "bloop"), 1.03, 4 * seconds)
    yield from beside_sum(residual, ("bloop",), None, 4 * seconds, one_backward=True)
    yield from beside_sum(workloads.small_weights(device), ("bloop",), 1.03, 2 * seconds)
    yield _against_bare(
        workloads.mlp(device),
        _first,
        "Bloop's step / plain PyTorch on the main loss alone",
        1.9,
        seconds,
    )
    yield _against_bare(
        workloads.small_weights(device),
        _first,
        "Bloop's step with the auxiliary loss ½‖θ‖² / plain PyTorch on the main loss with weight decay",
        1.10,
        2 * seconds,
        weight_decay=0.3,
    )
    yield _spectral_norm(device, seconds)


def measure_memory(device: str, full: bool) -> Iterator[Measurement]:
    """What Bloop remembers, and what a second loss needs."""
    residual = workloads.resnet18(device, 64 if full else 16)
    batch = residual.batch()
    peaks = {
        method: memory.of_step(partial(residual.stepper, method), batch, device)
        for method in ("sum", "bloop")
    }
    vector = residual.stepper("sum").models.theta.nbytes
    yield Measurement(
        part="f",
        figure=f"peak memory of Bloop − peak memory of sum, in parameter vectors ({residual.title})",
        value=(peaks["bloop"] - peaks["sum"]) / vector,
        target=1.05,
    )
    yield from _vectors(device)
    text = workloads.transformer(device)
    windows = text.batch()
    step = memory.of_step(lambda: text.stepper("bloop"), windows, device)
    singles = [
        memory.of_step(partial(Bare, text.task, partial(_nth, k)), windows, device)
        for k in range(len(text.task.objectives))
    ]
    vector = text.stepper("bloop").models.theta.nbytes
    yield Measurement(
        part="f",
        figure="peak memory of Bloop / plain PyTorch on the larger loss alone plus two parameter vectors "
        "(transformer)",
        value=step / (max(singles) + 2 * vector),
        target=1.15,
    )


def _vectors(device: str) -> Iterator[Measurement]:
    """All that a step of Bloop holds: θ, its gradient and two vectors of Adam without surgery."""
    workload = workloads.eight_layers(device)
    batch, vector = workload.batch(), workload.stepper("sum").models.theta.nbytes
    steps: dict[str, tuple[Callable[[], memory.Steps], float | None]] = {
        "a step of Bloop with Adam in a sweep": (partial(workload.stepper, "bloop"), 6.5),
        "a step of a Surgeon, Bloop with Adam": (partial(ByHand, workload.task, "rows"), None),
        "a streaming step of one": (partial(ByHand, workload.task, "streaming"), 5.3),
    }
    for title, (make, target) in steps.items():
        yield Measurement(
            part="f",
            figure=f"peak memory of {title}, in parameter vectors ({workload.title})",
            value=memory.of_step(make, batch, device) / vector,
            target=target,
        )


def _against_sum(
    workload: Workload, names: tuple[str, ...], target: float, seconds: float
) -> Iterator[Measurement]:
    """A row per method but `sum`: Bloop, which has a target, alone beside it, then a few at a time."""
    yield from beside_sum(workload, ("bloop",), target, seconds)
    others = iter([name for name in names if name not in ("sum", "bloop")])
    while few := tuple(islice(others, FEW_AT_A_TIME)):
        yield from beside_sum(workload, few, None, seconds)


def beside_sum(
    workload: Workload,
    names: tuple[str, ...],
    target: float | None,
    seconds: float,
    one_backward: bool = False,
) -> Iterator[Measurement]:
    """A row per method, beside a sum that takes a gradient per loss, or one backward pass for all."""
    steppers = {name: workload.stepper(name, one_backward=one_backward) for name in ("sum", *names)}
    how = "one backward pass" if one_backward else "two gradients"
    batch, device = workload.batch(), workload.task.device
    times = in_turns({name: partial(s.step, batch) for name, s in steppers.items()}, device, seconds)
    for name in names:
        figure = f"step of {name} / step of sum with {how} ({workload.title})"
        yield Measurement.of_times("a", figure, times, name, "sum", target)


def _against_bare(
    workload: Workload, loss: Loss, title: str, target: float, seconds: float, weight_decay: float = 0.0
) -> Measurement:
    ours, batch = workload.stepper("bloop"), workload.batch()
    bare = Bare(workload.task, loss, weight_decay)
    functions = {"ours": partial(ours.step, batch), "bare": partial(bare.step, batch)}
    times = in_turns(functions, workload.task.device, seconds)
    return Measurement.of_times("a", f"{title} ({workload.title})", times, "ours", "bare", target)


def _spectral_norm(device: str, seconds: float) -> Measurement:
    """On weights in training, one step away from those that the bases were found for."""
    workload = workloads.mlp(device)
    stepper, batch = workload.stepper("bloop"), workload.batch()
    for _ in range(STEPS_BEFORE):
        stepper.step(batch)
    model = stepper.models.model()
    weights = [p.detach().clone().requires_grad_() for p in model.parameters.values() if p.dim() == 2]
    bases = [basis.clone() for name, basis in model.buffers.items() if name.endswith("basis")]

    def exact() -> None:
        _gradient([torch.linalg.matrix_norm(w, 2).log() for w in weights], weights)

    def ours() -> None:
        _gradient([log_spectral_norm(w, b)[0] for w, b in zip(weights, bases, strict=True)], weights)

    times = in_turns({"svd": exact, "ours": ours}, device, seconds)
    title = "gradient of the spectral norms / the same by differentiating an SVD (MLP)"
    return Measurement.of_times("a", title, times, "ours", "svd", 0.11)


def _gradient(logs: list[Tensor], weights: list[Tensor]) -> None:
    torch.autograd.grad(torch.stack(logs).sum(), weights)


def _call(module: nn.Module, state: object, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
    return module(*args, **kwargs)


def _first(task: Task, model: Model, batch: Batch) -> Tensor:
    return _nth(0, task, model, batch)


def _nth(k: int, task: Task, model: Model, batch: Batch) -> Tensor:
    alone = {**batch, "main": batch[task.objectives[k]]} if k else batch
    loss = next(task.losses(model, alone))
    assert isinstance(loss, Tensor)
    return loss
