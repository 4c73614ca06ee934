"""Types of settings: each field of a dataclass holds what its annotation says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from numbers import Integral, Real
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from torch import Tensor

_NUMBERS: dict[Any, type] = {int: Integral, float: Real}
_OTHERS = (bool, str, NoneType, Tensor)
_TOLD: dict[Any, str] = {
    bool: "True or False",
    int: "an integer",
    float: "a number",
    str: "a string",
    Tensor: "a tensor",
    tuple[int, ...]: "a list of integers",
}


def check_types(settings: Any) -> None:
    """Refuse a field of a dataclass that holds something else than its annotation says.

    A bool is no number, an integer is one, and a list may stand for a tuple. The default may be anything, and
    so may what is annotated otherwise than by numbers, bool, str, tensors, literals, tuples and None.

    Raises:
        ValueError: a field does.
    """
    for name, (kind, default) in _annotated(type(settings)).items():  # type: ignore[arg-type]
        value = getattr(settings, name)
        if value is not default and not _is(value, kind):
            raise ValueError(f"{name} must be {_told(kind)}, got {value!r}")


@cache
def _annotated(cls: type) -> Mapping[str, tuple[Any, Any]]:
    """The annotation and default of each field; none where a plugin's cannot be told."""
    try:
        hints = get_type_hints(cls)
    except (NameError, AttributeError, TypeError):
        return MappingProxyType({})
    return MappingProxyType({field.name: (hints[field.name], field.default) for field in fields(cls)})


def _is(value: Any, kind: Any) -> bool:
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(_is(value, one) for one in args)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in args)
    if origin is tuple:
        each = args[0] if args[1:] == (...,) else Any
        return isinstance(value, tuple | list) and all(_is(one, each) for one in value)
    if kind in _NUMBERS:
        return isinstance(value, _NUMBERS[kind]) and not isinstance(value, bool)
    return kind not in _OTHERS or isinstance(value, kind)


def _told(kind: Any) -> str:
    """In words; that it may be None is left out."""
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join(_told(one) for one in args if one is not NoneType)
    if origin is Literal:
        return f"{'one of ' if args[1:] else ''}{', '.join(map(str, args))}"
    return _TOLD.get(kind) or str(getattr(kind, "__name__", kind))
