"""Surgery in any training loop: the direction of a method where the gradient of one loss would be."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
import torch.distributed as dist
from torch import Tensor

from ..engine import BaseMethod, State
from .bucket import Bucket, Layout
from .differentiation import gradients
from .distributed import (
    is_sharded,
    local,
    processes,
    reduce_shards,
    together,
)
from .guard import Guard
from .leaves import Others, Owned, Parameters, Sums, write
from .losses import (
    NOTHING,
    Loss,
    as_seen,
    check_loss,
    check_positive,
    diagnose,
    find_overflow,
    objective_names,
    plain_weights,
)
from .memory import check_goes_on, handed_out, present, taken_in
from .streaming import Stream, check_streams

if TYPE_CHECKING:
    from torch.amp.grad_scaler import GradScaler
    from torch.distributed import ProcessGroup

Memory = Literal["rows", "streaming"]


class Surgeon:
    """Writes the direction of a method into ``.grad``, for any optimiser to step.

    >>> surgeon = methods.Surgeon(optimizer, methods.create("bloop", lam=0.3))
    >>> surgeon.backward(main_loss, aux_loss)  # in place of (main_loss + 0.3 * aux_loss).backward()
    >>> optimizer.step()

    It does what that ``backward()`` does, for every leaf that the losses reach. What it was given gets the
    direction; other leaves, such as an input that requires grad or parameters of another optimiser, get the
    gradient of main + λ aux. Hooks of a leaf run once, on what it gets; after an overflow, none of those that
    were to get the direction. It follows its optimiser: parameters that are added to a group, unfrozen or
    frozen are taken in or left out at the next step, and what the method remembers of a new one starts at its
    first gradient.

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
        memory: ``"rows"`` keeps the K gradients until surgery. ``"streaming"`` adds them up as they arrive,
            parameter by parameter, into what becomes ``.grad`` (or is copied there, where one is left from
            the step before), and keeps nothing but what the method remembers: for `sum` and `bloop` (methods
            that `streams`), on float32 or float64. Of an order ``"after"`` the losses are differentiated from
            the last to the main one. A step with `accumulate` of a method that remembers, or at which
            parameters joined or left, goes by rows.
        autocast: the dtype of ``torch.autocast``, where the losses are computed under it, such as
            ``torch.bfloat16``; with a scaler ``torch.float16`` by default. Decisions about rank, which many
            methods make, go by its rounding: by that of the parameters, a sum of two gradients would not be
            known as one.

    Raises:
        ValueError: no parameter requires grad; one of ``shared`` is not one of ``parameters``; one is
            complex, no leaf, or not sharded as the others; ``method`` is the name of one; it or the
            parameters cannot stream; this process is not in ``group``; ``autocast`` is no floating dtype.
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
        memory: Memory = "rows",
        autocast: torch.dtype | None = None,
    ) -> None:
        if isinstance(parameters, BaseMethod) or hasattr(method, "param_groups"):
            raise ValueError("Surgeon takes the optimiser first, then the method")
        self._method = _checked(method)
        self._owned = Owned(parameters, shared)
        self._scaler = scaler if scaler is not None and scaler.is_enabled() else None
        if autocast is not None and not (isinstance(autocast, torch.dtype) and autocast.is_floating_point):
            raise ValueError(f"autocast must be a dtype such as torch.bfloat16, got {autocast!r}")
        self._autocast = autocast or (None if self._scaler is None else torch.float16)
        self._group = group
        self._seed = seed
        self._state: State | None = None
        self._k: int | None = None
        self._bucket: Bucket | Stream | None = None
        self._shared, self._heads = map(Layout, self._owned.divided())
        self._owned.check(self._shared.parameters, self._heads.parameters)
        if memory not in get_args(Memory):
            raise ValueError(f"memory must be one of {', '.join(get_args(Memory))}, got {memory!r}")
        _ = self._replicas  # refused here, where this process is not in the group
        self._streaming = memory == "streaming"
        if self._streaming:
            check_streams(method, self._parameters)
        self._remembered = self._shared
        self._guard, self._sums = Guard(), Sums()
        self._pending = self._torn = False
        self._seen: tuple[Tensor, Tensor] | None = None

    @property
    def method(self) -> BaseMethod:
        """What makes one direction of the gradients.

        Raises:
            ValueError: it is replaced by what is no method, or cannot go on with what it has remembered.
            RuntimeError: it is replaced between micro-batches.
        """
        return self._method

    @method.setter
    def method(self, method: BaseMethod) -> None:
        check_goes_on(self._state, self._method, _checked(method), self._k, self._remembered.sizes)
        if self._pending:
            raise RuntimeError("the method was replaced between micro-batches: replace it after a step")
        self._method = method

    def backward(self, *losses: Loss) -> None:
        """The gradients of the losses, added to what `accumulate` gathered; then surgery, into ``.grad``.

        It waits for the device once, to refuse losses and gradients that are not finite before an optimiser
        can use them. The direction is not looked at: where it is too large for the type of a parameter, as it
        may be for float16, its ``.grad`` is infinite.

        Args:
            losses: scalars, main first; or functions that compute them, of which each is called after the
                graph of the one before was freed. Tensors may share a graph. A constant 0 stands for a batch
                without examples of that loss: its gradient is zero. Methods that need the losses' values
                have none then, and refuse it.

        Raises:
            ValueError: a loss is no scalar, does not require grad, reaches no parameter, or is a constant 0
                whose value the method needs, a gradient is sparse, or there are more or fewer losses than
                before.
            RuntimeError: a loss or gradient is not finite; the last direction was not used by a step;
                ``.grad`` holds something else, or that of another leaf the direction of another Surgeon; the
                parameters changed between micro-batches; gradients cannot be had twice from a graph, or a
                reentrant checkpoint hides leaves in it (see docs/training_loop.md).
            In either case parameters, ``.grad`` and the method's memory stay as they are, and what was
            accumulated is dropped. With ``memory="streaming"`` what the method remembers has moved where the
            step failed in its last backward pass (with three or more losses, after its first): by the
            gradients that had arrived. Of one that is not finite the error tells so; after any other, such
            as an error in a hook, the next call is refused before `load_state_dict` or `drop`.
        """
        self._gather(losses, last=True)
        self._pending = False
        self._operate()
        self._sums.deliver()

    def accumulate(self, *losses: Loss) -> None:
        """Gather the gradients of a micro-batch that is not the step's last; `backward` takes the last.

        Divide each loss by the number of micro-batches, as without surgery. No ``.grad`` changes before
        `backward`, which also gives other leaves what they get from all micro-batches.

        Args:
            losses: as for `backward`.

        Raises:
            ValueError: as for `backward`.
            RuntimeError: as for `backward`.
        """
        self._gather(losses, last=False)

    def drop(self) -> None:
        """Forget what `accumulate` gathered, where a step is given up before its last micro-batch.

        After a step that failed once part of the method's memory had moved, go on with it as it is.
        """
        self._pending = self._torn = False
        self._sums.clear()
        if isinstance(self._bucket, Stream):
            self._bucket = None

    def _gather(self, losses: tuple[Loss, ...], last: bool) -> None:
        """Put the gradients into the bucket, and those of other leaves into their sums."""
        first, self._pending = not self._pending, False
        if first:
            self._sums.clear()
        names = objective_names(len(losses))
        for name, loss in zip(names, losses, strict=True):
            if not callable(loss):
                check_loss(name, loss, self.method)
        self._begin(len(losses), first)
        bucket = self._prepare(len(losses), first, last)
        divided = self._replicas if isinstance(bucket, Bucket) else 1
        weights = [divided * weight for weight in plain_weights(self.method, len(losses))]
        others = Others(self._owned.parameters(), weights, self._sums, self._guard)
        reaching = 0
        if isinstance(bucket, Stream):
            bucket.check(losses)
        try:
            for i, k in enumerate(bucket.sequence):
                later = [losses[j] for j in bucket.sequence[i + 1 :]]
                keep = any(isinstance(loss, Tensor) and loss.requires_grad for loss in later)
                reaching += self._take(k, names[k], losses[k], keep, first, others)
            self._guard.check(self._parameters, self._owned.describe)
        except BaseException:
            torn = isinstance(bucket, Stream) and bucket.torn
            self.drop()
            self._torn = torn
            raise
        if not reaching and not together():
            raise ValueError(NOTHING)
        self._pending = True

    def _take(self, k: int, name: str, given: Loss, keep: bool, first: bool, others: Others) -> bool:
        """Put the gradients of a loss into the bucket, and its value; False where it is a constant 0."""
        bucket = self._bucket
        assert bucket is not None
        loss = given() if callable(given) else given
        if callable(given):
            check_loss(name, loss, self.method)
            self._guard.check(self._parameters, self._owned.describe)
        if isinstance(bucket, Stream):
            bucket.begin(k, loss)
        found: list[Tensor | None] = [None] * len(bucket.parameters)
        reaches = isinstance(loss, Tensor) and loss.requires_grad
        if isinstance(loss, Tensor) and reaches:
            with torch.enable_grad():  # as backward() works under no_grad
                if isinstance(bucket, Bucket):
                    loss = loss if self._replicas == 1 else loss / self._replicas
                    bucket.losses[k] += local(loss.detach()).reshape(())
                scaled = loss if self._scaler is None else self._scaler.scale(loss)
            found = gradients(k, name, scaled, bucket, self._owned, others, keep)
        if isinstance(bucket, Stream):
            bucket.end(may_overflow=self._scaler is not None)
        else:
            bucket.add(k, found, first)
        return reaches

    def diagnostics(self) -> dict[str, float]:
        """What the last step saw, from its losses and G; empty before the first.

        Per objective ``main`` and ``aux`` (``aux1``, ``aux2``, … for more): ``…_loss``, ``…_norm`` (length of
        its gradient); per auxiliary one ``main_…_cosine`` and ``…_projected_share``, the share of its squared
        length that lies along the remembered main gradient, or where none is remembered the main gradient:
        what a projection takes away, if no blocks are projected one by one. ``memory_main_cosine`` where the
        main gradient is remembered.
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
        shared, heads = self._owned.divided()
        self._owned.check(shared, heads)
        state = taken_in(state_dict, self.method, Layout(shared))
        self.drop()
        self._lay_out()
        self._state = state
        self._k, self._remembered = state_dict["objectives"], self._shared

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

    @property
    def _parameters(self) -> list[Tensor]:
        return [*self._shared.parameters, *self._heads.parameters]

    def _begin(self, k: int, first: bool) -> None:
        if self._k not in (None, k) or self.method.objectives not in (None, k):
            expected = f"{self.method.name} expects {self.method.objectives or self._k}"
            raise ValueError(f"got {k} losses, {expected}: give the same ones at every call")
        if k < 2:
            raise ValueError("give a main loss and at least one auxiliary loss")
        if self._torn:
            raise RuntimeError(
                "a step failed once part of what the method remembers had moved: load_state_dict() a copy, "
                "or drop() to go on with it as it is"
            )
        if self._lay_out() and not first:
            raise RuntimeError("the parameters changed between micro-batches: change them after a step")
        if self._streaming:
            check_streams(self.method, self._parameters)
        self._guard.check(self._parameters, self._owned.describe)

    def _prepare(self, k: int, first: bool, last: bool) -> Bucket | Stream:
        """What the gradients of this call go into."""
        bucket = self._bucket
        if not first and isinstance(bucket, Stream):
            return bucket
        followed = self._state is None or self._remembered is self._shared
        if self._streaming and followed and ((last and first) or not self.method.remembered(k)):
            memory = None if self._state is None else self._state.get("memory")
            method, group = check_streams(self.method, self._parameters), (self._replicas, self._group)
            scale, eps = self._scale(), self._rounding
            self._bucket = Stream(method, self._shared, self._heads, k, memory, scale, eps, *group)
            return self._bucket
        if not isinstance(bucket, Bucket) or len(bucket.rows) != k:
            self._bucket = bucket = Bucket(self._shared, self._heads, k)
        if first:
            bucket.clear()
        return bucket

    @property
    def _rounding(self) -> float:
        """The relative rounding of the gradients."""
        dtypes = {parameter.dtype for parameter in self._shared.parameters}
        if self._autocast is not None:
            dtypes.add(self._autocast)
        return max(torch.finfo(dtype).eps for dtype in dtypes)

    def _scale(self) -> Tensor | None:
        one = torch.ones((), dtype=torch.float32, device=self._shared.device)
        return None if self._scaler is None else self._scaler.scale(one)

    def _operate(self) -> None:
        """Surgery on what lies in the bucket."""
        bucket, shared = self._bucket, self._shared.parameters[0]
        assert bucket is not None
        if isinstance(bucket, Stream):
            self._bucket = None
            write(bucket.parameters, bucket.finish(), bucket.reached, bucket.broken, self._guard)
            if not bucket.broken:
                self._state = {"memory": bucket.memory} if len(bucket.memory) else {}
                self._seen, self._k = (bucket.seen(), bucket.losses), len(bucket.losses)
                self._remembered = self._shared
            return
        if self._replicas > 1:
            bucket.mark()
            dist.all_reduce(bucket.flat, group=self._group)
            bucket.read_marks()
        scale = self._scale()
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
            _, self._state = method.combine(
                bucket.rows, state, losses, gram=gram, out=surgery, rounding=self._rounding
            )
            if scale is not None:
                surgery *= scale
            heads.copy_(bucket.own)
            self._k, self._remembered = len(losses), self._shared
            self._seen = as_seen(method, whole, self._k), losses
        write(bucket.parameters, bucket.directions(direction), bucket.reached, overflow, self._guard)
        if self._streaming:
            self._bucket = None


def _checked(method: BaseMethod) -> BaseMethod:
    if not isinstance(method, BaseMethod):
        name = method if isinstance(method, str) else getattr(method, "name", None) or "bloop"
        given = repr(method) if isinstance(method, str | type) else f"a {type(method).__name__}"
        raise ValueError(f'{given} is no method: make one, methods.create("{name}", lam=0.3)')
    return method
