"""Surgery while gradients arrive: what gathers is their sum, which becomes ``.grad``, and none is kept."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ..engine import REGISTRY, BaseMethod, Method, passes
from .bucket import Layout
from .distributed import is_sharded
from .losses import NOTHING, Loss, objective_names


def check_streams(method: BaseMethod, parameters: Sequence[Tensor]) -> Method:
    """The method, if a step of it on these parameters can be made while their gradients arrive.

    Raises:
        ValueError: it cannot.
    """
    if not method.streams or not isinstance(method, Method):
        names = ", ".join(name for name, known in REGISTRY.classes().items() if known().streams)
        raise ValueError(
            f"memory='streaming' sums gradients up as they arrive, but {method.name} with these settings "
            "weights them by what is known once all have arrived; methods that stream, without ema, "
            f"weights_ema, length, blocks and ratio_only: {names}"
        )
    if any(map(is_sharded, parameters)):
        raise ValueError(
            "memory='streaming' cannot take part in fully_shard's backward pass: leave it out, as the rows "
            "are sharded there"
        )
    dtypes = {parameter.dtype for parameter in parameters}
    if len(dtypes) > 1 or not dtypes <= {torch.float32, torch.float64}:
        found = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))
        raise ValueError(
            f"memory='streaming' sums up in .grad, in the parameters' own type: make all of them float32 or "
            f"all float64, not {found}"
        )
    return method


class Stream:
    """One step of a method that `streams`: loss after loss, and of each loss parameter by parameter.

    An EMA that moves before the step wants the main loss first: each part of it moves when the next loss's
    gradient is there, by the sum, which is that of g_m until then. One that moves after the step wants the
    main loss last: what the auxiliary gradients take from it is known by then, and each part of it is added
    to the sum before it moves. So with two losses nothing has moved before the last backward pass.

    Args:
        method: with M remembered rows for K losses.
        shared: the parameters that the method works on; P numbers.
        heads: those that get the plain sum of the losses' gradients.
        k: K.
        memory: ``(M, P)``, moved in place; None before the first step, where rows start at the gradients.
        scale: what the losses are multiplied by before they are differentiated.
        rounding: the relative rounding of the gradients.
        replicas: how many processes average their gradients.
        group: these processes.
    """

    def __init__(
        self,
        method: Method,
        shared: Layout,
        heads: Layout,
        k: int,
        memory: Tensor | None,
        scale: Tensor | None,
        rounding: float,
        replicas: int,
        group: Any,
    ) -> None:
        self.parameters = [*shared.parameters, *heads.parameters]
        self._method, self._k, self._replicas, self._group = method, k, replicas, group
        self._emas = method.memory(k)
        device, exact = shared.device, torch.float64
        new = memory is None
        if memory is None:
            memory = torch.zeros(len(self._emas), shared.size, dtype=shared.dtype, device=device)
        self.memory = memory.to(device)
        self._after = not new and any(ema.order == "after" for ema in self._emas)
        self.sequence = range(k)[::-1] if self._after else range(k)
        """The objectives in the order in which their gradients must arrive."""
        self._rows = list(zip(*(row.split(shared.sizes) for row in self.memory), strict=True))
        self._rows = self._rows or [()] * len(shared.sizes)
        self._strides = [*shared.strides, *heads.strides]
        self._eps = rounding
        self._scale = torch.ones((), dtype=exact, device=device) if scale is None else scale.to(exact)
        one = torch.ones((), dtype=exact, device=device)
        rhos = [1.0 if new else ema.rho for ema in self._emas]
        self._moves = [torch.stack([(1 - rho) * one, rho / self._scale]) for rho in rhos]
        count = k + len(self._emas)
        self.gram = torch.zeros(count, count, dtype=exact, device=device)
        """G as far as it is known, of the rows as the method sees them; 0 elsewhere."""
        self._weights = self._coefficients(torch.eye(count, dtype=exact, device=device))[:k]
        self._late_moves = [move / torch.stack([one, self._weights[0]]) for move in self._moves]
        self.losses = torch.zeros(k, dtype=exact, device=device)
        self._sums: list[Tensor | None] = [None] * len(self.parameters)
        self.reached = [False] * len(self.parameters)
        """Which parameters a loss reached in this step."""
        self.broken = False
        """Whether a gradient was not finite. No row moves from then on."""
        self.torn = False
        """Whether a row that was given has moved, which no failure of the step can take back."""
        self._late = [r for r, ema in enumerate(self._emas) if not (new or self._after or ema.objective)]
        """Rows that move in the second pass, by the sum of the first."""
        self._new, self._passes = new, 0

    def check(self, losses: Sequence[Loss]) -> None:
        """Refuse, before anything moves, what is known of the losses of this process alone.

        Raises:
            RuntimeError: one is not finite.
            ValueError: none has a gradient.
        """
        if self._replicas > 1:
            return
        if not any(callable(loss) or (isinstance(loss, Tensor) and loss.requires_grad) for loss in losses):
            raise ValueError(NOTHING)
        for k, loss in enumerate(losses):
            if isinstance(loss, Tensor):
                self._check_finite(k, loss.item())

    def begin(self, k: int, loss: Tensor | float) -> None:
        """Take the value of loss k, and be ready for its gradients.

        Raises:
            RuntimeError: it is not finite.
        """
        value = torch.as_tensor(loss).detach().to(self.losses, copy=True).reshape(())
        if self._replicas > 1:
            self._average(value)
        self.losses[k] += value
        number, weight = torch.stack([value, self._weights[k]]).tolist()
        self._check_finite(k, number)
        if k == 0 and weight == 0:  # the sum does not tell g_m
            self._late = []
        self._objective, self._arrived = k, set[int]()
        self._known = [r for r, ema in enumerate(self._emas) if ema.objective <= k]
        self._moved = [r for r, ema in enumerate(self._emas) if ema.objective == k and r not in self._late]
        self._due = self._late if k == 1 else []
        self._taken = self._moved if self._after else []
        terms = [self._weights[k]]
        if self._taken:
            coefficients = self._scale * self._coefficients(self.gram)
            terms += [coefficients[self._k + r] for r in self._taken]
        self._terms = torch.stack(terms)
        self._products = self.gram.new_zeros(1 + len(self._known), 1 + len(self._known))
        self._own = self.gram.new_zeros(())

    @torch.no_grad()
    def receive(self, index: int, gradient: Tensor) -> None:
        """Take the gradient of a parameter, which is not needed afterwards."""
        self._arrived.add(index)
        self.reached[index] = True
        piece = self._flat(index, gradient)
        if index < len(self._rows):
            self._work(index, piece)
        else:
            self._own += passes.gram([piece])[0, 0]
            self._add(index, torch.ones_like(self._own)[None], [piece])

    @torch.no_grad()
    def end(self, may_overflow: bool) -> None:
        """All gradients of this loss have arrived; the other parameters have none.

        Args:
            may_overflow: whether a scaler is there, which skips a step that is not finite.

        Raises:
            RuntimeError: one is not finite, and no scaler scaled it.
        """
        for index in range(len(self._rows)):
            if index not in self._arrived:
                self._work(index, None)
        self._passes += 1
        self.broken = self.broken or not isfinite((self._products[0, 0] + self._own).item())
        if self._replicas > 1:
            seen = self._average(self._products.new_tensor([self.broken, *self.reached]))
            self.broken, *self.reached = [value > 0 for value in seen.tolist()]
            self._average(self._products)
            for row in self._moved:
                self._average(self.memory[row])
            if self._late and self._objective == 0:
                for index in filter(self.reached.__getitem__, range(len(self._rows))):
                    self._average(self._in_memory(self._sum(index)))
        self._note()
        if self.broken and not may_overflow:
            name = objective_names(self._k)[self._objective]
            told = (
                f"the gradient of the {name} loss is not finite: skip this batch, or correct the loss there"
            )
            moved = "; what the method remembers has moved by what had arrived" if self.torn else ""
            self.torn = False  # as it is told here
            raise RuntimeError(told + moved)

    @torch.no_grad()
    def finish(self) -> list[Tensor]:
        """The direction by parameter, scaled as the losses were; infinite after an overflow."""
        if self._emas and not self._after:
            taken = self._scale * self._coefficients(self.gram)[self._k :]
            for index, rows in enumerate(self._rows):
                if self.reached[index]:
                    self._add(index, taken, rows)
        direction = []
        for index in range(len(self._sums)):
            total = self._sum(index)
            if self._replicas > 1 and self.reached[index]:
                self._average(self._in_memory(total))
            direction.append(total.fill_(inf) if self.broken else total)
        return direction

    def seen(self) -> Tensor:
        """G ``(R, R)``, NaN where the step did not tell."""
        k, unknown = self._k, torch.zeros_like(self.gram, dtype=torch.bool)
        unknown[:k, :k] = True
        if self._replicas == 1 and self._passes == k:
            unknown.fill_diagonal_(False)
        elif not self._after:
            for row, ema in enumerate(self._emas):
                unknown[ema.objective, k + row] = unknown[k + row, ema.objective] = True
        return self.gram.masked_fill(unknown, torch.nan)

    def _check_finite(self, k: int, value: float) -> None:
        if not isfinite(value):
            name = objective_names(self._k)[k]
            raise RuntimeError(f"the {name} loss is {value}: skip this batch, or lower the learning rate")

    def _coefficients(self, gram: Tensor) -> Tensor:
        return self._method.seen_coefficients(gram, self._k, self._eps)

    def _work(self, index: int, piece: Tensor | None) -> None:
        """One parameter's part in G, in the sum and in the rows that move; None for a gradient of 0."""
        rows = self._rows[index]
        if self._due:
            total = self._sums[index]
            gathered = None if total is None else self._in_memory(total)
            self._move(index, self._due, self._late_moves, gathered)
        known, taken = [rows[r] for r in self._known], [rows[r] for r in self._taken]
        if piece is not None:
            products = passes.gram([piece, *known])
            self._products += products
            if self._moved and not isfinite(products[0, 0].item()):
                self.broken = True
        elif known and self._objective == self._k - 1:
            self._products[1:, 1:] += passes.gram(known)
        if not self._after:
            self._move(index, self._moved, self._moves, piece)
        if piece is not None:
            self._add(index, self._terms, [piece, *taken])
        elif taken:
            self._add(index, self._terms[1:], taken)
        if self._after:
            self._move(index, self._moved, self._moves, piece)

    def _move(self, index: int, moved: Sequence[int], moves: Sequence[Tensor], piece: Tensor | None) -> None:
        """Move rows by a gradient, unless one was not finite."""
        if self.broken or not moved:
            return
        self.torn = not self._new
        for r in moved:
            row = self._rows[index][r]
            if piece is None:
                row *= moves[r][0]
            else:
                passes.write(moves[r], [row, piece], row, ())

    def _note(self) -> None:
        """Enter a loss's products into G: of rows that have moved, if they do before the direction."""
        k, products = self._objective, self._products
        products[0] /= self._scale
        products[0, 0] /= self._scale
        if not self._after:
            for place, r in enumerate(self._known, 1):
                if self._emas[r].objective == k:
                    kept, rho = self._moves[r][0], self._moves[r][1] * self._scale
                    products[0, place] = kept * products[0, place] + rho * products[0, 0]
        places = torch.tensor([k, *(self._k + r for r in self._known)], device=products.device)
        self.gram[k, places] += products[0]
        self.gram[places[1:], k] += products[0, 1:]
        if k == self._k - 1:
            self.gram[places[1:, None], places[1:]] += products[1:, 1:]

    def _add(self, index: int, coefficients: Tensor, rows: Sequence[Tensor]) -> None:
        total = self._sums[index]
        if total is None:
            total = self._sums[index] = torch.empty_like(self.parameters[index].data)
            passes.write(coefficients, rows, self._in_memory(total), ())
            return
        into = self._in_memory(total)
        one = torch.ones_like(coefficients[:1])
        passes.write(torch.cat([one, coefficients]), [into, *rows], into, ())

    def _sum(self, index: int) -> Tensor:
        """What has gathered, of a parameter that no loss has reached here a zero."""
        total = self._sums[index]
        if total is None:
            total = self._sums[index] = torch.zeros_like(self.parameters[index].data)
        return total

    def _flat(self, index: int, gradient: Tensor) -> Tensor:
        """``(P_i,)`` in the order in which the parameter lies in memory, copied where it lies otherwise."""
        if gradient.stride() != self._strides[index] or gradient.dtype != self.parameters[index].dtype:
            gradient = torch.empty_like(self.parameters[index].data).copy_(gradient)
        return self._in_memory(gradient)

    def _in_memory(self, dense: Tensor) -> Tensor:
        return dense.as_strided((dense.numel(),), (1,), dense.storage_offset())

    def _average(self, value: Tensor) -> Tensor:
        """In place, over the processes."""
        dist.all_reduce(value, group=self._group)
        value /= self._replicas
        return value
