"""Models as functions of flat parameters: ``(P,)`` of one run, ``(N, P)`` of a population in lock step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import cached_property, partial

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from ...methods import kept_graph
from ...tasks import Batch, Known, Loss, Model, Task

LARGE = 2**16
"""Numbers of a parameter from which on its gradient is used where autograd put it, on the CPU."""
LONGEST = 2**18
"""Most numbers of smaller parameters whose gradients are put side by side."""


class FlatModel:
    """A module seen as a function of one flat parameter vector ``theta`` ``(P,)``.

    The module's own parameters become views of it, but for those that require no gradient: these stay as they
    are, among the buffers. With ``channels_last``, the weights of convolutions lie in it by output, row,
    column, input.

    Raises:
        ValueError: no parameter requires a gradient, or those that do are of several dtypes.
    """

    def __init__(
        self, module: nn.Module, device: str, channels_last: bool = False, compile: bool = False
    ) -> None:
        self.module = module.to(device)
        self.own = {name: p for name, p in module.named_parameters() if p.requires_grad}
        if len(dtypes := {str(p.dtype) for p in self.own.values()}) != 1:
            found = f"are of {', '.join(sorted(dtypes))}" if dtypes else "require no gradient"
            raise ValueError(f"the model's parameters {found}: they must be of one dtype, and one be trained")
        self.channels_last = channels_last
        self.compile = compile
        self.call = torch.compile(functional_call) if compile else functional_call
        self.shapes = {name: p.shape for name, p in self.own.items()}
        self.sizes = [p.numel() for p in self.own.values()]
        self.buffers = _untrained(module)
        first = next(iter(self.own.values()))
        self.theta = torch.empty(sum(self.sizes), dtype=first.dtype, device=first.device)
        self.write(self.theta, {name: p.detach() for name, p in self.own.items()})
        self.leaves = {name: part.detach() for name, part in self.parts(self.theta).items()}
        self.theta.requires_grad_()
        self._row: dict[str, Tensor] = {}
        self._kept: dict[str, Tensor] = {}
        on_cpu = first.device.type == "cpu"
        self.runs = _runs(dict(zip(self.shapes, self.sizes, strict=True))) if on_cpu else [list(self.shapes)]
        for name, leaf in self.leaves.items():
            self.own[name].data = leaf.detach()
            leaf.requires_grad_().register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
                partial(self._take, name)
            )

    def model(self, replica: int = 0) -> Model:
        """The model at the present ``theta``, or at a replica's."""
        return Model(self.module, self.leaves, self.buffers, self.call)

    def losses(self, task: Task, batch: Batch) -> Iterator[Loss]:
        """The task's losses; of a population ``(N,)`` each, the gradients of a `Known` one ``(N, ...)``."""
        return task.losses(self.model(), batch)

    def parts(self, vector: Tensor) -> dict[str, Tensor]:
        """Views of a flat vector ``(..., P)``, one ``(..., *shape)`` per parameter."""
        pieces = zip(self.shapes.items(), torch.split(vector, self.sizes, -1), strict=True)
        return {name: self._shaped(piece, shape) for (name, shape), piece in pieces}

    @torch.no_grad()
    def write(self, vector: Tensor, values: dict[str, Tensor]) -> None:
        """Fill a flat vector ``(..., P)`` with one tensor per parameter; zero where there is none."""
        for name, part in self.parts(vector).items():
            part.copy_(values[name]) if name in values else part.zero_()

    def gradient(self, loss: Loss, row: Tensor, keep: bool) -> None:
        """Write the gradient of a loss into ``row`` ``(..., P)``; ``keep`` its graph for another loss."""
        if isinstance(loss, Known):
            self.write(row, loss.gradient)
        else:
            self._backward(loss, self.parts(row), keep)

    @cached_property
    def lengths(self) -> list[int]:
        """Numbers of the parts that `gradient_in_parts` returns."""
        sizes = dict(zip(self.shapes, self.sizes, strict=True))
        return [sum(sizes[name] for name in run) for run in self.runs]

    def gradient_in_parts(self, loss: Loss, keep: bool) -> list[Tensor]:
        """As `gradient`, in parts ``(..., P_i)`` that are to be read only.

        The part of a large parameter is what autograd made, or what is known, so that it takes no copy and
        lies there from its backward pass on only.
        """
        parts = [
            self.theta.new_empty(length) if len(run) > 1 else None
            for run, length in zip(self.runs, self.lengths, strict=True)
        ]
        views: dict[str, Tensor] = {}
        for run, part in zip(self.runs, parts, strict=True):
            if part is not None:
                shapes = [self.shapes[name] for name in run]
                pieces = zip(torch.split(part, [shape.numel() for shape in shapes]), shapes, strict=True)
                views |= zip(run, [self._shaped(*piece) for piece in pieces], strict=True)
        if isinstance(loss, Known):
            self._kept = {name: value.detach() for name, value in loss.gradient.items()}
            for name, view in views.items():
                view.copy_(self._kept[name]) if name in self._kept else view.zero_()
        else:
            self._backward(loss, views, keep)
        kept, self._kept = self._kept, {}
        return [
            self._flat(run[0], kept.get(run[0])) if part is None else part
            for run, part in zip(self.runs, parts, strict=True)
        ]

    def _backward(self, loss: Tensor, row: dict[str, Tensor], keep: bool) -> None:
        """Run it; gradients go into the views in ``row``, and are kept where there is none.

        Raises:
            ValueError: a gradient went past them.
        """
        self._row = row
        with kept_graph(loss) if keep and self.compile else nullcontext():
            loss.backward(retain_graph=keep)  # type: ignore[no-untyped-call]
        for unreached in self._row.values():
            unreached.zero_()
        if any(parameter.grad is not None for parameter in self.own.values()):
            raise ValueError(
                "a reentrant checkpoint takes gradients away: checkpoint with use_reentrant=False"
            )

    def _take(self, name: str, leaf: Tensor) -> None:
        """Take the gradient of a parameter at once, so that none is held twice."""
        assert leaf.grad is not None
        if name in self._row:
            self._row.pop(name).copy_(leaf.grad)
        else:
            self._kept[name] = leaf.grad
        leaf.grad = None

    def _flat(self, name: str, value: Tensor | None) -> Tensor:
        """A parameter's gradient ``(P_i,)`` in the order of the flat vector: a view where it lies so."""
        leaf = self.leaves[name]
        if value is None:
            return torch.zeros(leaf.numel(), dtype=leaf.dtype, device=leaf.device)
        if value.stride() != leaf.stride():
            value = torch.empty_like(leaf, requires_grad=False).copy_(value)
        return value.as_strided((value.numel(),), (1,))

    def _shaped(self, piece: Tensor, shape: torch.Size) -> Tensor:
        leading = piece.shape[:-1]
        if self.channels_last and len(shape) == 4:
            outputs, inputs, height, width = shape
            return piece.view(*leading, outputs, height, width, inputs).movedim(-1, -3)
        return piece.view(*leading, *shape)


