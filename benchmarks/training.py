"""The training loop: flat parameters, one gradient per objective, surgery, one optimiser step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

import methods
from benchmarks.settings import Training, TrainingRun
from tasks import Batch, Known, Loss, Model, Task

Trajectory = list[dict[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """The trajectory of a run, the step at which it left the finite numbers (or None), and seconds spent."""

    trajectory: Trajectory
    diverged_at: int | None
    timings: dict[str, float]


class Flat:
    """A module seen as a function of one flat parameter vector ``theta`` ``(P,)``.

    With ``channels_last``, the weights of convolutions lie in it by output, row, column, input.
    """

    def __init__(
        self, module: nn.Module, device: str, channels_last: bool = False, compile: bool = False
    ) -> None:
        self.module = module.to(device)
        parameters = dict(module.named_parameters())
        self.channels_last = channels_last
        self.call = torch.compile(functional_call) if compile else functional_call
        self.shapes = {name: p.shape for name, p in parameters.items()}
        self.sizes = [p.numel() for p in parameters.values()]
        self.buffers = dict(module.named_buffers())
        first = next(iter(parameters.values()))
        self.theta = torch.empty(sum(self.sizes), dtype=first.dtype, device=first.device)
        self.write(self.theta, {name: p.detach() for name, p in parameters.items()})
        self.theta.requires_grad_()

    def model(self) -> Model:
        """The model at the present ``theta``; gradients flow back to it."""
        return Model(self.module, self.parts(self.theta), self.buffers, self.call)

    def parts(self, vector: Tensor) -> dict[str, Tensor]:
        """Views of a flat vector ``(P,)``, one per parameter and of its shape."""
        pieces = zip(self.shapes.items(), torch.split(vector, self.sizes), strict=True)
        return {name: self._shaped(piece, shape) for (name, shape), piece in pieces}

    @torch.no_grad()
    def write(self, vector: Tensor, values: dict[str, Tensor]) -> None:
        """Fill a flat vector ``(P,)`` with one tensor per parameter; zero where there is none."""
        for name, part in self.parts(vector).items():
            part.copy_(values[name]) if name in values else part.zero_()

    def gradient(self, loss: Loss, row: Tensor, keep: bool) -> None:
        """Write the gradient of a loss into ``row`` ``(P,)``; ``keep`` its graph for another loss."""
        if isinstance(loss, Known):
            self.write(row, loss.gradient)
        else:
            row.copy_(torch.autograd.grad(loss, self.theta, retain_graph=keep)[0])

    def _shaped(self, piece: Tensor, shape: torch.Size) -> Tensor:
        if self.channels_last and len(shape) == 4:
            outputs, inputs, height, width = shape
            return piece.view(outputs, height, width, inputs).permute(0, 3, 1, 2)
        return piece.view(shape)


def train(run: TrainingRun, task: Task, on_step: Callable[[int], None] = lambda step: None) -> Outcome:
    """Train one run to its end, or until a loss or a parameter is not finite.

    The seed alone decides the initial parameters, the batches and any randomness of the model; the method
    changes none of them.
    """
    with torch.random.fork_rng():
        stepper = Stepper(run, task)
        torch.manual_seed(_stream(run.seed, "model"))
        batches = task.batches(torch.Generator().manual_seed(_stream(run.seed, "batches")))
        steps, count = stepper.steps, run.training.evaluations
        evaluate_at = {round(n * steps / count) for n in range(1, count + 1)}
        log = _Log(stepper)
        diverged_at = log.evaluate(0)
        for step in range(1, steps + 1):
            if diverged_at is not None:
                break
            stepper.step(next(batches))
            if step in evaluate_at:
                diverged_at = log.evaluate(step)
            on_step(step)
        return log.outcome(diverged_at)


class Stepper:
    """A model in training: one call is one step. Uses the global generator to initialise."""

    def __init__(self, run: TrainingRun, task: Task) -> None:
        torch.manual_seed(_stream(run.seed, "initialisation"))
        self.task = task
        options = run.training
        self.flat = Flat(task.build(), task.device, bool(options.channels_last), bool(options.compile))
        self.precision = partial(
            torch.autocast, self.flat.theta.device.type, torch.bfloat16, enabled=bool(options.bf16)
        )
        self.method = methods.create(**run.method, lam=run.lam).with_blocks(self.flat.sizes)
        self.steps = run.training.epochs * task.steps_per_epoch
        self.optimizer = _optimizer(run.training, self.flat.theta)
        rate = _schedule(run.training, task.steps_per_epoch, self.steps)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, rate)
        k, device = len(task.objectives), self.flat.theta.device
        self.gradients = torch.empty(k, self.flat.theta.numel(), device=device)
        self.losses = torch.empty(k, device=device)
        self.direction = torch.empty_like(self.flat.theta)
        self.state: methods.State | None = None
        self.done = torch.zeros((), dtype=torch.int64, device=device)
        self.bad_step = torch.full_like(self.done, -1)

    def step(self, batch: Batch) -> None:
        """One gradient per objective, surgery, one step of the optimiser; nothing waits for the device."""
        self.flat.module.train()
        losses, last = self.task.losses(self.flat.model(), batch), len(self.task.objectives) - 1
        for k, row in enumerate(self.gradients):
            with self.precision():
                loss = next(losses)
            self.flat.gradient(loss, row, keep=self.task.shared_forward and k < last)
            self.losses[k] = (loss.value if isinstance(loss, Known) else loss).detach()
        if self.state is None:
            self.state = self.method.init(self.gradients)
        self.direction, self.state = self.method.combine(self.gradients, self.state, self.losses)
        self.flat.theta.grad = self.direction
        self.optimizer.step()
        self.scheduler.step()
        self.done += 1
        fine = self.losses.isfinite().all() | (self.bad_step >= 0)
        self.bad_step = torch.where(fine, self.bad_step, self.done)

    def diagnostics(self) -> dict[str, float | None]:
        """Lengths and cosines of the last step's gradients, direction and remembered row."""
        rows = {"main": self.gradients[0], "aux": self.gradients[1], "direction": self.direction}
        if self.state and "memory" in self.state:
            rows["memory"] = self.state["memory"][0]
        stacked = torch.stack(list(rows.values())).double()
        gram = stacked @ stacked.mT
        norms = gram.diagonal().sqrt()
        cosines = dict(zip(rows, (gram / (norms[:, None] * norms[None, :])).tolist(), strict=True))
        values = {f"{name}_norm": norm for name, norm in zip(rows, norms.tolist(), strict=True)}
        values |= {"main_aux_cosine": cosines["main"][1], "direction_main_cosine": cosines["direction"][0]}
        values["direction_aux_cosine"] = cosines["direction"][1]
        if "memory" in rows:
            values["memory_main_cosine"] = cosines["memory"][0]
        return {name: value if math.isfinite(value) else None for name, value in values.items()}


