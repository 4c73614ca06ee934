"""What a method remembers: handed out, taken in, and carried over to other parameters."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..engine import BaseMethod, Method, State
from .bucket import Layout


def handed_out(state: State | None, layout: Layout) -> State | None:
    """A copy that does not depend on how the parameters lie in memory."""
    if state is None:
        return None
    copy = {name: value.clone() for name, value in state.items()}
    if "memory" in copy:
        copy["memory"] = torch.stack([layout.in_order(row) for row in copy["memory"]])
    return copy


def taken_in(state_dict: dict[str, Any], method: BaseMethod, layout: Layout) -> State | None:
    """A copy of the state in what `Surgeon.state_dict` returned, for these parameters.

    Raises:
        ValueError: it is of another method, or of other parameters or objectives.
    """
    if missing := {"method", "sizes", "objectives", "state"} - state_dict.keys():
        raise ValueError(f"this is no state of a Surgeon: it lacks {', '.join(sorted(missing))}")
    if state_dict["method"] != method.name:
        raise ValueError(f"the state is one of {state_dict['method']!r}, not of {method.name!r}")
    sizes = layout.sizes
    if list(state_dict["sizes"]) != sizes:
        raise ValueError(
            f"the state is one of {len(state_dict['sizes'])} parameters with {sum(state_dict['sizes'])} "
            f"numbers, not of these {len(sizes)} with {sum(sizes)}: freeze what was frozen then"
        )
    state: State | None = state_dict["state"]
    if state is None:
        return None
    expected, found = shapes(method, state_dict["objectives"], sizes), _shapes_of(state)
    if found != expected:
        raise ValueError(f"the state of {method.name!r} has shapes {found}, not {expected}")
    copy = {name: value.clone() for name, value in state.items()}
    if "memory" in copy:
        copy["memory"] = torch.stack([layout.from_order(row) for row in copy["memory"]])
    return copy


def check_goes_on(
    state: State | None, before: BaseMethod, after: BaseMethod, k: int | None, sizes: list[int]
) -> None:
    """Refuse a method in place of another whose memory it could not go on with.

    Args:
        state: what the method before has remembered; None before the first step.
        before: the method.
        after: the one in its place.
        k: K, of the steps so far.
        sizes: of the parameters that are remembered.

    Raises:
        ValueError: the one remembers what the other does not.
    """
    if state is None or k is None:
        return
    same = after.name == before.name or not state
    if not same or shapes(after, k, sizes) != _shapes_of(state):
        raise ValueError(
            f"{after.name} cannot go on with what {before.name} has remembered: replace a method by one with "
            "the same memory, such as itself with another lam, or make a new Surgeon"
        )


def shapes(method: BaseMethod, k: int, sizes: list[int]) -> dict[str, tuple[int, ...]]:
    """Of what a method remembers, for K objectives and parameters of these sizes."""
    blank = torch.empty(k, sum(sizes), device="meta")
    return _shapes_of(method.with_blocks(sizes).init(blank))


def _shapes_of(state: State) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}


def present(
    state: State | None, method: BaseMethod, rows: Tensor, before: Layout, now: Layout, seed: int
) -> State:
    """The state for the parameters in the rows; of one that is new it begins at its gradient.

    Args:
        state: of the parameters in ``before``; None before the first step.
        method: with blocks of its own where each parameter is one.
        rows: ``(K, P)``, the gradients of the parameters in ``now``.
        before: where they lay when the state was made.
        now: where they lie in the rows.
        seed: of what the method draws.
    """
    if state is None:
        return method.init(rows, seed)
    state = {name: value.to(rows.device) for name, value in state.items()}
    if before is now:
        return state
    fresh = method.init(rows, seed)
    places = {id(parameter): i for i, parameter in enumerate(before.parameters)}
    pairs = [(i, places[id(p)]) for i, p in enumerate(now.parameters) if id(p) in places]
    kept = [(i, j) for i, j in pairs if now.shapes[i] == before.shapes[j]]
    for name, value in state.items():
        if name == "memory":
            for row, old in zip(fresh[name], value, strict=True):
                into, out_of = now.views(row), before.views(old)
                for i, j in kept:
                    into[i].copy_(out_of[j])
        elif isinstance(method, Method) and method.blocks:
            for i, j in kept:
                fresh[name][i] = value[j]
        else:
            fresh[name] = value
    return fresh
