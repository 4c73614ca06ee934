"""The methods of an experiment: all their settings, and what each is trained with in its own way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from ... import methods
from ..messages.errors import explain
from .common import Grid
from .settings import LARGEST, check_names

SHARED = ("training", "lam")
"""Keys of a method's table that are none of its settings."""
OWN_TRAINING = ("optimizer", "momentum", "weight_decay", "second_moment", "step_of", "lam_schedule")
"""What a method of an experiment may be trained with in its own way: how gradients become a step."""
_NUMBERS = TypeAdapter(list[float], config=ConfigDict(strict=True))


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
    if len({len(values) for table in tables.values() for values in table.values()}) > 1:
        raise ValueError(f"{', '.join(tables)}: must have as many values as one another")
    rows = zip(*(next(iter(table.values())) for table in tables.values()), strict=True)
    filled = [methods.create(**{**settings, **dict(zip(tables, row, strict=True))}).settings for row in rows]
    return {**(filled[0] if filled else methods.create(**settings).settings), **tables}


def along(value: Any, axes: Mapping[str, Sequence[float]], point: Mapping[str, float]) -> Any:
    """A setting at a point of the axes."""
    if not isinstance(value, dict):
        return value
    ((axis, values),) = value.items()
    return values[list(axes[axis]).index(point[axis])]


def own_lams(given: Any, name: str) -> list[float]:
    """λ of a method alone: a list of numbers, or a `Grid`.

    Raises:
        ValueError: it is neither, λ is no trade-off to the method, or a value is none that it takes.
    """
    method = methods.get(name)
    if method.lam_is not in ("trade-off", "bound"):
        raise ValueError(f"λ is no trade-off to {name}, which is run at λ = 1 alone: leave lam out")
    try:
        grid = Grid.model_validate(given).values() if isinstance(given, dict) else given
        lams = _NUMBERS.validate_python(grid)
    except ValidationError as error:
        raise ValueError(f"lam: {explain(error)}") from None
    if not lams:
        raise ValueError("lam: the grid is empty")
    if method.lam_is == "trade-off" and max(lams) > LARGEST:
        raise ValueError(f"lam must be at most {LARGEST:g}, got {max(lams):g}")
    return [float(method(lam=lam).lam) for lam in lams]


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
