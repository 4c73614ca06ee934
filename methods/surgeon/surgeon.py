"""Surgery in any training loop: the direction of a method where the gradient of one loss would be."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from ..engine import BaseMethod, State
from .bucket import Bucket, Layout
from .distributed import (
    UNSYNCHRONISED,
    check_synchronised,
    is_sharded,
    like,
    local,
    processes,
    reduce_shards,
    together,
)
from .guard import Guard
from .leaves import (
    Others,
    Owned,
    Parameters,
    differentiate,
    hooked,
    run_post_hooks,
)
from .losses import (
    Loss,
    check_loss,
    check_positive,
    diagnose,
    find_overflow,
    objective_names,
)
from .memory import handed_out, present, taken_in

if TYPE_CHECKING:
    from torch.amp.grad_scaler import GradScaler
    from torch.distributed import ProcessGroup


class Surgeon:
    """Writes the direction of a method into ``.grad``, for any optimiser to step.

    >>> surgeon = methods.Surgeon(optimizer, methods.create("bloop", lam=0.3))
    >>> surgeon.backward(main_loss, aux_loss)  # in place of (main_loss + 0.3 * aux_loss).backward()
    >>> optimizer.step()

    It does what that ``backward()`` does, for every leaf that the losses reach. What it was given gets the
    direction; other leaves, such as an input that requires grad or parameters of another optimiser, get the
    gradient of main + λ aux. Hooks of a leaf run once, on what it gets. It follows its optimiser: parameters
    that are added to a group, unfrozen or frozen are taken in or left out at the next step, and what the
    method remembers of a new one starts at its first gradient.

    Where several processes train replicas (``DistributedDataParallel``, or `torch.distributed` alone), the
    gradients and losses are averaged over them, in one collective, before the method sees them. Parameters
    of ``fully_shard``, or otherwise cut into `DTensor` shards, stay so: only G is summed over the shards.
    Make the Surgeon after the model was wrapped or sharded, as you make the optimiser.

    A parameter that one loss does not reach has a zero gradient of that loss; one that no loss reaches gets
    none, as in PyTorch. A method that draws per coordinate (`graddrop`) draws alike on every shard.

    It keeps K vectors of the parameters' length, and what the method remembers.

    Args:
        parameters: the optimiser, its ``param_groups``, or parameters, with their names or without.
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
        seed: of the numbers that the method draws, if it draws any; the same in every process.

    Raises:
        ValueError: no parameter requires grad; one of ``shared`` is not one of ``parameters``; one is
            complex, no leaf, or not sharded as the others; ``method`` is the name of one.
    """

    def __init__(
        self,
        parameters: Parameters,
        method: BaseMethod,
        *,
        shared: Iterable[Tensor] | None = None,
        scaler: GradScaler | None = None,
        group: ProcessGroup | None = None,
        seed: int = 0,
    ) -> None:
        if not isinstance(method, BaseMethod):
            name = method if isinstance(method, str) else getattr(method, "name", None) or "bloop"
            raise ValueError(f'{method!r} is no method: make one, methods.create("{name}", lam=0.3)')
        self._owned = Owned(parameters, shared)
        self.method = method
        self._scaler = scaler if scaler is not None and scaler.is_enabled() else None
        self._group = group
        self._seed = seed
        self._state: State | None = None
        self._k: int | None = None
        self._bucket: Bucket | None = None
        self._shared, self._heads = map(Layout, self._owned.divided())
        self._owned.check(self._shared.parameters, self._heads.parameters)
        self._remembered = self._shared
        self._guard = Guard()
        self._pending = False
        self._seen: tuple[Tensor, Tensor] | None = None

    def backward(self, *losses: Loss) -> None:
        """The gradients of the losses, added to what `accumulate` gathered; then surgery, into ``.grad``.

        It waits for the device once, to refuse what is not finite before an optimiser can use it.

        Args:
            losses: scalars, main first; or functions that compute them, of which each is called after the
                graph of the one before was freed. Tensors may share a graph. A constant 0 stands for a batch
                without examples of that loss: its gradient is zero.

        Raises:
            ValueError: a loss is no scalar, does not require grad or reaches no parameter, a gradient is
                sparse, or there are more or fewer losses than before.
            RuntimeError: a loss or gradient is not finite; the last direction was not used by a step;
                ``.grad`` holds something else; the parameters changed between micro-batches; gradients
                cannot be had twice from a graph (see docs/training_loop.md).
            In either case parameters, ``.grad`` and the method's memory stay as they are, and what was
            accumulated is dropped.
        """
        others = self._gather(losses)
        self._pending = False
        self._operate()
        others.deliver()

    def accumulate(self, *losses: Loss) -> None:
        """Gather the gradients of a micro-batch that is not the step's last; `backward` takes the last.

        Divide each loss by the number of micro-batches, as without surgery.

        Args:
            losses: as for `backward`.

        Raises:
            ValueError: as for `backward`.
            RuntimeError: as for `backward`.
        """
        self._gather(losses).deliver()

    def drop(self) -> None:
        """Forget what `accumulate` gathered, where a step is given up before its last micro-batch."""
        self._pending = False

    def _gather(self, losses: tuple[Loss, ...]) -> Others:
        """Put the gradients into the bucket; the leaves beside it are returned with theirs."""
        first, self._pending = not self._pending, False
        names = objective_names(len(losses))
        for name, loss in zip(names, losses, strict=True):
            if not callable(loss):
                check_loss(name, loss)
        self._begin(len(losses), first)
        others = Others(self._owned.parameters(), self._plain_weights(len(losses)))
        reaching = 0
        for k, (name, loss) in enumerate(zip(names, losses, strict=True)):
            keep = any(isinstance(later, Tensor) and later.requires_grad for later in losses[k + 1 :])
            reaching += self._take(k, name, loss, keep, first, others)
        if not reaching and not together():
            raise ValueError("every loss is a constant 0: skip this batch")
        self._pending = True
        return others

    def _take(self, k: int, name: str, given: Loss, keep: bool, first: bool, others: Others) -> bool:
        """Put the gradients of a loss into the bucket, and its value; False where it is a constant 0."""
        bucket = self._bucket
        assert bucket is not None
        loss = given() if callable(given) else given
        if callable(given):
            check_loss(name, loss)
        if not isinstance(loss, Tensor) or not loss.requires_grad:
            bucket.add(k, [None] * len(bucket.parameters), first)
            return False
        loss = loss if self._replicas == 1 else loss / self._replicas
        bucket.add(k, self._differentiate(k, name, loss, keep, others), first)
        bucket.losses[k] += local(loss.detach()).reshape(())
        return True

    def diagnostics(self) -> dict[str, float]:
        """What the last step saw, from its losses and G; empty before the first.

        Per objective ``main`` and ``aux`` (``aux1``, ``aux2``, … for more): ``…_loss``, ``…_norm`` (length of
        its gradient); per auxiliary one ``main_…_cosine`` and ``…_projected_share``, the share of its squared
        length that lies along the remembered main gradient, or where none is remembered the main gradient:
        what a projection takes away. ``memory_main_cosine`` where the main gradient is remembered.
        """
        return {} if self._seen is None else diagnose(self.method, *self._seen)

    def state_dict(self) -> dict[str, Any]:
        """A copy of the method's memory, to continue from; of shards, that of this process's."""
        state, layout = handed_out(self._state, self._remembered), self._remembered
        return {"method": self.method.name, "sizes": layout.sizes[:], "objectives": self._k, "state": state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a copy of what `state_dict` returned.

        Raises:
            ValueError: it is of another method, or of other parameters or objectives.
        """
        self._lay_out()
        self._state = taken_in(state_dict, self.method, self._shared)
        self._k, self._pending, self._remembered = state_dict["objectives"], False, self._shared

    def _lay_out(self) -> bool:
        """Divide the parameters that require grad at present; whether they are others than before."""
        shared, heads = self._owned.divided()
        if self._shared.fits(shared) and self._heads.fits(heads):
            return False
        self._owned.check(shared, heads)
        self._shared, self._heads, self._bucket = Layout(shared), Layout(heads), None
        if self._state is None:
            self._remembered = self._shared
        return True

    @property
    def _replicas(self) -> int:
        """How many processes average their gradients here."""
        return 1 if is_sharded(self._shared.parameters[0]) else processes(self._group)

    def _plain_weights(self, k: int) -> list[float]:
        """K, of the losses in what ``backward()`` would be called on without surgery: main + λ aux."""
        lam = torch.as_tensor(self.method.used_lam, dtype=torch.float64).expand(k - 1).tolist()
        whole = 1 + sum(lam) if self.method.rescale else 1
        return [self._replicas * weight / whole for weight in (1.0, *lam)]

    def _begin(self, k: int, first: bool) -> None:
        if self._k not in (None, k) or self.method.objectives not in (None, k):
            expected = f"{self.method.name} expects {self.method.objectives or self._k}"
            raise ValueError(f"got {k} losses, {expected}: give the same ones at every call")
        if k < 2:
            raise ValueError("give a main loss and at least one auxiliary loss")
        if self._lay_out() and not first:
            raise RuntimeError("the parameters changed between micro-batches: change them after a step")
        if first and (lost := self._guard.find([*self._shared.parameters, *self._heads.parameters])):
            parameter, ours = lost
            if ours:
                raise RuntimeError(
                    "backward was called twice without a step: call optimizer.step() and zero_grad() "
                    "between, or accumulate() for all micro-batches but the last"
                )
            where = self._owned.describe(parameter)
            raise RuntimeError(f"{where} has a gradient that backward would lose: call zero_grad() before")
        if self._bucket is None or len(self._bucket.rows) != k:
            self._bucket = Bucket(self._shared, self._heads, k)
        if first:
            self._bucket.clear()

    def _differentiate(
        self, k: int, name: str, loss: Tensor, keep: bool, others: Others
    ) -> list[Tensor | None]:
        """The gradients of a loss by parameter, ready to be summed over processes; ``others`` get theirs."""
        parameters = [*self._shared.parameters, *self._heads.parameters]
        sharded = is_sharded(parameters[0])
        scaled = loss if self._scaler is None else self._scaler.scale(loss)
        leaves = others.find(loss)
        if sharded:
            check_synchronised(others.nodes)
        if not keep:
            others.nodes.clear()
        apart = together() and not sharded
        found = differentiate(scaled, [*parameters, *leaves], others.nodes, apart)
        gradients = found[: len(parameters)]
        if all(gradient is None for gradient in gradients):
            remedy = (
                UNSYNCHRONISED if sharded else "was its model another one, or were its parameters replaced?"
            )
            raise ValueError(f"the {name} loss reaches no parameter of the Surgeon: {remedy}")
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None and gradient.layout is not torch.strided:
                where = self._owned.describe(parameter)
                raise ValueError(
                    f"the gradient of the {name} loss is sparse at {where}: set sparse=False there"
                )
        others.add(k, found[len(parameters) :])
        return gradients

    def _operate(self) -> None:
        """Surgery on what lies in the bucket."""
        bucket, shared = self._bucket, self._shared.parameters[0]
        assert bucket is not None
        if self._replicas > 1:
            bucket.mark()
            dist.all_reduce(bucket.flat, group=self._group)
            bucket.read_marks()
        scale = None if self._scaler is None else self._scaler.scale(bucket.flat.new_ones(()))
        if scale is not None:
            bucket.rows.div_(scale)
        losses = bucket.losses.to(torch.float64, copy=True)
        own = bucket.own.sum(dtype=torch.float64)
        method = self.method.with_blocks(self._shared.sizes)
        state = present(self._state, method, bucket.rows, self._remembered, self._shared, self._seed)
        gram = method.gram(bucket.rows, state)
        if is_sharded(shared):
            reduce_shards(gram, (losses, own), shared)
        whole = gram if gram.dim() == 2 else gram.sum(0)
        overflow = find_overflow(whole, losses, own, self._scaler is not None)
        check_positive(method, losses)
        direction = bucket.blank()
        if overflow:
            direction.fill_(inf)
        else:
            surgery, heads = torch.split(direction, [self._shared.size, self._heads.size])
            eps = max(torch.finfo(parameter.dtype).eps for parameter in self._shared.parameters)
            _, self._state = method.combine(bucket.rows, state, losses, gram=gram, out=surgery, rounding=eps)
            if scale is not None:
                surgery *= scale
            heads.copy_(bucket.own)
            self._seen, self._k, self._remembered = (whole, losses), len(losses), self._shared
        self._write(bucket, direction, overflow)

    @torch.no_grad()
    def _write(self, bucket: Bucket, direction: Tensor, overflow: bool) -> None:
        """Fill ``.grad``, in place where there is one, as ``backward()`` does; then run the leaves' hooks."""
        reached = []
        for parameter, view, is_reached in zip(
            bucket.parameters, bucket.directions(direction), bucket.reached, strict=True
        ):
            if not is_reached:
                if parameter.grad is not None:
                    parameter.grad.zero_()
                continue
            reached.append(parameter)
            # .data: each gradient counts its own versions
            gradient = view.data if view.dtype == parameter.dtype else view.to(parameter.dtype)
            if is_sharded(parameter):
                gradient = like(gradient, parameter)
            if not overflow:
                gradient = hooked(parameter, gradient)
            if parameter.grad is None:
                parameter.grad = gradient
            else:
                parameter.grad.copy_(gradient)
        self._guard.wrote(reached, free=overflow)
        if not overflow:
            for parameter in reached:
                run_post_hooks(parameter)
