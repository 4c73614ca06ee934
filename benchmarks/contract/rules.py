"""What a rule is: a function that takes a name, and says in words what is broken."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...words import said

Rule = Callable[[str], None]


class Broken(Exception):
    """A rule of the contract does not hold; the message says where."""


def violations(rules: dict[str, Rule], name: str) -> dict[str, str]:
    """What is wrong with a method or a task, by rule; an empty text where the rule holds."""
    return {rule: _problem(check, name) for rule, check in rules.items()}


def _problem(check: Rule, name: str) -> str:
    try:
        check(name)
    except Broken as error:
        return str(error)
    except (Exception, SystemExit) as error:
        return f"it raises {type(error).__name__}: {' '.join(said(error).split())}"
    return ""


def require(holds: bool | Tensor, message: str) -> None:
    """Say that the rule is broken, unless something holds.

    Raises:
        Broken: it does not.
    """
    if not holds:
        raise Broken(message)


def require_close(a: Tensor, b: Tensor, tolerance: float, message: str) -> None:
    """Say that the rule is broken, unless ‖a − b‖ ≤ ``tolerance`` ‖b‖ in equal shapes.

    Raises:
        Broken: it is larger.
    """
    require(a.shape == b.shape, f"{message}: shape {tuple(a.shape)} instead of {tuple(b.shape)}")
    error = torch.linalg.vector_norm((a - b).double())
    length = torch.linalg.vector_norm(b.double())
    require(error <= tolerance * length, f"{message}: relative error {float(error / length):.1e}")
