"""A recorded sweep, loaded once and passed on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from ..experiments.loading import AnyExperiment
from ..experiments.schema import Experiment
from ..experiments.simulated import MixedLossExperiment
from ..messages import UserError
from .folder import Content, Folder, none_of
from .manifest import Manifest, read_manifest
from .membership import LeftOut, once, sort_out
from .record import Record


@dataclass(frozen=True)
class RecordedSweep:
    """The records of a folder that belong to its experiment, and what does not count.

    Args:
        folder: where the sweep wrote.
        manifest: its experiment, data and commands.
        records: those that belong, in order of their ids; one of several methods is there for each of them.
        rejected: a line for each file that is no valid record.
        left_out: valid records that do not belong.
        source: the sweep whose records these are, where the experiment is computed from another's runs.
    """

    folder: Folder
    manifest: Manifest
    records: list[Record]
    rejected: list[str]
    left_out: list[LeftOut]
    source: RecordedSweep | None = None

    @property
    def experiment(self) -> AnyExperiment:
        """What was swept."""
        return self.manifest.experiment

    @property
    def not_counted(self) -> list[str]:
        """A line for each file and each record that does not count."""
        return [*self.rejected, *map(str, self.left_out)]

    @cached_property
    def runs(self) -> list[Record]:
        """The records, each once: what is counted, stored and sent."""
        return once(self.records)

    @property
    def found(self) -> int:
        """How many records there are, valid or not, of the sweep or not."""
        return len(self.runs) + len(self.not_counted)

    @cached_property
    def by_id(self) -> dict[str, Record]:
        """The records by their ids."""
        return {record.id: record for record in self.runs}

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits that change with any record, the manifest, or what does not count."""
        content = hashlib.sha256(repr((self.manifest, self.not_counted)).encode())
        for record in self.runs:
            content.update(record.model_dump_json().encode())
        return content.hexdigest()[:16]


def load_sweep(
    folder: Folder,
    content: Content | None = None,
    loaded: Mapping[Path, RecordedSweep] = MappingProxyType({}),
) -> RecordedSweep:
    """Read a folder: its manifest and its records, each once.

    Where an experiment is computed from another's runs, the records are those of that one's folder.

    Args:
        folder: to read.
        content: its records, where they have been read already.
        loaded: sweeps by the absolute paths of their folders, which may be the source of this one.

    Raises:
        UserError: no sweep wrote to it, it has no valid records, or none of them belongs to the sweep.
    """
    manifest = read_manifest(folder)
    if isinstance(experiment := manifest.experiment, MixedLossExperiment):
        where = source_of(folder, experiment)
        if not isinstance(read_manifest(where).experiment, Experiment):
            raise UserError(f"{where.path}: {experiment.source} compares no methods")
        source = loaded.get(where.place) or load_sweep(where)
        return RecordedSweep(folder, manifest, source.records, source.rejected, source.left_out, source)
    content = content or folder.content()
    if not content.records:
        raise UserError(none_of(folder, content.rejected))
    records, left_out = sort_out(content.records, experiment, manifest.fingerprint)
    if not records:
        raise UserError(f"no record belongs to {experiment.name} at scale {experiment.scale}: {left_out[0]}")
    return RecordedSweep(folder, manifest, records, content.rejected, left_out)


def source_of(folder: Folder, experiment: MixedLossExperiment) -> Folder:
    """Where the runs are that the experiment is computed from: beside its own folder, at the same scale.

    Raises:
        UserError: there are none.
    """
    source = Folder(folder.results / experiment.source / experiment.scale)
    if not source.has_records:
        raise UserError(
            f"{experiment.name} is computed from the runs of {experiment.source}, "
            f"and {source.runs} has none; first run "
            f"`scalpel sweep {experiment.source} --scale {experiment.scale}`"
        )
    return source
