"""The methods of an experiment: all their settings, and what each is trained with in its own way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ... import methods
from .settings import check_names

OWN_TRAINING = ("optimizer", "momentum", "weight_decay", "second_moment", "step_of")
"""What a method of an experiment may be trained with in its own way: how a direction becomes a step."""


def filled_in(settings: dict[str, Any]) -> dict[str, Any]:
    """All settings of a method; one that is a table has a value for each of an axis (`along`).

    Raises:
        ValueError: no such method, or a bad setting.
    """
    if "lam" in settings:
        raise ValueError("λ belongs in the key 'lam' of the experiment")
    tables = {key: value for key, value in settings.items() if isinstance(value, dict)}
    for key, table in tables.items():
        if [type(values) for values in table.values()] != [list]:
            raise ValueError(f"{key}: expected a value, or {{ axis = [a value for each of the axis] }}")
    rows = zip(*(next(iter(table.values())) for table in tables.values()), strict=True)
    filled = [methods.create(**{**settings, **dict(zip(tables, row, strict=True))}).settings for row in rows]
    return {**(filled[0] if filled else methods.create(**settings).settings), **tables}


def along(value: Any, axes: Mapping[str, Sequence[float]], point: Mapping[str, float]) -> Any:
    """A setting at a point of the axes."""
    if not isinstance(value, dict):
        return value
    ((axis, values),) = value.items()
    return values[list(axes[axis]).index(point[axis])]


def own_training(own: Any) -> dict[str, Any]:
    """What a method is trained with in its own way, with the reference of its step filled in.

    Raises:
        ValueError: it is no table, or holds what all methods of an experiment share.
    """
    if not isinstance(own, dict):
        raise ValueError(f"training: expected a table, got {own!r}")
    if shared := ", ".join(sorted(own.keys() - set(OWN_TRAINING))):
        raise ValueError(f"training: a method's own may be {', '.join(OWN_TRAINING)}, not {shared}")
    if isinstance(reference := own.get("step_of"), dict):
        return {**own, "step_of": filled_in(check_names(reference))}
    return own
