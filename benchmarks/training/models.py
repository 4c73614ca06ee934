"""Models as functions of flat parameters: ``(P,)`` of one run, ``(N, P)`` of a population in lock step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from ...methods import kept_graph
from ...tasks import Batch, Known, Loss, Model, Task


class FlatModel:
    """A module seen as a function of one flat parameter vector ``theta`` ``(P,)``.

    The module's own parameters become views of it. With ``channels_last``, the weights of convolutions lie in
    it by output, row, column, input.
    """

    def __init__(
        self, module: nn.Module, device: str, channels_last: bool = False, compile: bool = False
    ) -> None:
        self.module = module.to(device)
        parameters = dict(module.named_parameters())
        self.channels_last = channels_last
        self.compile = compile
        self.call = torch.compile(functional_call) if compile else functional_call
        self.shapes = {name: p.shape for name, p in parameters.items()}
        self.sizes = [p.numel() for p in parameters.values()]
        self.buffers = dict(module.named_buffers())
        first = next(iter(parameters.values()))
        self.theta = torch.empty(sum(self.sizes), dtype=first.dtype, device=first.device)
        self.write(self.theta, {name: p.detach() for name, p in parameters.items()})
        self.leaves = {name: part.detach() for name, part in self.parts(self.theta).items()}
        self.theta.requires_grad_()
        self._row: dict[str, Tensor] = {}
        for name, leaf in self.leaves.items():
            parameters[name].data = leaf.detach()
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
            with kept_graph(loss) if keep and self.compile else nullcontext():
                self._differentiate(loss, row, keep)

    def _differentiate(self, loss: Tensor, row: Tensor, keep: bool) -> None:
        self._row = self.parts(row)
        loss.backward(retain_graph=keep)  # type: ignore[no-untyped-call]
        for unreached in self._row.values():
            unreached.zero_()

    def _take(self, name: str, leaf: Tensor) -> None:
        """Put the gradient of a parameter into its row at once, so that none is held twice."""
        assert leaf.grad is not None
        self._row.pop(name).copy_(leaf.grad)
        leaf.grad = None

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
        self.theta = self.theta.detach().repeat(len(modules), 1)
        for row, module in zip(self.theta, modules, strict=True):
            self.write(row, {name: p.detach() for name, p in module.named_parameters()})
        self.theta.requires_grad_()
        every = [dict(module.named_buffers()) for module in modules]
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

    def _differentiate(self, loss: Tensor, row: Tensor, keep: bool) -> None:
        row.copy_(torch.autograd.grad(loss.sum(), self.theta, retain_graph=keep)[0])

    def _vectorised(self, task: Task) -> Callable[..., tuple[Loss, ...]]:
        def of_one(theta: Tensor, buffers: dict[str, Tensor], batch: Batch) -> tuple[Loss, ...]:
            return tuple(task.losses(Model(self.module, self.parts(theta), buffers, self.call), batch))

        of_all = vmap(of_one, self.in_dims)
        return torch.compile(of_all) if self.compile else of_all
