"""From the text of options to values."""

from __future__ import annotations

import ast
import os
import re
import tomllib
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ...entries import cause
from ...registry import catalogue
from ..messages import UserError, as_user_error, terminal

if TYPE_CHECKING:
    from ..execution import ExecutionOptions


def execution_options(
    data: str,
    device: str | None,
    workers: int | None,
    population: str = "auto",
    checkpoint_every: float = 60.0,
    run_timeout: float | None = None,
    executor: str = "local",
    address: str | None = None,
    gpu_share: float = 1.0,
) -> ExecutionOptions:
    """How runs are executed; device and workers are by default what this machine has.

    Raises:
        UserError: there is no such data or device, or options contradict each other.
    """
    from ... import tasks
    from .. import execution

    chosen = execution.check_device(device or execution.default_device(), here=executor == "local")
    if population != "auto" and not (population.isascii() and population.isdigit() and int(population)):
        raise UserError(f"--population {population}: write auto, or a number of runs of at least 1")
    if executor == "ray" and population == "auto" and chosen.startswith("cuda"):
        terminal.warn(
            "--population auto is 1 with Ray, whose GPUs are not measured from here; N sets another"
        )
    if gpu_share != 1.0 and not chosen.startswith("cuda"):
        raise UserError(f"--gpu-share {gpu_share:g}: runs are on {chosen}, which has no share of a GPU")
    if address is not None and executor != "ray":
        raise UserError("--address belongs to a Ray cluster: give --executor ray too")
    if address not in (None, "auto") and not re.fullmatch(r"[^/]+:[0-9]{1,5}", address):
        raise UserError(f"--address {address}: write host:port of the cluster's head, or auto")
    with as_user_error():
        tasks.check_source(data)
    return execution.ExecutionOptions(
        data=data,
        device=chosen,
        workers=workers or execution.default_workers(chosen, gpu_share),
        population=None if population == "auto" else int(population),
        checkpoint_every=checkpoint_every,
        run_timeout=run_timeout,
        executor=executor,
        address=address,
        gpu_share=gpu_share,
    )


def refuse_given(context: typer.Context, options: Iterable[str], reason: str) -> None:
    """Refuse options that would have no effect.

    Raises:
        UserError: one of them was given.
    """
    for option in options:
        source = context.get_parameter_source(option)
        if source is not None and source.name == "COMMANDLINE":
            raise UserError(f"--{option.replace('_', '-')}: {reason}")


def checked(name: str, kind: str, known: Collection[str] = ()) -> str:
    """The name of a method or a task, which may be ``path/to/file.py:Class``.

    Args:
        name: as it was given.
        kind: what it is of, for messages: ``"method"``, ``"task"`` or ``"method or task"``.
        known: further names that there are.

    Raises:
        UserError: it is a file without a class, or no name but that of a file without its ending.
    """
    path, _, class_name = name.partition(":")
    ends, packages = path.endswith(".py"), [f"{word}s" for word in kind.split(" or ")]
    if (ends and class_name) or name in known or any(name in catalogue(package) for package in packages):
        return name
    file = path if ends else f"{path}.py"
    if not os.path.isfile(file):  # noqa: PTH113 (which is False for any text)
        if ends:
            raise UserError(f"{file}: no such file")
        return name
    called = [f"{file}:{each}" for each in _classes(Path(file))]
    if ends:
        raise UserError(f"{name} is a file: say which class, {' or '.join(called)}")
    raise UserError(f"unknown {kind} {name!r}: did you mean {' or '.join(called)}?")


def _classes(file: Path) -> list[str]:
    """The classes of a file that has not been imported; ``Class`` where it has none.

    Raises:
        UserError: it is no Python.
    """
    try:
        tree = ast.parse(file.read_bytes(), file.name)
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{file}: {cause(error)}") from error
    return [node.name for node in tree.body if isinstance(node, ast.ClassDef)] or ["Class"]


def numbers(flag: str, text: str) -> list[float]:
    """Comma-separated numbers.

    Raises:
        UserError: there are none, or one is no number.
    """
    parts = [part for part in text.split(",") if part.strip()]
    if not parts:
        raise UserError(f"{flag}: the grid is empty")
    try:
        return [float(part) for part in parts]
    except ValueError as error:
        raise UserError(f"{flag}: {error}") from error


def axes(given: list[str]) -> dict[str, list[int | float]]:
    """``section.key=v1,v2,…``, each an axis of the grid; whole numbers may be of settings that are whole.

    Raises:
        UserError: one is not written so.
    """
    parsed: dict[str, list[int | float]] = {}
    for axis in given:
        key, separator, values = axis.partition("=")
        if not separator:
            raise UserError(f"--axis {axis}: write section.key=v1,v2,…")
        if key in parsed:
            raise UserError(f"--axis {key}: given twice; write all its values in one")
        parsed[key] = [
            int(value) if value.is_integer() else value for value in numbers(f"--axis {key}", values)
        ]
    return parsed


def settings(given: list[str]) -> dict[str, dict[str, Any]]:
    """``section.key=value``, by section; a value is as in a TOML file, else a word.

    Raises:
        UserError: one is not written so.
    """
    sections: dict[str, dict[str, Any]] = {}
    for setting in given:
        path, separator, text = setting.partition("=")
        section, _, key = path.partition(".")
        if not separator or section not in ("task", "method", "training") or not key:
            raise UserError(f"--set {setting}: write task.key=value, method.key=value or training.key=value")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        sections.setdefault(section, {})[key] = value
    return sections
