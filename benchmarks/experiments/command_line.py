"""The command that makes the runs of an experiment again."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from ... import methods, tasks
from ..messages.errors import UserError
from .loading import AnyExperiment, available, load
from .method_settings import SHARED
from .schema import Experiment

_DATA = {"folder": "PATH", "hub": "hub"}


def sweep_command(
    experiment: AnyExperiment,
    sources: Collection[str | None],
    data: str | None = None,
    results: Path | None = None,
) -> str:
    """The `scalpel sweep` of an experiment; in a comment, what its flags cannot say.

    That of the user's own file, or with loose files, begins in the folder that paths are written from. One of
    the suite runs anywhere, and its data may lie anywhere: PATH.

    Args:
        experiment: as it is run, or as its manifest holds it.
        sources: where its runs say that their data came from.
        data: the option ``--data``; None where it is not known.
        results: the folder of all results; None where it is not known.
    """
    base = _base(experiment)
    name = experiment.name if experiment.name in available() else f"{experiment.name}.toml"
    if experiment.file is not None:
        name = os.path.relpath(experiment.file)
    flags, remark = ["--scale", experiment.scale, "--seeds", str(experiment.seeds)], ""
    if isinstance(experiment, Experiment):
        further, remark = _differences(experiment, base if isinstance(base, Experiment) else None)
        flags += further
    elif base is None or base.model_copy(update={"seeds": experiment.seeds}) != experiment:
        remark = "with the settings of experiment.json"
    here = experiment.file is not None or any(_LOOSE in flag for flag in flags)
    for source in sorted(_DATA.keys() & sources):
        literal = os.path.relpath(data) if here and data is not None and source == "folder" else ""
        flags += ["--data", literal or _DATA[str(source)]]
    start = ""
    if here and results is not None:
        start = f"cd {_from_home(Path.cwd())} && "
        if (place := os.path.relpath(results)) != "results":
            flags += ["--results", place]
    return start + shlex.join(["scalpel", "sweep", name, *flags]) + (f"  # {remark}" if remark else "")


_LOOSE = ".py:"
"""What stands in the name of a loose file's class, and in no other."""


def _base(experiment: AnyExperiment) -> AnyExperiment | None:
    """The experiment as its file states it; None where there is no such file."""
    if experiment.file is None and experiment.name not in available():
        return None
    with suppress(UserError):
        return load(str(experiment.file or experiment.name), experiment.scale)
    return None


def _differences(experiment: Experiment, base: Experiment | None) -> tuple[list[str], str]:
    flags = []
    if base is None or experiment.lam != base.lam:
        flags += ["--lam", _numbers(experiment.lam)]
    for axis, values in experiment.axes.items():
        if base is None or base.axes.get(axis) != values:
            flags += ["--axis", f"{axis}={_numbers(values)}"]
    if base is None:
        return flags, "the TOML file is the user's own; its settings are in experiment.json"
    if experiment.methods.keys() != base.methods.keys():
        files = methods.REGISTRY.files(experiment.methods.keys() - base.methods.keys())
        flags += ["--methods", ",".join(_from_here(files.get(label, label)) for label in experiment.methods)]
    task = dict(experiment.task)
    if task["name"] != base.task["name"]:
        task["name"] = _from_here(tasks.REGISTRY.files({task["name"]}).get(task["name"], task["name"]))
    sections = {
        "task": (task, base.task),
        "training": (experiment.training.model_dump(), base.training.model_dump()),
    }
    for section, (recorded, stated) in sections.items():
        for key, value in recorded.items():
            if key != "origin" and _plain(value) != _plain(stated.get(key)):
                flags += ["--set", f"{section}.{key}={_toml(value)}"]
    shared = dict.fromkeys(SHARED)
    known = {label: {**shared, **base.methods.get(label, {"name": label})} for label in experiment.methods}
    changed = [
        label
        for label, settings in experiment.methods.items()
        if any(
            settings.get(key) != value
            for key, value in {"training": None, "lam": None, **known[label]}.items()
        )
    ]
    return flags, f"with the settings of {', '.join(changed)} in experiment.json" if changed else ""


def _plain(value: Any) -> Any:
    """A value as a TOML file holds it; an option that is off is false."""
    return False if value is None else list(value) if isinstance(value, tuple) else value


def _toml(value: Any) -> str:
    """A value as it is written in a TOML file, in one line."""
    value = _plain(value)
    if isinstance(value, dict):
        pairs = [f"{json.dumps(key)}={_toml(each)}" for key, each in value.items() if each is not None]
        return f"{{{','.join(pairs)}}}"
    if isinstance(value, list):
        return f"[{','.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)


def _numbers(values: Collection[float]) -> str:
    return ",".join(f"{value:g}" if float(f"{value:g}") == value else repr(value) for value in values)


def _from_here(name: str) -> str:
    """The name of a class, ``path/to/file.py:Class`` with the path from the present folder."""
    path, separator, class_name = name.rpartition(":")
    return f"{os.path.relpath(path)}:{class_name}" if separator and path.endswith(".py") else name


def _from_home(folder: Path) -> str:
    """A folder as a shell takes it; it tells no name of a user."""
    home = Path.home()
    if folder.is_relative_to(home) and folder != home:
        return f"~/{shlex.quote(str(folder.relative_to(home)))}"
    return "~" if folder == home else shlex.quote(str(folder))
