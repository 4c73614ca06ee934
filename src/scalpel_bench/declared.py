"""Settings against the types that a dataclass declares for them."""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from numbers import Integral, Real
from types import NoneType, SimpleNamespace, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

MOST = 2**63
"""Whole numbers are below it: tensors hold no other."""
_NAMES = {int: "a whole number", float: "a finite number", bool: "true or false", str: "text"}
_PLURALS = {int: "whole numbers", float: "finite numbers", str: "texts"}


def check_types(cls: Any, settings: Mapping[str, Any]) -> None:
    """Refuse settings of another type than their field's; a field of a type that is not known takes anything.

    A list may stand for a tuple, and a whole number for any number, but neither true nor false for one. A
    field's default may be anything.

    Args:
        cls: a dataclass.
        settings: by the names of its fields.

    Raises:
        ValueError: a setting is of another type, no finite number, or too large for 64 bits.
    """
    declared, defaults = _declared(cls), {field.name: field.default for field in fields(cls)}
    for name, value in settings.items():
        if value is defaults.get(name):
            continue
        if name in declared and not _fits(value, declared[name]):
            raise ValueError(f"{name} must be {_told(declared[name])}, got {_shown(value)}")
        if large := [each for each in _flat(value) if _is_whole(each) and not -MOST <= each < MOST]:
            raise ValueError(f"{name} must be a number of 64 bits, got {large[0]}")


@functools.cache
def _declared(cls: Any) -> dict[str, Any]:
    """The types of the fields, but for those that cannot be told."""
    names = {field.name for field in fields(cls)}
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        known = vars(sys.modules[base.__module__]) if base.__module__ in sys.modules else {}
        for name, annotation in vars(base).get("__annotations__", {}).items():
            if name not in names:
                continue
            found.pop(name, None)
            with suppress(Exception):  # a name that only a type checker knows
                found[name] = get_type_hints(SimpleNamespace(__annotations__={name: annotation}), known)[name]
    return found


def _fits(value: Any, of: Any) -> bool:
    if get_origin(of) in (Union, UnionType):
        return any(_fits(value, each) for each in get_args(of))
    if get_origin(of) is Literal:
        return any(type(value) is type(each) and value == each for each in get_args(of))
    if of is tuple or get_origin(of) is tuple:
        return isinstance(value, list | tuple) and _all_fit(value, get_args(of))
    if of is bool:
        return isinstance(value, bool)
    if of is int:
        return _is_whole(value)
    if of is float:
        return _is_whole(value) or (
            isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
        )
    if of in (str, NoneType) or _is_tensor(of):
        return isinstance(value, of)
    return True


def _all_fit(values: list[Any] | tuple[Any, ...], of: tuple[Any, ...]) -> bool:
    """Whether values are those of a tuple."""
    if not of:
        return True
    if of[-1] is ...:
        return all(_fits(value, of[0]) for value in values)
    return len(values) == len(of) and all(map(_fits, values, of))


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_tensor(of: Any) -> bool:
    """Whether a type is PyTorch's, which this module does not import: it is slow to."""
    return getattr(of, "__module__", "") == "torch" and of.__name__ == "Tensor"


def _flat(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _told(of: Any) -> str:
    """A type in words; None is not told, as no file can say it."""
    if get_origin(of) in (Union, UnionType):
        return " or ".join(_told(each) for each in get_args(of) if each is not NoneType)
    if get_origin(of) is Literal:
        known = [_shown(each) if isinstance(each, bool) else str(each) for each in get_args(of)]
        return f"one of {', '.join(known)}" if len(known) > 1 else known[0]
    if of is tuple or get_origin(of) is tuple:
        inner = get_args(of)
        count = f"{len(inner)} " if inner and inner[-1] is not ... else ""
        kinds = {each for each in inner if each is not ...}
        return f"a list of {count}{_PLURALS.get(kinds.pop(), 'values') if len(kinds) == 1 else 'values'}"
    if _is_tensor(of):
        return "a tensor"
    return _NAMES.get(of, getattr(of, "__name__", str(of)))


def _shown(value: Any) -> str:
    """A value as a file has it."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_shown, value))}]"
    return str(value).lower() if isinstance(value, bool) else repr(value)
