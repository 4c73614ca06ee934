"""``scalpel check``: a method or a task against its contract."""

from __future__ import annotations

from contextlib import suppress

from ... import methods, tasks
from .. import contract
from ..messages import as_user_error


def check(name: str) -> dict[str, str]:
    """What is wrong with a method or a task, by rule of the contract.

    Raises:
        UserError: there is none of that name, or its file cannot be used.
    """
    with as_user_error():
        if name in tasks.available():
            return contract.check_task(name)
        try:
            methods.get(name)
        except ValueError:
            with suppress(ValueError):
                tasks.get(name)
                return contract.check_task(name)
            raise
        return contract.check_method(name)
