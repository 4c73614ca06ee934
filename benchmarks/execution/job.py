"""What executors are given, and what they give back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ... import methods, tasks
from ..experiments.settings import AnyRun, TrainingRun
from ..records import Folder, Record, Stamp
from .code import code_of


def title_of(run: AnyRun) -> str:
    """What people call a run within its experiment."""
    if not isinstance(run, TrainingRun):
        return f"{run.label} seed {run.seed}"
    return f"{run.label} λ={run.lam:g} lr={run.training.lr:g} seed {run.seed}"


@dataclass(frozen=True)
class Job:
    """A run, and the folder that takes its record."""

    run: AnyRun
    folder: Folder
    stamp: Stamp = None
    """Of the record that the run replaces."""
    code: str = ""
    """The fingerprint of what decides its numbers, as it was when planned: now, if none is given."""

    def __post_init__(self) -> None:
        if not self.code:
            object.__setattr__(self, "code", code_of(self.run))

    @property
    def file(self) -> Path:
        """The record's."""
        return self.folder.file(self.run.id)

    @property
    def title(self) -> str:
        """What people call the run."""
        return f"{self.run.experiment} {title_of(self.run)}"

    @property
    def foreign(self) -> bool:
        """Whether code from outside the suite takes part: what that does to a process ends with the run."""
        return isinstance(self.run, TrainingRun) and (
            any(methods.origin(name) for name in self.run.methods)
            or tasks.origin(self.run.task["name"]) is not None
        )


@dataclass(frozen=True)
class FinishedJob:
    """A job that has ended, its record, and the traceback of a failure."""

    job: Job
    record: Record
    traceback: str = field(default="", repr=False)
    note: str = ""
    """What the person is to know of how it was trained: that it started over, or in a smaller population."""
    elsewhere: bool = False
    """Whether another sweep executed it."""
