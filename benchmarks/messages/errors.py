"""Errors that a person can cause and correct."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ...words import said

if TYPE_CHECKING:
    from pydantic import ValidationError


class UserError(Exception):
    """What was asked for is wrong; the message is one line that says what to do."""

    status = 2


class Stopped(UserError):
    """The person stopped the command; what was finished is kept."""

    status = 130


@contextmanager
def as_user_error(where: str = "") -> Iterator[None]:
    """Turn a refused value into a `UserError`, prefixed with where it stands."""
    try:
        yield
    except ValueError as error:
        from pydantic import ValidationError

        text = explain(error) if isinstance(error, ValidationError) else said(error)
        raise UserError(f"{where}: {text}" if where else text) from error


def explain(error: ValidationError, known: Iterable[str] = ()) -> str:
    """The first complaint of a validation in one line: key, rule, value, and how many more there are.

    Args:
        error: what pydantic raised.
        known: keys that an unknown one may have been meant for.
    """
    complaints = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    first = complaints[0]
    key = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(first["loc"][-1]), list(known), n=1)
        message = f"unknown key{f' (did you mean {near[0]}?)' if near else ''}"
    given = "" if isinstance(first["input"], dict) else f", got {first['input']!r}"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{key}: {message}{given}{more}" if key else f"{message}{more}"
