"""The command that makes the runs of a recorded experiment again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection
from contextlib import suppress
from typing import Any

from ..messages.errors import UserError
from .loading import AnyExperiment, available, load
from .method_settings import SHARED
from .schema import Experiment

_DATA = {"folder": "PATH", "hub": "hub"}


def sweep_command(experiment: AnyExperiment, sources: Collection[str | None]) -> str:
    """The `scalpel sweep` of an experiment; in a comment, what its flags cannot say.

    Args:
        experiment: as its manifest holds it.
        sources: where its runs say that their data came from.
    """
    words = ["scalpel", "sweep", experiment.name, "--scale", experiment.scale]
    base = None
    if experiment.name in available():
        with suppress(UserError):
            base = load(experiment.name, experiment.scale)
    if base is None:
        words[2] += ".toml"
    words += ["--seeds", str(experiment.seeds)]
    remark = ""
    if isinstance(experiment, Experiment):
        flags, remark = _differences(experiment, base if isinstance(base, Experiment) else None)
        words += flags
    elif base is None or base.model_copy(update={"seeds": experiment.seeds}) != experiment:
        remark = "with the settings of experiment.json"
    words += [word for source in sorted(_DATA.keys() & sources) for word in ("--data", _DATA[source])]
    return shlex.join(words) + (f"  # {remark}" if remark else "")


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
        flags += ["--methods", ",".join(experiment.methods)]
    sections = {
        "task": (experiment.task, base.task),
        "training": (experiment.training.model_dump(), base.training.model_dump()),
    }
    for section, (recorded, stated) in sections.items():
        for key, value in recorded.items():
            if _plain(value) != _plain(stated.get(key)):
                written = json.dumps(_plain(value), separators=(",", ":"))
                flags += ["--set", f"{section}.{key}={written}"]
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


def _numbers(values: Collection[float]) -> str:
    return ",".join(f"{value:g}" if float(f"{value:g}") == value else repr(value) for value in values)
