"""Surgery in any training loop: the direction of a method where the gradient of one loss would be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from math import inf, isfinite
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

from scalpel_bench.methods.engine.arithmetic import row_cosine
from scalpel_bench.methods.engine.base import Method, State
from scalpel_bench.methods.surgeon.bucket import Bucket
from scalpel_bench.methods.surgeon.distributed import (
    check_alike,
    is_sharded,
    like,
    local,
    placed,
    processes,
    reduce_shards,
)

if TYPE_CHECKING:
    from torch.amp.grad_scaler import GradScaler
    from torch.distributed import ProcessGroup


class _Steps:
    """Counts the steps of all optimisers."""

    taken = 0

    def count(self, *_: object) -> None:
        self.taken += 1


@cache
def _steps() -> _Steps:
    steps = _Steps()
    register_optimizer_step_post_hook(steps.count)
    return steps


Loss = Tensor | Callable[[], Tensor]
Parameters = Iterable[Tensor] | Iterable[dict[str, Any]]


class Surgeon:
    """Writes the direction of a method into ``.grad``, for any optimiser to step.

    >>> surgeon = methods.Surgeon(model.parameters(), methods.create("bloop", lam=0.3))
    >>> surgeon.backward(main_loss, aux_loss)  # in place of (main_loss + 0.3 * aux_loss).backward()
    >>> optimizer.step()

    Where several processes train replicas (``DistributedDataParallel``, or `torch.distributed` alone), the
    gradients and losses are averaged over them, in one collective, before the method sees them. Parameters
    of ``fully_shard``, or otherwise cut into `DTensor` shards, stay so: only G is summed over the shards.
    Make the Surgeon after the model was moved, wrapped or sharded, as you make the optimiser.

    A parameter that one loss does not reach has a zero gradient of that loss; one that no loss reaches has
    ``.grad`` None after the step, as in PyTorch. Frozen parameters are left alone. A method that draws per
    coordinate (`graddrop`) draws alike on every shard.

    It keeps K + 1 vectors of the parameters' length, and what the method remembers.

    Args:
        parameters: those of the model, or an optimiser's ``param_groups``.
        method: what makes one direction of the gradients; with ``blocks=True`` one block per parameter. It
            may be replaced by another with the same memory, to move λ.
        shared: those of ``parameters`` that the method works on; None for all. The others, such as a head of
            each loss, get the gradient of the plain sum of the losses: where one loss alone reaches them,
            its own, without λ.
        scaler: what scales the losses under mixed precision. `backward` takes the losses unscaled and leaves
            the direction scaled, for ``scaler.unscale_`` and ``scaler.step``; what the method remembers is
            unscaled. After an overflow ``.grad`` is infinite, so that the scaler skips the step, and the
            method's memory stays as it was.
        group: the processes that train replicas of plain parameters; None for all.

    Raises:
        ValueError: no parameter requires grad; one of ``shared`` is not one of ``parameters``; one is
            complex, or not sharded as the others.
    """

    def __init__(
        self,
        parameters: Parameters,
        method: Method,
        *,
        shared: Iterable[Tensor] | None = None,
        scaler: GradScaler | None = None,
        group: ProcessGroup | None = None,
    ) -> None:
        given = _flatten(parameters)
        self._frozen = [p for p in given if not p.requires_grad]
        trained = [p for p in given if p.requires_grad]
        chosen = {id(p) for p in (trained if shared is None else shared)}
        if chosen - {id(p) for p in given}:
            raise ValueError("a parameter of shared is not one of parameters: give the model's there")
        self._shared = [p for p in trained if id(p) in chosen]
        self._parameters = [*self._shared, *(p for p in trained if id(p) not in chosen)]
        if not self._shared:
            raise ValueError("no parameter to work on: none (of shared) requires grad")
        if any(p.is_complex() for p in trained):
            raise ValueError("complex parameters have no direction: train torch.view_as_real of them")
        check_alike(self._parameters)
        self._sizes = [local(p).numel() for p in self._shared]
        self.method = method.with_blocks(self._sizes)
        self._scaler = scaler if scaler is not None and scaler.is_enabled() else None
        self._group = group
        self._state: State | None = None
        self._k: int | None = None
        self._bucket: Bucket | None = None
        self._written: list[Tensor] = []
        self._moment: object = None
        self._pending = False
        self._seen: tuple[Tensor, Tensor] | None = None

    def backward(self, *losses: Loss) -> None:
        """The gradients of the losses, added to what `accumulate` gathered; then surgery, into ``.grad``.

        It waits for the device once, to refuse what is not finite before an optimiser can use it.

        Args:
            losses: scalars, main first; or functions that compute them, of which each is called after the
                graph of the one before was freed. Tensors may share a graph.

        Raises:
            ValueError: a loss is no scalar, does not require grad or reaches no parameter, a gradient is
                sparse, or there are more or fewer losses than before.
            RuntimeError: a loss or gradient is not finite; the last direction was not used by a step;
                ``.grad`` holds something else; a parameter was unfrozen.
            In either case parameters, ``.grad`` and the method's memory stay as they are, and what was
            accumulated is dropped.
        """
        self.accumulate(*losses)
        self._pending = False
        self._operate()

    def accumulate(self, *losses: Loss) -> None:
        """Gather the gradients of a micro-batch that is not the step's last; `backward` takes the last.

        Divide each loss by the number of micro-batches, as without surgery.

        Args:
            losses: as for `backward`.

        Raises:
            ValueError: as for `backward`.
            RuntimeError: as for `backward`.
        """
        first, self._pending = not self._pending, False
        names = objective_names(len(losses))
        for name, loss in zip(names, losses, strict=True):
            if not callable(loss):
                _check_loss(name, loss)
        bucket = self._begin(len(losses), first)
        for k, (name, loss) in enumerate(zip(names, losses, strict=True)):
            keep = any(not callable(later) for later in losses[k + 1 :])
            gradients, value = self._differentiate(name, loss, keep)
            bucket.add(k, gradients, first)
            bucket.losses[k] += value
        self._pending = True

    def diagnostics(self) -> dict[str, float]:
        """What the last step saw, from its losses and G; empty before the first.

        Per objective ``main`` and ``aux`` (``aux1``, ``aux2``, … for more): ``…_loss``, ``…_norm`` (length of
        its gradient); per auxiliary one ``main_…_cosine`` and ``…_projected_share``, the share of its squared
        length that lies along the remembered main gradient, or where none is remembered the main gradient:
        what a projection takes away. ``memory_main_cosine`` where the main gradient is remembered.
        """
        if self._seen is None:
            return {}
        gram, losses = self._seen
        k = len(losses)
        names = objective_names(k)
        remembered = [k + row for row, ema in enumerate(self.method._memory(k)) if ema.objective == 0]
        onto = remembered[0] if remembered else 0
        values = {f"{name}_loss": losses[i] for i, name in enumerate(names)}
        values |= {f"{name}_norm": gram[i, i].sqrt() for i, name in enumerate(names)}
        for i, name in enumerate(names[1:], 1):
            values[f"main_{name}_cosine"] = row_cosine(gram, 0, i)
            values[f"{name}_projected_share"] = row_cosine(gram, i, onto).square()
        if remembered:
            values["memory_main_cosine"] = row_cosine(gram, onto, 0)
        return dict(zip(values, torch.stack(list(values.values())).tolist(), strict=True))

    def state_dict(self) -> dict[str, Any]:
        """The method's memory, to continue from; of sharded parameters, that of this process's shards."""
        return {"method": self.method.name, "sizes": self._sizes, "objectives": self._k, "state": self._state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned.

        Raises:
            ValueError: it is of another method, or of other parameters or objectives.
        """
        if missing := {"method", "sizes", "objectives", "state"} - state_dict.keys():
            raise ValueError(f"this is no state of a Surgeon: it lacks {', '.join(sorted(missing))}")
        if state_dict["method"] != self.method.name:
            raise ValueError(f"the state is one of {state_dict['method']!r}, not of {self.method.name!r}")
        if list(state_dict["sizes"]) != self._sizes:
            raise ValueError(
                f"the state is one of {len(state_dict['sizes'])} parameters with {sum(state_dict['sizes'])} "
                f"numbers, not of these {len(self._sizes)} with {sum(self._sizes)}"
            )
        state = state_dict["state"]
        if state is not None:
            blank = torch.empty(state_dict["objectives"], sum(self._sizes), device="meta")
            expected = {name: tuple(value.shape) for name, value in self.method.init(blank).items()}
            found = {name: tuple(value.shape) for name, value in state.items()}
            if found != expected:
                raise ValueError(f"the state of {self.method.name!r} has shapes {found}, not {expected}")
        self._state, self._k, self._pending = state, state_dict["objectives"], False

    def _begin(self, k: int, first: bool) -> Bucket:
        if self._k not in (None, k) or self.method.objectives not in (None, k):
            expected = f"{self.method.name} expects {self.method.objectives or self._k}"
            raise ValueError(f"got {k} losses, {expected}: give the same ones at every call")
        if k < 2:
            raise ValueError("give a main loss and at least one auxiliary loss")
        if any(p.requires_grad for p in self._frozen):
            raise RuntimeError("a parameter that was frozen requires grad now: make a new Surgeon")
        if first:
            self._check_used()
        if self._bucket is None or len(self._bucket.rows) != k:
            self._bucket = Bucket(self._shared, self._parameters[len(self._shared) :], k)
            self._written = [
                like(view if view.dtype == p.dtype else torch.empty_like(view, dtype=p.dtype), p)
                for view, p in zip(self._bucket.directions, self._parameters, strict=True)
            ]
        if first:
            self._bucket.clear()
        return self._bucket

    def _check_used(self) -> None:
        """Refuse to overwrite a direction that no step has used, or a gradient from elsewhere."""
        stepped = self._moment is None or self._moment != self._now()
        for i, parameter in enumerate(self._parameters):
            ours = bool(self._written) and parameter.grad is self._written[i]
            if parameter.grad is None or (ours and stepped) or not local(parameter.grad).any():
                continue
            if ours:
                raise RuntimeError(
                    "backward was called twice without a step: call optimizer.step() and zero_grad() "
                    "between, or accumulate() for all micro-batches but the last"
                )
            raise RuntimeError(
                f"{_describe(i, parameter)} has a gradient that backward would lose: call zero_grad() before"
            )

    def _now(self) -> object:
        """What a step changes: the parameters' versions, or under a fused optimiser the number of steps."""
        return _steps().taken, [p._version for p in self._parameters]

    def _differentiate(self, name: str, given: Loss, keep: bool) -> tuple[list[Tensor | None], Tensor]:
        """The gradients of a loss by parameter, and its value, both ready to be summed over processes."""
        loss = given() if callable(given) else given
        if callable(given):
            _check_loss(name, loss)
        sharded = is_sharded(self._parameters[0])
        if not sharded and (count := processes(self._group)) > 1:
            loss = loss / count
        scaled = loss if self._scaler is None else self._scaler.scale(loss)
        inputs = [p for p in self._parameters if p.requires_grad]
        derivative = _through_hooks if sharded else _direct
        found = iter(derivative(scaled, inputs, keep))
        gradients = [next(found) if p.requires_grad else None for p in self._parameters]
        if all(gradient is None for gradient in gradients):
            raise ValueError(
                f"the {name} loss reaches no parameter of the Surgeon: was its model another one?"
            )
        for i, gradient in enumerate(gradients):
            if gradient is not None and gradient.layout is not torch.strided:
                where = _describe(i, self._parameters[i])
                raise ValueError(
                    f"the gradient of the {name} loss is sparse at {where}: set sparse=False there"
                )
        return gradients, local(loss.detach()).reshape(())

    def _operate(self) -> None:
        """Surgery on what lies in the bucket."""
        bucket, shared = self._bucket, self._shared[0]
        assert bucket is not None
        if not is_sharded(shared) and processes(self._group) > 1:
            bucket.mark()
            dist.all_reduce(bucket.flat, group=self._group)
            bucket.read_marks()
        scale = None if self._scaler is None else self._scaler.scale(bucket.flat.new_ones(()))
        if scale is not None:
            bucket.rows.div_(scale)
        losses = bucket.losses.to(torch.float64, copy=True)
        own = bucket.own.sum(dtype=torch.float64)
        state = self.method.init(bucket.rows) if self._state is None else self._state
        state = {name: value.to(bucket.flat.device) for name, value in state.items()}
        gram = self.method.gram(bucket.rows, state)
        if is_sharded(shared):
            reduce_shards(gram, (losses, own), shared)
        whole = gram if gram.dim() == 2 else gram.sum(0)
        if overflow := self._overflow(whole, losses, own):
            bucket.direction.fill_(inf)
        else:
            _, self._state = self.method.combine(
                bucket.rows,
                state,
                losses,
                gram=gram,
                out=bucket.direction[: bucket.rows.shape[1]],
                rounding=max(torch.finfo(parameter.dtype).eps for parameter in self._shared),
            )
            bucket.finish(scale)
            self._seen, self._k = (whole, losses), len(losses)
        for parameter, gradient, view, reached in zip(
            self._parameters, self._written, bucket.directions, bucket.reached, strict=True
        ):
            if reached and gradient.dtype != view.dtype:
                local(gradient).copy_(view)
            parameter.grad = gradient if reached else None
        self._moment = None if overflow else self._now()

    def _overflow(self, gram: Tensor, losses: Tensor, own: Tensor) -> bool:
        """Whether gradients overflowed because a scaler scaled them; anything else not finite is an error."""
        k = len(losses)
        values = torch.cat([losses, gram.diagonal()[:k], own[None]]).tolist()
        names = objective_names(k)
        for name, loss in zip(names, values[:k], strict=True):
            if not isfinite(loss):
                raise RuntimeError(f"the {name} loss is {loss}: skip this batch, or lower the learning rate")
        if all(map(isfinite, values)):
            return False
        if self._scaler is None:
            broken = [
                name for name, square in zip(names, values[k : 2 * k], strict=True) if not isfinite(square)
            ]
            whose = " and ".join(broken) or "main or auxiliary"
            raise RuntimeError(
                f"the gradient of the {whose} loss is not finite: skip this batch, or mend the loss there"
            )
        return True