class StackedModels(FlatModel):
    """N replicas of a module, each with parameters and buffers of its own: ``theta`` ``(N, P)``.

    Args:
        modules: one per replica, on the CPU; the same object may stand for several.
        shared_batch: whether one batch goes to all replicas, or ``(N, ...)`` one to each.
    """

    def __init__(
        self,
        modules: Sequence[nn.Module],
        device: str,
        shared_batch: bool,
        channels_last: bool = False,
        compile: bool = False,
    ) -> None:
        super().__init__(modules[0], device, channels_last)
        self.in_dims = (0, 0, None if shared_batch else 0)
        self.compile = compile
        self._losses_of_all: Callable[..., tuple[Loss, ...]] | None = None
        self.runs = [list(self.shapes)]
        self.theta = self.theta.detach().repeat(len(modules), 1)
        for row, module in zip(self.theta, modules, strict=True):
            self.write(row, {name: p.detach() for name, p in module.named_parameters()})
        self.theta.requires_grad_()
        every = [_untrained(module) for module in modules]
        self.buffers = {name: torch.stack([b[name].to(device) for b in every]) for name in self.buffers}

    def model(self, replica: int = 0) -> Model:
        """One replica at the present ``theta``."""
        buffers = {name: buffer[replica] for name, buffer in self.buffers.items()}
        return Model(self.module, self.parts(self.theta[replica]), buffers, self.call)

    def losses(self, task: Task, batch: Batch) -> Iterator[Loss]:
        """The task's losses ``(N,)`` each, computed together; the gradients of a `Known` one ``(N, ...)``."""

        if self._losses_of_all is None:
            self._losses_of_all = self._vectorised(task)
        return iter(self._losses_of_all(self.theta, self.buffers, batch))

    def gradient(self, loss: Loss, row: Tensor, keep: bool) -> None:
        """As of one model; of the sum of all losses, whose gradients are the models' own."""
        if isinstance(loss, Known):
            self.write(row, loss.gradient)
        else:
            row.copy_(self._differentiate(loss, keep))

    def gradient_in_parts(self, loss: Loss, keep: bool) -> list[Tensor]:
        """The gradient ``(N, P)`` in one part."""
        if not isinstance(loss, Known):
            return [self._differentiate(loss, keep)]
        row = torch.empty_like(self.theta, requires_grad=False)
        self.write(row, loss.gradient)
        return [row]

    def _differentiate(self, loss: Tensor, keep: bool) -> Tensor:
        with kept_graph(loss) if keep and self.compile else nullcontext():
            gradient: Tensor = torch.autograd.grad(loss.sum(), self.theta, retain_graph=keep)[0]
        return gradient

    def _vectorised(self, task: Task) -> Callable[..., tuple[Loss, ...]]:
        """Attention is computed as it is written: the fused kernels take one replica after the other on the
        CPU, and on a GPU refuse the gradients of some numbers of replicas."""

        def of_one(theta: Tensor, buffers: dict[str, Tensor], batch: Batch) -> tuple[Loss, ...]:
            with sdpa_kernel(SDPBackend.MATH):
                return tuple(task.losses(Model(self.module, self.parts(theta), buffers, self.call), batch))

        of_all = vmap(of_one, self.in_dims)
        return torch.compile(of_all) if self.compile else of_all


def _untrained(module: nn.Module) -> dict[str, Tensor]:
    """Its buffers, and the parameters that require no gradient."""
    fixed = {name: p.detach() for name, p in module.named_parameters() if not p.requires_grad}
    return {**dict(module.named_buffers()), **fixed}


def _runs(sizes: dict[str, int]) -> list[list[str]]:
    """Consecutive parameters in runs: large ones alone, smaller ones together."""
    runs: list[list[str]] = []
    length = LONGEST
    for name, size in sizes.items():
        if size >= LARGE or length + size > LONGEST:
            runs.append([])
            length = 0
        runs[-1].append(name)
        length += LONGEST if size >= LARGE else size
    return runs
