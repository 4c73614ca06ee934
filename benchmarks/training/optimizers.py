"""How a direction moves the parameters: the optimiser, and the controls of its second moment and step."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from ... import methods
from ..experiments.settings import Training
from .checkpoints import State


class SplitAdam(torch.optim.AdamW):
    """Adam with m ← β₁ m + (1 − β₁) d and v ← β₂ v + (1 − β₂) s², s another gradient than the direction d.

    PyTorch's fused kernel is called twice, so that the numbers are bit for bit those of `torch.optim.AdamW`
    where s = d. The first call moves v, at rate 0. The second moves m and θ with v as AMSGrad's maximum,
    beside a second moment of −∞, which never exceeds it.

    Source: "Hidden failure modes of gradient modification under Adam in continual learning" 2026, arXiv
    2604.22407, which routes a modified gradient to the first moment alone.

    Args:
        theta: ``(..., P)``; its ``grad`` is d.
        squared: s ``(..., P)``, to be written before every step, which leaves rounding in it.
        lr: learning rate.
        weight_decay: decoupled.
    """

    def __init__(self, theta: Tensor, squared: Tensor, lr: float, weight_decay: float) -> None:
        super().__init__([theta], lr=lr, weight_decay=weight_decay, fused=True)
        self.squared = squared
        self.lowest = torch.full_like(squared, -torch.inf)
        start = torch.zeros((), device=theta.device)
        self.state[theta] = {
            "step": start,
            "exp_avg": torch.zeros_like(squared),
            "exp_avg_sq": torch.zeros_like(squared),
        }

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step."""
        (group,) = self.param_groups
        (theta,) = group["params"]
        m, v, step = (self.state[theta][name] for name in ("exp_avg", "exp_avg_sq", "step"))
        beta1, beta2 = group["betas"]
        move = partial(adamw, beta1=beta1, beta2=beta2, eps=group["eps"], maximize=False, fused=True)
        s, lr, decay = self.squared, group["lr"], group["weight_decay"]
        move([theta], [s], [s], [v], [], [step.clone()], amsgrad=False, lr=0.0, weight_decay=0.0)
        move([theta], [theta.grad], [m], [self.lowest], [v], [step], amsgrad=True, lr=lr, weight_decay=decay)


class Mover:
    """An optimiser on θ ``(..., P)``, along the direction in its ``grad``.

    Args:
        training: its settings.
        theta: to move.
        parts: which entries of the leading dimension each method moves, and the method.
    """

    def __init__(
        self, training: Training, theta: Tensor, parts: Sequence[tuple[slice, methods.BaseMethod]]
    ) -> None:
        self.sums: list[tuple[slice, methods.BaseMethod]] = []
        lr, decay = training.lr, training.weight_decay or 0.0
        self.optimizer: torch.optim.Optimizer
        if training.second_moment == "gradient" and any(method.name != "sum" for _, method in parts):
            self.sums = [(where, _plain(method)) for where, method in parts]
            self.squared = torch.zeros_like(theta, requires_grad=False)
            self.optimizer = SplitAdam(theta, self.squared, lr, decay)
        elif training.optimizer == "sgd":
            momentum = training.momentum
            self.optimizer = torch.optim.SGD(
                [theta], lr=lr, momentum=momentum, nesterov=momentum > 0, fused=True
            )
        elif training.optimizer == "adamw":
            self.optimizer = torch.optim.AdamW([theta], lr=lr, weight_decay=decay, fused=True)
        else:
            self.optimizer = torch.optim.Adam([theta], lr=lr, fused=True)

    def see(self, gradients: methods.Parts) -> None:
        """Take the plain weighted sum of the gradients ``(..., K, P)`` where the second moment is of it."""
        for where, plain in self.sums:
            plain.combine(gradients.replicas(where), {}, out=self.squared[where])


class Update:
    """One step of θ, at the length that another method's step would have had where the training asks for it.

    The reference method has a memory and an optimiser of its own, which see the same gradients.

    Args:
        training: of the runs.
        theta: ``(..., P)``, their parameters; its ``grad`` is the direction.
        parts: as for `Mover`.
        reference: the method whose step's length is taken, and the seeds of what it draws; or None.
    """

    def __init__(
        self,
        training: Training,
        theta: Tensor,
        parts: Sequence[tuple[slice, methods.BaseMethod]],
        reference: tuple[methods.BaseMethod, int | Tensor] | None,
    ) -> None:
        self.theta = theta
        self.own = Mover(training, theta, parts)
        self.reference = None if reference is None else _Reference(training, theta, *reference)

    @property
    def reads_gradients(self) -> bool:
        """Whether the direction alone does not decide the step."""
        return bool(self.own.sums) or self.reference is not None

    def see(self, gradients: methods.Parts, losses: Tensor, rounding: float | None) -> None:
        """Look at the gradients ``(..., K, P)`` and losses ``(..., K)`` before their direction is made."""
        self.own.see(gradients)
        if self.reference is not None:
            self.reference.see(gradients, losses, rounding)

    @torch.no_grad()
    def step(self) -> None:
        """Move θ. A step without length keeps none."""
        if self.reference is None:
            self.own.optimizer.step()
            return
        before = self.theta.clone()
        self.own.optimizer.step()
        wanted = self.reference.length(before, self.own.optimizer.param_groups[0]["lr"])
        factor = methods.divide(wanted, _length(self.theta - before)).to(before.dtype)
        self.theta.copy_(torch.lerp(before, self.theta, factor))

    def snapshot(self) -> State:
        """What later steps depend on."""
        reference = self.reference
        return {
            "optimizer": self.own.optimizer.state_dict(),
            "reference": reference and [reference.mover.optimizer.state_dict(), reference.state],
        }

    def restore(self, saved: State) -> None:
        """Go on from a state."""
        self.own.optimizer.load_state_dict(saved["optimizer"])
        if self.reference is not None:
            optimizer, state = saved["reference"]
            self.reference.mover.optimizer.load_state_dict(optimizer)
            device = self.theta.device
            self.reference.state = {name: tensor.to(device) for name, tensor in state.items()}


class _Reference:
    """The step that another method would make from the same parameters and gradients."""

    def __init__(
        self, training: Training, theta: Tensor, method: methods.BaseMethod, seeds: int | Tensor
    ) -> None:
        self.method, self.seeds = method, seeds
        self.theta = torch.zeros_like(theta, requires_grad=False)
        self.theta.grad = torch.zeros_like(self.theta)
        self.mover = Mover(training, self.theta, [(slice(None), method)])
        self.state: methods.State = {}

    def see(self, gradients: methods.Parts, losses: Tensor, rounding: float | None) -> None:
        self.mover.see(gradients)
        state = self.state or self.method.init(gradients, self.seeds)
        _, self.state = self.method.combine(gradients, state, losses, out=self.theta.grad, rounding=rounding)

    def length(self, before: Tensor, lr: float) -> Tensor:
        """``(..., 1)``: of its step from ``before`` at this learning rate."""
        self.theta.copy_(before)
        self.mover.optimizer.param_groups[0]["lr"] = lr
        self.mover.optimizer.step()
        return _length(self.theta - before)


def _plain(method: methods.BaseMethod) -> methods.BaseMethod:
    """The sum of the gradients at the λ of a method, or at 1 where that is a bound."""
    lam = 1.0 if method.lam_is == "bound" else method.lam
    return methods.create("sum", lam=lam, rescale=method.rescale)


def _length(step: Tensor) -> Tensor:
    """``(..., 1)`` in float64."""
    return methods.gram([step]).squeeze(-1).sqrt()
