"""What a Surgeon takes for a loss, and what the losses and G of a step tell."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite, isnan

import torch
from torch import Tensor

from ..engine import BaseMethod, row_cosine
from ..engine.ema_rows import seen_rows

NOTHING = "every loss is a constant 0: skip this batch"
Loss = Tensor | float | Callable[[], Tensor | float]


def objective_names(k: int) -> list[str]:
    """``main``, ``aux``; with more than two, ``aux1``, ``aux2``, …"""
    return ["main", "aux"] if k == 2 else ["main", *(f"aux{i}" for i in range(1, k))][:k]


def check_loss(name: str, loss: object, method: BaseMethod) -> None:
    """Refuse what is neither a scalar with a graph nor a constant 0, and that where a method needs the value.

    Raises:
        ValueError: it is neither, or the method needs losses.
    """
    if _is_constant_zero(loss):
        if "needs_losses" in method.properties:
            raise ValueError(
                f"the {name} loss is a constant 0, and {method.name} would take that for its value: skip "
                "this batch, or give one with examples of every loss"
            )
        return
    if not isinstance(loss, Tensor):
        raise ValueError(f"the {name} loss must be a scalar tensor, got {type(loss).__name__}")
    if loss.numel() != 1 or not loss.is_floating_point():
        what = f"shape {tuple(loss.shape)} and dtype {str(loss.dtype).removeprefix('torch.')}"
        raise ValueError(f"the {name} loss must be one real number, got {what}: take its mean() or sum()")
    if not loss.requires_grad:
        raise ValueError(f"the {name} loss does not require grad: compute it without no_grad() and detach()")


def _is_constant_zero(loss: object) -> bool:
    if isinstance(loss, Tensor):
        return not loss.requires_grad and loss.numel() == 1 and not loss.is_complex() and bool(loss == 0)
    return isinstance(loss, int | float) and loss == 0


def plain_weights(method: BaseMethod, k: int) -> list[float]:
    """K, of the losses in what ``backward()`` would be called on without surgery: main + λ aux."""
    lam = method._lams(torch.Size(), k, torch.empty((), dtype=torch.float64)).tolist()
    whole = 1 + sum(lam) if method.rescale else 1
    return [weight / whole for weight in (1.0, *lam)]


def find_overflow(gram: Tensor, losses: Tensor, own: Tensor, is_scaled: bool) -> bool:
    """Whether gradients overflowed because a scaler scaled them.

    Args:
        gram: ``(R, R)``, the K gradients first.
        losses: ``(K,)``.
        own: the sum of all the gradients beside the rows.
        is_scaled: whether a scaler scaled them.

    Raises:
        RuntimeError: a loss is not finite, or a gradient that no scaler scaled.
    """
    k = len(losses)
    values = torch.cat([losses, gram.diagonal()[:k], own[None]]).tolist()
    names = objective_names(k)
    for name, loss in zip(names, values[:k], strict=True):
        if not isfinite(loss):
            raise RuntimeError(f"the {name} loss is {loss}: skip this batch, or lower the learning rate")
    if all(map(isfinite, values)):
        return False
    if not is_scaled:
        broken = [name for name, square in zip(names, values[k : 2 * k], strict=True) if not isfinite(square)]
        whose = " and ".join(broken) or "main or auxiliary"
        raise RuntimeError(
            f"the gradient of the {whose} loss is not finite: skip this batch, or correct the loss there"
        )
    return True


def check_positive(method: BaseMethod, losses: Tensor) -> None:
    """Refuse losses ``(K,)`` that a method is not defined for.

    Raises:
        ValueError: one is 0 or less, and the method is defined for positive losses only.
    """
    if not method.positive_losses:
        return
    for name, loss in zip(objective_names(len(losses)), losses.tolist(), strict=True):
        if not loss > 0:
            raise ValueError(
                f"the {name} loss is {loss:g}, and {method.name} is defined for positive losses only: "
                "skip this batch, or take another method"
            )


def as_seen(method: BaseMethod, gram: Tensor, k: int) -> Tensor:
    """G with the remembered rows as the method saw them: of an order ``"before"`` those that had moved."""
    seen = seen_rows(method.remembered(k), k, gram.device)
    return gram if seen is None else seen @ gram @ seen.mT


def diagnose(method: BaseMethod, gram: Tensor, losses: Tensor) -> dict[str, float]:
    """What `Surgeon.diagnostics` tells.

    Args:
        method: whose remembered rows follow the gradients in G.
        gram: ``(R, R)``; what follows from an entry that is NaN is left out.
        losses: ``(K,)``.
    """
    k = len(losses)
    names = objective_names(k)
    remembered = [k + row for row, ema in enumerate(method.remembered(k)) if ema.objective == 0]
    onto = remembered[0] if remembered else 0
    values = {f"{name}_loss": losses[i] for i, name in enumerate(names)}
    values |= {f"{name}_norm": gram[i, i].sqrt() for i, name in enumerate(names)}
    for i, name in enumerate(names[1:], 1):
        values[f"main_{name}_cosine"] = row_cosine(gram, 0, i)
        values[f"{name}_projected_share"] = row_cosine(gram, i, onto).square()
    if remembered:
        values["memory_main_cosine"] = row_cosine(gram, onto, 0)
    numbers = torch.stack(list(values.values())).tolist()
    return {name: number for name, number in zip(values, numbers, strict=True) if not isnan(number)}
