"""``scalpel check``: a method or a task against its contract."""

from __future__ import annotations

from typing import NamedTuple

from ... import methods, tasks
from ...registry import broken, catalogue
from ...words import said, unknown
from .. import contract
from ..messages import as_user_error

ALONE = "a sweep trains its runs one by one, on a GPU and with --population too"


class Checked(NamedTuple):
    """What is wrong with a method or a task, by rule of the contract, and what to know beside."""

    problems: dict[str, str]
    note: str = ""


def check(name: str) -> Checked:
    """A method or a task against its contract.

    Raises:
        UserError: there is none of that name, or its file cannot be used.
    """
    with as_user_error():
        if name.rpartition(":")[0].endswith(".py"):
            return _check_file(name)
        if _is_in("tasks", name):
            tasks.get(name)
            return _check_task(name)
        if _is_in("methods", name):
            methods.get(name)
            return Checked(contract.check_method(name))
        raise ValueError(unknown("method or task", name, [*methods.available(), *tasks.available()]))


def _is_in(package: str, name: str) -> bool:
    return name in catalogue(package) or name in broken(package)


def _check_file(name: str) -> Checked:
    """A class of a file, which may be a method or a task: only its import tells.

    Raises:
        ValueError: the file cannot be used, or its class is neither.
    """
    try:
        methods.get(name)
    except ValueError as error:
        as_method = said(error).removeprefix("method file ")
    else:
        return Checked(contract.check_method(name))
    try:
        tasks.get(name)
    except ValueError as error:
        as_task = said(error).removeprefix("task file ")
        neither = f"{name} is neither a method nor a task with a name of its own"
        raise ValueError(as_task if as_task == as_method else neither) from error
    return _check_task(name)


def _check_task(name: str) -> Checked:
    problems, why = contract.check_task(name), contract.alone(name)
    if any(problems.values()) or not why:
        return Checked(problems)
    return Checked(problems, f"its losses cannot be computed for several runs at once ({why}): {ALONE}")
