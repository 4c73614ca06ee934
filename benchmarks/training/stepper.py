"""Models in training, for one run or several in lock step: one gradient per objective, surgery, one step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ... import methods
from ...tasks import Batch, Known, Loss, Task
from ..experiments.settings import TrainingRun
from .checkpoints import State
from .models import FlatModel, StackedModels
from .optimizers import Update
from .schedule import Lams, learning_rate_factor


@dataclass(frozen=True)
class _MethodGroup:
    """Runs of a population that share a method: replicas ``where``, with one λ and one seed each."""

    where: slice
    method: methods.BaseMethod
    seeds: int | Tensor


class Stepper:
    """Models in training: one call is one step of every run. Uses the global generator to initialise.

    Tensors have the leading shape ``...``: ``()`` for one run, ``(N,)`` for several.

    Args:
        runs: of the same task, data and training.
        task: theirs.

    Raises:
        ValueError: the runs differ in more than method, λ and seed, or have a λ that is not to be moved.
    """

    def __init__(self, runs: Sequence[TrainingRun], task: Task) -> None:
        if len({(str(run.task), run.data, run.training) for run in runs}) > 1:
            raise ValueError("the runs of a population differ in method, λ and seed only")
        self.task = task
        self.order = sorted(range(len(runs)), key=lambda i: str(runs[i].method))
        self.runs = [runs[i] for i in self.order]
        options = runs[0].training
        self.models = self._build_models(bool(options.channels_last), bool(options.compile))
        self.precision = partial(
            torch.autocast, self.models.theta.device.type, torch.bfloat16, enabled=bool(options.bf16)
        )
        self.rounding = torch.finfo(torch.bfloat16).eps if options.bf16 else None
        self.steps = options.epochs * task.steps_per_epoch
        self.lams = Lams(self.runs, task.steps_per_epoch, self.steps, task.device)
        self.groups = self._groups()
        parts = [(group.where, group.method) for group in self.groups]
        reference = self._method(options.step_of, self.runs) if options.step_of else None
        self.update = Update(options, self.models.theta, parts, reference)
        rate = learning_rate_factor(options, task.steps_per_epoch, self.steps)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.update.own.optimizer, rate)
        leading = self.models.theta.shape[:-1]
        k, device = len(task.objectives), self.models.theta.device
        self.losses = torch.empty(*leading, k, device=device)
        self.rows: methods.Parts | None = None
        self.direction = torch.empty_like(self.models.theta, requires_grad=False)
        self.models.theta.grad = self.direction
        self.states: list[methods.State] = []
        self.step_norm = torch.zeros(leading, device=device)
        self.done = torch.zeros((), dtype=torch.int64, device=device)
        self.bad_step = torch.full(leading, -1, dtype=torch.int64, device=device)
        self.nonpositive = torch.zeros(*leading, k, dtype=torch.bool, device=device)
        single = all(group.method.single_backward for group in self.groups)
        self.single_backward = single and task.shared_forward and not self.update.reads_gradients

    def _build_models(self, channels_last: bool, compile: bool) -> FlatModel:
        modules: dict[int, nn.Module] = {}
        for run in self.runs:
            if run.seed not in modules:
                torch.manual_seed(stream(run.seed, "initialisation"))
                modules[run.seed] = self.task.build()
        if len(self.runs) == 1:
            return FlatModel(modules[self.runs[0].seed], self.task.device, channels_last, compile)
        replicas = [modules[run.seed] for run in self.runs]
        return StackedModels(replicas, self.task.device, len(modules) == 1, channels_last, compile)

    def _groups(self) -> list[_MethodGroup]:
        if len(self.runs) == 1:
            return [_MethodGroup(slice(None), *self._method(self.runs[0].method, self.runs))]
        groups, start = [], 0
        for _, same in groupby(self.runs, key=lambda run: str(run.method)):
            runs = list(same)
            where = slice(start, start + len(runs))
            groups.append(_MethodGroup(where, *self._method(runs[0].method, runs)))
            start += len(runs)
        return groups

    def _method(
        self, settings: dict[str, Any], runs: Sequence[TrainingRun]
    ) -> tuple[methods.BaseMethod, int | Tensor]:
        """A method at the runs' λ, and the seeds of what it draws: tensors where several runs are trained."""
        lam = self.lams.of([run.lam for run in runs] if len(self.runs) > 1 else runs[0].lam)
        seeds: int | Tensor = stream(runs[0].seed, "method")
        if len(self.runs) > 1:
            seeds = torch.tensor([stream(run.seed, "method") for run in runs])
        return methods.create(**settings, lam=lam).with_blocks(self.models.sizes), seeds

    def batches(self) -> Iterator[Batch]:
        """The batches of every step: each seed's own, stacked over the runs where their seeds differ."""
        seeds = list(dict.fromkeys(run.seed for run in self.runs))
        streams = [
            self.task.batches(torch.Generator().manual_seed(stream(seed, "batches"))) for seed in seeds
        ]
        if len(seeds) == 1:
            return streams[0]
        which = torch.tensor([seeds.index(run.seed) for run in self.runs], device=self.task.device)
        return (
            {name: torch.stack([batch[name] for batch in batches])[which] for name in batches[0]}
            for batches in zip(*streams, strict=True)
        )

    def step(self, batch: Batch, diagnose: bool = False) -> None:
        """One gradient per objective, surgery, one step of the optimiser; nothing waits for the device.

        Without ``diagnose`` the gradients are not kept: the direction is written over the main one, and where
        the methods only weigh losses that share a forward pass, one backward pass gives it.
        """
        if not self.models.module.training:
            self.models.module.train()
        self.rows = None
        self.lams.move(self.scheduler.last_epoch)
        if self.single_backward and not diagnose:
            self._one_backward(batch)
        else:
            self._surgery(batch, diagnose)
        self.update.step()
        self.scheduler.step()
        self.done += 1
        if any(group.method.positive_losses for group in self.groups):
            self.nonpositive |= (self.losses <= 0) & (self.bad_step < 0)[..., None]
        if any(group.method.observes for group in self.groups):
            self._observe(batch)
        self._note_divergence()
        if self.bad_step.dim():
            self._freeze()

    def _note_divergence(self) -> None:
        """Keep the first step at which a loss of a run was not finite."""
        if self.losses.device.type == "cpu" and math.isfinite(sum(self.losses.flatten().tolist())):
            return
        fine = self.losses.isfinite().all(-1) | (self.bad_step >= 0)
        self.bad_step = torch.where(fine, self.bad_step, self.done)

    @property
    def gradients(self) -> Tensor:
        """Those of the last step, ``(..., K, P)``, where it was to be diagnosed."""
        assert self.rows is not None
        return self.rows.whole()

    @torch.no_grad()
    def diagnosed_step(self, batch: Batch) -> None:
        """A step that `diagnostics` can tell of."""
        before = self.models.theta.clone()
        with torch.enable_grad():
            self.step(batch, diagnose=True)
        self.step_norm = torch.linalg.vector_norm(self.models.theta - before, dim=-1)

    def _surgery(self, batch: Batch, diagnose: bool) -> None:
        gradients = self._differentiate(batch, diagnose)
        if diagnose:  # the direction is written over the main gradient
            self.rows = methods.Parts([[main.clone(), *others] for main, *others in gradients.parts])
        self._start(gradients)
        if self.update.reads_gradients:
            self.update.see(gradients, self.losses, self.rounding)
        for i, (group, state) in enumerate(zip(self.groups, self.states, strict=True)):
            where = group.where
            _, self.states[i] = group.method.combine(
                gradients.replicas(where),
                state,
                self.losses[where],
                out=self.direction[where],
                rounding=self.rounding,
            )

    def _differentiate(self, batch: Batch, diagnose: bool) -> methods.Parts:
        """The losses and their gradients; the main one lies where the direction will."""
        last = len(self.task.objectives) - 1
        keep = self.task.shared_forward or isinstance(self.models, StackedModels)
        rows = [torch.split(self.direction, self.models.lengths, -1)]
        with self.precision():
            losses = self.models.losses(self.task, batch)
        for k in range(last + 1):
            with self.precision():
                loss = next(losses)
            if k == 0:
                self.models.gradient(loss, self.direction, keep and k < last)
            else:
                parts = self.models.gradient_in_parts(loss, keep and k < last)
                outlive = diagnose and isinstance(loss, Known)  # the step of the optimiser, which moves θ
                rows.append(tuple(part.clone() for part in parts) if outlive else tuple(parts))
            self.losses[..., k] = _value(loss)
        return methods.Parts(list(zip(*rows, strict=True)))

    def _one_backward(self, batch: Batch) -> None:
        with self.precision():
            losses = list(self.models.losses(self.task, batch))
        for k, loss in enumerate(losses):
            self.losses[..., k] = _value(loss)
        self._start(methods.Parts([[self.direction] * len(losses)]))  # of which the shape is read
        weights = torch.empty_like(self.losses)
        for i, (group, state) in enumerate(zip(self.groups, self.states, strict=True)):
            weights[group.where], self.states[i] = group.method.loss_weights(state, self.losses[group.where])
        passed = [(k, loss) for k, loss in enumerate(losses) if not isinstance(loss, Known)]
        if weights.device.type == "cpu":  # where a loss without weight is known without a wait
            passed = [(k, loss) for k, loss in passed if bool(weights[..., k].any())] or passed[:1]
        weighted = [loss * weights[..., k] for k, loss in passed]
        self.models.gradient(torch.stack(weighted).sum(), self.direction, keep=False)
        into = torch.split(self.direction, self.models.lengths, -1)
        for k, loss in enumerate(losses):
            if isinstance(loss, Known):
                for part, known in zip(into, self.models.gradient_in_parts(loss, keep=False), strict=True):
                    part.addcmul_(known, weights[..., k, None])

    @torch.no_grad()
    def _observe(self, batch: Batch) -> None:
        """Tell the methods the losses after the step; buffers and random numbers stay what they were."""
        buffers = {name: buffer.clone() for name, buffer in self.models.buffers.items()}
        after = torch.empty_like(self.losses)
        with torch.random.fork_rng(), self.precision():
            for k, loss in enumerate(self.models.losses(self.task, batch)):
                after[..., k] = _value(loss)
        for name, buffer in self.models.buffers.items():
            buffer.copy_(buffers[name])
        for i, (group, state) in enumerate(zip(self.groups, self.states, strict=True)):
            self.states[i] = group.method.observe(state, after[group.where])

    def check_losses(self) -> None:
        """Refuse losses that the methods are not defined for; it waits for the device.

        Raises:
            ValueError: a loss was 0 or less at any step so far, under a method for positive losses only.
        """
        for group in self.groups:
            found = self.nonpositive[group.where].reshape(-1, len(self.task.objectives)).any(0).tolist()
            if group.method.positive_losses and any(found):
                name = next(name for name, bad in zip(self.task.objectives, found, strict=True) if bad)
                raise ValueError(
                    f"{group.method.name} is defined for positive losses only, and the {name} loss was 0 or "
                    f"less by step {int(self.done)}"
                )

    def _start(self, gradients: methods.Parts) -> None:
        if not self.states:
            self.states = [g.method.init(gradients.replicas(g.where), g.seeds) for g in self.groups]

    @torch.no_grad()
    def _freeze(self) -> None:
        """Keep what has diverged out of the way of the others: at zero, where losses may be computed."""
        self.models.theta.masked_fill_((self.bad_step >= 0)[:, None], 0)

    def snapshot(self) -> State:
        """All that later steps depend on, but for the batches."""
        device = self.models.theta.device
        return {
            "done": int(self.done),
            "theta": self.models.theta.detach(),
            "buffers": self.models.buffers,
            "update": self.update.snapshot(),
            "scheduler": self.scheduler.state_dict(),
            "methods": self.states,
            "bad_step": self.bad_step,
            "nonpositive": self.nonpositive,
            "generator": torch.get_rng_state(),
            "device_generator": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        }

    @torch.no_grad()
    def restore(self, saved: State) -> None:
        """Go on from a state."""
        device = self.models.theta.device
        self.models.theta.copy_(saved["theta"])
        for name, buffer in self.models.buffers.items():
            buffer.copy_(saved["buffers"][name])
        self.update.restore(saved["update"])
        self.scheduler.load_state_dict(saved["scheduler"])
        self.states = [{name: tensor.to(device) for name, tensor in s.items()} for s in saved["methods"]]
        self.done.fill_(saved["done"])
        self.bad_step.copy_(saved["bad_step"])
        self.nonpositive.copy_(saved["nonpositive"])
        torch.set_rng_state(saved["generator"])
        if device.type == "cuda":
            torch.cuda.set_rng_state(saved["device_generator"], device)

    def diagnostics(self, replica: int) -> dict[str, float | None]:
        """Lengths and cosines of a run's gradients, direction, memory, step at the last `diagnosed_step`.

        Of several auxiliary gradients, their sum; of what is remembered, the EMA of the main gradient as the
        step left it (`analysis.diagnostics.as_projected` moves it back).
        """
        where = (replica,) if self.bad_step.dim() else ()
        assert self.rows is not None
        main, aux, *others = (self.rows.row(k)[where] for k in range(len(self.task.objectives)))
        for other in others:
            aux = aux + other
        rows = {"main": main, "aux": aux, "direction": self.direction[where]}
        group = self._group_of(replica)
        if "memory" in (state := self.states[group]):
            first, _, _ = self.groups[group].where.indices(len(self.runs))
            rows["memory"] = state["memory"][(replica - first,) if where else ()][0]
        gram = methods.gram([row.double() for row in rows.values()])
        norms = gram.diagonal().sqrt()
        cosines = dict(zip(rows, (gram / (norms[:, None] * norms[None, :])).tolist(), strict=True))
        values = {f"{name}_norm": norm for name, norm in zip(rows, norms.tolist(), strict=True)}
        values |= {"main_aux_cosine": cosines["main"][1], "direction_main_cosine": cosines["direction"][0]}
        values["direction_aux_cosine"] = cosines["direction"][1]
        if "memory" in rows:
            values["memory_main_cosine"] = cosines["memory"][0]
            values["direction_memory_cosine"] = cosines["direction"][3]
        values["step_norm"] = float(self.step_norm[where])
        values |= self._projected_share(replica, gram)
        return {name: value if math.isfinite(value) else None for name, value in values.items()}

    def _group_of(self, replica: int) -> int:
        """The place of a run's group among the groups."""
        return next(i for i, g in enumerate(self.groups) if replica in range(len(self.runs))[g.where])

    def _projected_share(self, replica: int, gram: Tensor) -> dict[str, float]:
        """1 − ⟨d − g_m, g_a⟩ / (λ ‖g_a‖²), the share of g_a that is not in d = g_m + λ π(g_a; ·).

        Where the method `shows_projection`, with two objectives; nothing at λ = 0.

        Args:
            replica: which run.
            gram: of g_m, g_a, d and more.
        """
        lam = self.runs[replica].lam * self.lams.factor
        method = self.groups[self._group_of(replica)].method
        if not method.shows_projection or len(self.task.objectives) != 2 or not lam:
            return {}
        scale = 1 + lam if method.rescale else 1.0
        (_, main_aux, _), (_, aux, along) = gram[:2, :3].tolist()
        return {"projected_share": 1 - (scale * along - main_aux) / (lam * aux)} if aux else {}


def _value(loss: Loss) -> Tensor:
    return (loss.value if isinstance(loss, Known) else loss).detach()


def stream(seed: int, purpose: str) -> int:
    """A seed of its own for each purpose, so that no two draw the same numbers."""
    entropy = [seed, *purpose.encode()]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))
