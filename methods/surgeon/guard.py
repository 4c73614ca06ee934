"""Whether the gradients that a Surgeon wrote were used by a step, so that none is overwritten before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from weakref import WeakSet

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.weak import TensorWeakRef

from .distributed import local


class Guard:
    """Knows which gradients a Surgeon wrote, and what the optimisers that own their parameters did since."""

    def __init__(self) -> None:
        self._written: dict[int, TensorWeakRef] = {}
        self._used: dict[int, int] = {}
        """By parameter, the version of its gradient at the step that used it."""
        self._stepped: set[int] = set()
        """Parameters that an optimiser has stepped at any time."""
        self._free = True

    def __reduce__(self) -> tuple[type[Guard], tuple[()]]:
        return Guard, ()

    def wrote(self, parameters: Sequence[Tensor], free: bool) -> None:
        """Remember the present ``.grad`` of these; ``free`` where no step is to come, after an overflow."""
        _watch()
        _LIVE.add(self)
        self._written = {id(p): TensorWeakRef(p.grad) for p in parameters if p.grad is not None}
        self._used.clear()
        self._free = free

    def step(self, optimizer: Optimizer) -> None:
        """Note that an optimiser has stepped."""
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                key = id(parameter)
                if key in self._written and (gradient := parameter.grad) is not None:
                    self._used[key] = gradient._version
                    self._stepped.add(key)

    def find(self, parameters: Sequence[Tensor]) -> tuple[Tensor, bool] | None:
        """The first parameter whose gradient would be lost, and whether the Surgeon wrote that gradient."""
        doubtful = []
        for parameter in parameters:
            if parameter.grad is None:
                continue
            written = self._written.get(id(parameter))
            ours = written is not None and written() is parameter.grad
            if not ours or not self._may_go(parameter):
                doubtful.append((parameter, ours and id(parameter) not in self._used))
        if doubtful:
            filled = torch.stack([local(p.grad).any() for p, _ in doubtful])  # type: ignore[arg-type]
            for found, is_filled in zip(doubtful, filled.tolist(), strict=True):
                if is_filled:
                    return found
        return None

    def check(self, parameters: Sequence[Tensor], describe: Callable[[Tensor], str]) -> None:
        """Refuse to overwrite a gradient that is to be used.

        Raises:
            RuntimeError: there is one.
        """
        if lost := self.find(parameters):
            parameter, ours = lost
            if ours:
                raise RuntimeError(
                    "backward was called twice without a step: call optimizer.step() and zero_grad() "
                    "between, or accumulate() for all micro-batches but the last"
                )
            where = describe(parameter)
            raise RuntimeError(f"{where} has a gradient that backward would lose: call zero_grad() before")

    def _may_go(self, parameter: Tensor) -> bool:
        """Whether a gradient that the Surgeon wrote was used and not changed since, or no step uses it."""
        key = id(parameter)
        if self._free:
            return True
        if key in self._used:
            return self._used[key] == parameter.grad._version  # type: ignore[union-attr]
        return bool(self._used) and key not in self._stepped


_LIVE: WeakSet[Guard] = WeakSet()


def _note(optimizer: Optimizer, *_: object) -> None:
    for guard in list(_LIVE):
        guard.step(optimizer)


@cache
def _watch() -> None:
    register_optimizer_step_post_hook(_note)
