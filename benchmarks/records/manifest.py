"""The manifest of a sweep, ``experiment.json``: its experiment, its data, and the commands that make it.

Several sweeps may write to a folder. The manifest has the methods and the commands of all of them that saw
the same data and have the same settings of task and training; where two state a method of one label, that of
the last. All else is the last sweep's: seeds, λ, axes, box, claims, titles. A sweep with other data, task or
training begins anew.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ..experiments.command_line import sweep_command
from ..experiments.loading import ADAPTER, AnyExperiment, available, load
from ..experiments.schema import MANIFEST, Experiment
from ..messages import UserError
from .atomic_write import write_atomically
from .folder import Folder
from .locking import one_at_a_time

FILE = "experiment.json"


@dataclass(frozen=True)
class Manifest:
    """What a folder of records says of itself; ``commands`` are those of the sweeps that wrote to it."""

    experiment: AnyExperiment
    fingerprint: str | None
    commands: tuple[str, ...] = ()


def write_manifest(
    folder: Folder,
    experiment: AnyExperiment,
    fingerprint: str | None,
    source: str | None = None,
    data: str | None = None,
) -> Manifest:
    """Write the experiment that the records belong to beside them, and the command that makes them.

    Methods and commands of earlier sweeps whose runs have the same data and training stay. Sweeps that begin
    at once write one after the other.

    Args:
        folder: of the records.
        experiment: theirs.
        fingerprint: of their data.
        source: where these come from: embedded, hub or folder.
        data: the option that says so.

    Raises:
        UserError: it cannot be written, or one is there that cannot be read.
    """
    commands = [sweep_command(experiment, {source}, data, folder.results)]
    file, same = folder.path / FILE, {"task", "training"}
    with one_at_a_time(file):
        if file.exists():
            earlier = _earlier(folder)
            now, then = (e.model_dump(mode="json", include=same) for e in (experiment, earlier.experiment))
            if (
                isinstance(experiment, Experiment)
                and isinstance(earlier.experiment, Experiment)
                and earlier.fingerprint == fingerprint
                and now == then
            ):
                merged = {**earlier.experiment.methods, **experiment.methods}
                experiment = experiment.model_copy(update={"methods": merged})
                commands = list(dict.fromkeys([*earlier.commands, *commands]))
        content = {
            "experiment": experiment.model_dump(mode="json"),
            "data": fingerprint,
            "commands": commands,
        }
        write_atomically(file, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return Manifest(experiment, fingerprint, tuple(commands))


def _earlier(folder: Folder) -> Manifest:
    try:
        return read_manifest(folder)
    except UserError as error:
        raise UserError(
            f"{folder.path / FILE} is not a manifest of this version, and would be written over: "
            "move it away, or give another --results"
        ) from error


def read_manifest(folder: Folder) -> Manifest:
    """The manifest of a folder.

    A sweep that states no claims is asked those of the suite's experiment of its name.

    Raises:
        UserError: the folder has none.
    """
    file = folder.path / FILE
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if "file" in (stated := content["experiment"]):  # none is written; it would be loaded
            raise ValueError("file: unknown key")
        experiment = ADAPTER.validate_python(stated, context=MANIFEST)
        data: str | None = content["data"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        cause = "no such file" if isinstance(error, OSError) else "not a manifest of this version"
        raise UserError(
            f"{file}: {cause}; give a folder that `scalpel sweep` wrote, such as results/fig3a/laptop"
        ) from error
    if not experiment.claims and experiment.name in available():
        with suppress(UserError):
            known = load(experiment.name, experiment.scale)
            if known.kind == experiment.kind:
                experiment = experiment.model_copy(update={"claims": known.claims})
    return Manifest(experiment, data, _commands(content))


def has_manifest(folder: Folder) -> bool:
    """Whether a sweep wrote to the folder; `scalpel run` writes none."""
    return (folder.path / FILE).exists()


def _commands(content: dict[str, Any]) -> tuple[str, ...]:
    """None in a manifest of an earlier version."""
    commands = content.get("commands")
    return tuple(c for c in commands if isinstance(c, str)) if isinstance(commands, list) else ()
