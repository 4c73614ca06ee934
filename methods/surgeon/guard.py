"""Whether the gradients that a Surgeon wrote were used by a step, so that none is overwritten before."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from functools import cache
from weakref import WeakSet

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.weak import TensorWeakRef, WeakTensorKeyDictionary

from .distributed import local


class Guard:
    """Knows which gradients a Surgeon wrote, and what the optimisers that own their parameters did since."""

    def __init__(self) -> None:
        self._written: dict[int, TensorWeakRef] = {}
        self._used: dict[int, int] = {}
        """By parameter, the version of its gradient at the step that used it."""
        self._passed: dict[int, tuple[TensorWeakRef, int]] = {}
        """By parameter, a gradient that may be overwritten, and its version then."""
        self._free = True

    def __reduce__(self) -> tuple[type[Guard], tuple[()]]:
        return Guard, ()

    def wrote(self, parameters: Sequence[Tensor], free: bool) -> None:
        """Remember the present ``.grad`` of these; ``free`` where no step is to come, after an overflow."""
        _watch()
        _LIVE.add(self)
        self._written = {id(p): TensorWeakRef(p.grad) for p in parameters if p.grad is not None}
        for parameter in parameters:
            if parameter.grad is not None:
                _WRITERS[parameter.grad] = self
        self._used.clear()
        self._passed.clear()
        self._free = free

    def step(self, optimizer: Optimizer) -> None:
        """Note that an optimiser has stepped."""
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                key = id(parameter)
                if key in self._written and (gradient := parameter.grad) is not None:
                    self._used[key] = gradient._version

    def find(self, parameters: Sequence[Tensor]) -> tuple[Tensor, bool] | None:
        """The first parameter whose gradient would be lost, and whether the Surgeon wrote that gradient."""
        new = [p for p in parameters if p.grad is not None and not self._has_passed(p)]
        doubtful = []
        for parameter in new:
            ours, key = self._wrote(parameter), id(parameter)
            if not ours or not self._may_go(parameter):
                doubtful.append((parameter, ours and key not in self._used and key not in self._passed))
        if doubtful:
            filled = torch.stack([local(p.grad).any() for p, _ in doubtful])  # type: ignore[arg-type]
            for found, is_filled in zip(doubtful, filled.tolist(), strict=True):
                if is_filled:
                    return found
        for p in new:
            self._passed[id(p)] = TensorWeakRef(p.grad), p.grad._version  # type: ignore[arg-type, union-attr]
        return None

    def check(self, parameters: Sequence[Tensor], describe: Callable[[Tensor], str]) -> None:
        """Refuse to overwrite a gradient that is to be used. It waits for the device only where one is new.

        Raises:
            RuntimeError: there is one.
        """
        if lost := self.find(parameters):
            parameter, ours = lost
            where = describe(parameter)
            if ours and self._used:
                raise RuntimeError(
                    f"backward was called twice without a step of {where}: step the optimiser that owns it "
                    "and call zero_grad(), or freeze it if none does"
                )
            if ours:
                raise RuntimeError(
                    "backward was called twice without a step: call optimizer.step() and zero_grad() "
                    "between, or accumulate() for all micro-batches but the last (a step of what is no "
                    "torch.optim.Optimizer is not seen: zero_grad() tells of it)"
                )
            raise RuntimeError(f"{where} has a gradient that backward would lose: call zero_grad() before")

    def check_beside(self, leaves: Sequence[Tensor]) -> None:
        """Refuse to add to what another Surgeon wrote, before a step has used it.

        Raises:
            RuntimeError: one of these leaves has such a gradient.
        """
        for leaf in leaves:
            writer = None if leaf.grad is None else _WRITERS.get(leaf.grad)
            if writer is not None and writer is not self and writer._waits(leaf):
                raise RuntimeError(
                    f"a loss reaches a parameter of shape {tuple(leaf.shape)} whose .grad is the direction "
                    "of another Surgeon: step its optimiser and call zero_grad() before, or use one Surgeon "
                    "for all the parameters"
                )

    def _wrote(self, parameter: Tensor) -> bool:
        written = self._written.get(id(parameter))
        return written is not None and written() is parameter.grad

    def _has_passed(self, parameter: Tensor) -> bool:
        """Whether its gradient is one that might be overwritten, and has not changed since."""
        passed, gradient = self._passed.get(id(parameter)), parameter.grad
        if passed is None or gradient is None:
            return False
        return passed[0]() is gradient and passed[1] == gradient._version

    def _waits(self, parameter: Tensor) -> bool:
        """Whether its gradient is a direction for a step that is still to come."""
        used = self._free or not self._wrote(parameter) or id(parameter) in self._used
        return not used and bool(local(parameter.grad).any())  # type: ignore[arg-type]

    def _may_go(self, parameter: Tensor) -> bool:
        """Whether a gradient that the Surgeon wrote was used and not changed since, or no step uses it."""
        used = self._used.get(id(parameter))
        return self._free or used == parameter.grad._version  # type: ignore[union-attr]


_LIVE: WeakSet[Guard] = WeakSet()
_WRITERS: MutableMapping[Tensor, Guard] = WeakTensorKeyDictionary()
"""By gradient that a Surgeon wrote, that Surgeon's guard, which lives as long."""


def _note(optimizer: Optimizer, *_: object) -> None:
    for guard in list(_LIVE):
        guard.step(optimizer)


@cache
def _watch() -> None:
    register_optimizer_step_post_hook(_note)