class _Log:
    """The trajectory of a run and the seconds spent on it."""

    def __init__(self, stepper: Stepper) -> None:
        self.stepper = stepper
        self.trajectory: Trajectory = []
        self.started = time.perf_counter()
        self.evaluating = 0.0

    def evaluate(self, step: int) -> int | None:
        """Append a row; the step of divergence, and no row, where something is not finite."""
        if (bad := int(self.stepper.bad_step)) >= 0:
            return bad
        started = time.perf_counter()
        flat, task = self.stepper.flat, self.stepper.task
        flat.module.eval()
        with torch.no_grad():
            model = flat.model()
            metrics = {split: task.evaluate(model, split) for split in task.splits}
            if step == self.stepper.steps:
                metrics = {split: {**values, **task.final(model, split)} for split, values in metrics.items()}
        self.evaluating += time.perf_counter() - started
        if not all(math.isfinite(v) for values in metrics.values() for v in values.values()):
            return step
        diagnostics = self.stepper.diagnostics() if step else {}
        row = {"step": step, "epoch": step / task.steps_per_epoch, **metrics, "diagnostics": diagnostics}
        self.trajectory.append(row)
        return None

    def outcome(self, diverged_at: int | None) -> Outcome:
        """What is recorded."""
        seconds = time.perf_counter() - self.started - self.evaluating
        steps = max(int(self.stepper.done), 1)
        timings = {"train": seconds, "evaluate": self.evaluating, "step": seconds / steps}
        return Outcome(self.trajectory, diverged_at, timings)


def _optimizer(training: Training, theta: Tensor) -> torch.optim.Optimizer:
    if training.optimizer == "adam":
        return torch.optim.Adam([theta], lr=training.lr, fused=True)
    return torch.optim.SGD(
        [theta], lr=training.lr, momentum=training.momentum, nesterov=training.momentum > 0, fused=True
    )


def _schedule(training: Training, steps_per_epoch: int, steps: int) -> Callable[[int], float]:
    """The factor on the learning rate of step 0, 1, …: linear warm-up, then constant or cosine to zero."""
    warmup = round(training.warmup_epochs * steps_per_epoch)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        if training.schedule == "constant":
            return 1.0
        return (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1))) / 2

    return factor


def _stream(seed: int, purpose: str) -> int:
    """A seed of its own for each purpose, so that no two draw the same numbers."""
    entropy = [seed, *purpose.encode()]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))