def objective_names(k: int) -> list[str]:
    """``main``, ``aux``; with more than two, ``aux1``, ``aux2``, …"""
    return ["main", "aux"] if k == 2 else ["main", *(f"aux{i}" for i in range(1, k))][:k]


def _flatten(parameters: Parameters) -> list[Tensor]:
    """Each parameter once, out of the groups of an optimiser or not."""
    found: dict[int, Tensor] = {}
    for item in parameters:
        for parameter in item["params"] if isinstance(item, dict) else [item]:
            found[id(parameter)] = parameter
    return list(found.values())


def _check_loss(name: str, loss: object) -> None:
    if not isinstance(loss, Tensor):
        raise ValueError(f"the {name} loss must be a scalar tensor, got {type(loss).__name__}")
    if loss.numel() != 1 or not loss.is_floating_point():
        what = f"shape {tuple(loss.shape)} and dtype {str(loss.dtype).removeprefix('torch.')}"
        raise ValueError(f"the {name} loss must be one real number, got {what}: take its mean() or sum()")
    if not loss.requires_grad:
        raise ValueError(f"the {name} loss does not require grad: compute it without no_grad() and detach()")


def _direct(loss: Tensor, parameters: Sequence[Tensor], keep: bool) -> list[Tensor | None]:
    return list(torch.autograd.grad(loss, parameters, retain_graph=keep, allow_unused=True))


def _through_hooks(loss: Tensor, parameters: Sequence[Tensor], keep: bool) -> list[Tensor | None]:
    """By way of ``.grad``, where ``fully_shard`` scatters the gradients; `torch.autograd.grad` finds none."""
    before = [parameter.grad for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.grad = None
        loss.backward(retain_graph=keep)  # type: ignore[no-untyped-call]
        return [None if p.grad is None else placed(p.grad, p) for p in parameters]
    finally:
        for parameter, gradient in zip(parameters, before, strict=True):
            parameter.grad = gradient


def _describe(index: int, parameter: Tensor) -> str:
    return f"parameter {index} of shape {tuple(parameter.shape)}"
