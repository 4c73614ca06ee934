"""``scalpel results verify``: does a folder hold every cell of its grid once, each record sound?"""

from __future__ import annotations

import shlex
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Self

import pandas as pd

from ... import methods, tasks
from ..execution import ExecutionOptions, title_of
from ..experiments.loading import AnyExperiment
from ..experiments.schema import Experiment
from ..experiments.settings import AnyRun
from ..experiments.simulated import MixedLossExperiment
from ..messages import UserError, terminal
from ..records import ANY_DATA, Folder, Manifest, Record, cell, once, read_manifest, sort_out
from .planning import current, fingerprint_of
from .sweep import sweep

COLUMNS = ["what", "where", "why"]


def verify(path: Path, repair: ExecutionOptions | None) -> int:
    """Show what is wrong with a folder. Returns the exit status.

    Says how many records are of other code, too; these alone are nothing wrong.

    Args:
        path: of the folder.
        repair: how runs that are missing or failed are executed first; None to leave the folder as it is.

    Raises:
        UserError: the folder has no manifest, or cannot be repaired, or has records of other code, which a
            repair would train again.
    """
    folder = Folder(path)
    if repair is not None:
        experiment = _repairable(folder)
        _check_data(folder, fingerprint_of(experiment, repair))
        own, _ = sort_out(folder.read()[0], experiment, read_manifest(folder).fingerprint)
        if others := current(folder, own)[1]:
            raise UserError(f"{others}; a repair would train them all again, as the sweep itself does")
        for grid in _grids(read_manifest(folder)):
            sweep([grid], repair, folder.results, False, "disabled")
    records, rejected = folder.read()
    found = findings(folder, records, rejected)
    _, others = current(folder, records)
    if others:
        terminal.say(others)
    if found.empty:
        terminal.say(f"{path}: {len(records)} records checked, nothing is missing")
        return 0
    terminal.table(f"{path}: {len(found)} findings", found)
    return 3


def findings(folder: Folder, records: list[Record], rejected: list[str]) -> pd.DataFrame:
    """What is wrong with a folder, a row each: ``bad``, ``foreign``, ``double``, ``failed``, ``missing``.

    Missing is what the sweeps of the manifest ``experiment.json`` were asked for. No data is loaded and no
    code of a plugin: cells are compared by all settings but the data, whose fingerprint is the manifest's.

    Args:
        folder: that has a manifest.
        records: what was read of it.
        rejected: a line for each file that is no record.

    Raises:
        UserError: the folder has no manifest.
    """
    manifest = read_manifest(folder)
    experiment = manifest.experiment
    own, left_out = sort_out(records, experiment, manifest.fingerprint)
    found = [("bad", *line.split(": ", 1)) for line in rejected]
    found += [("double" if each.second else "foreign", each.record.id, each.reason) for each in left_out]
    for record in once(own):
        if record.status == "failed":
            reason = (record.reason or "no reason").splitlines()[0]
            found.append(("failed", record.id, f"{title_of(record.run)}: {reason}"))
    recorded = {cell(record.run) for record in own}
    planned: list[AnyRun] = [r for grid in _grids(manifest) for r in grid.plan(lambda settings: ANY_DATA)]
    found += [("missing", "–", title_of(run)) for run in planned if cell(run) not in recorded]
    return pd.DataFrame(found, columns=COLUMNS)


def _grids(manifest: Manifest) -> list[AnyExperiment]:
    """The experiment of a manifest; two where sweeps of some methods had its axes, and of others none.

    A manifest has the methods of all sweeps that wrote to the folder, and the axes of the last of them; its
    commands say which methods these were. What has the axes comes last, as its sweep writes them.
    """
    experiment = manifest.experiment
    if not isinstance(experiment, Experiment) or not experiment.axes:
        return [experiment]
    try:
        commands = [_Command.of(line) for line in manifest.commands]
    except ValueError:  # an open quotation mark
        return [experiment]
    if not any(experiment.axes.keys() <= command.axes for command in commands):
        return [experiment]
    without = {
        label: settings
        for label, settings in experiment.methods.items()
        if (own := [command for command in commands if command.has(label)])
        and not any(command.axes for command in own)
    }
    over = {label: settings for label, settings in experiment.methods.items() if label not in without}
    plain = experiment.model_copy(update={"methods": without, "axes": {}})
    swept = experiment.model_copy(update={"methods": over})
    return [*([plain] if without else []), *([swept] if over else [])]


class _Command(NamedTuple):
    """What a command of a manifest says: its methods, None for all, and its axes."""

    methods: set[str] | None
    axes: set[str]

    @classmethod
    def of(cls, line: str) -> Self:
        """Read a line as `sweep_command` writes it."""
        words = shlex.split(line, comments=True)
        given = [*pairwise(words)]
        named = [value.split(",") for flag, value in given if flag == "--methods"]
        axes = {value.partition("=")[0] for flag, value in given if flag == "--axis"}
        return cls(set(named[0]) if named else None, axes)

    def has(self, label: str) -> bool:
        """Whether it ran a method."""
        return self.methods is None or label in self.methods


def _repairable(folder: Folder) -> AnyExperiment:
    """The experiment whose sweep brings what is missing in a folder.

    Raises:
        UserError: there is none, or a plugin that it needs is not installed.
    """
    experiment = read_manifest(folder).experiment
    place = folder.place
    if (place.parent.name, place.name) != (experiment.name, experiment.scale):
        raise UserError(f"{folder.path}: a sweep of it writes to {experiment.name}/{experiment.scale}")
    if isinstance(experiment, MixedLossExperiment):
        raise UserError(f"{folder.path} has no runs of its own: repair those of {experiment.source}")
    if isinstance(experiment, Experiment):
        used = set().union(*map(experiment.names_of, experiment.methods)) - set(methods.available())
        used |= {experiment.task["name"]} - set(tasks.available())
        if used:
            raise UserError(f"{', '.join(sorted(used))}: not installed; repeat the sweep that names its file")
    return experiment


def _check_data(folder: Folder, fingerprint: str | None) -> None:
    """Refuse data that is not that of a folder's records.

    Raises:
        UserError: it is not.
    """
    recorded = read_manifest(folder).fingerprint
    if recorded != fingerprint:
        raise UserError(
            f"{folder.path}: its runs saw other data (fingerprint {recorded}): give it with --data"
        )
