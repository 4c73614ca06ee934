"""From experiments to the runs that are still to be done."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from ... import methods, tasks
from .. import contract
from ..execution import ExecutionOptions, Job, code_of, describe_data
from ..experiments.loading import AnyExperiment
from ..experiments.schema import Experiment
from ..experiments.settings import AnyRun, TrainingRun
from ..messages import UserError, as_user_error, terminal
from ..records import Content, Folder, Record, adopted, origin_of, read_manifest


def with_methods(experiment: AnyExperiment, labels: list[str]) -> AnyExperiment:
    """The experiment with only these methods: its own labels, or any method by its name.

    Raises:
        UserError: an unknown method, or none.
    """
    if not isinstance(experiment, Experiment):
        raise UserError(f"{experiment.name} compares no methods")
    if not labels:
        raise UserError("--methods: the grid is empty")
    chosen: dict[str, Any] = {}
    with as_user_error("--methods"):
        for label in labels:
            known = experiment.methods.get(label)
            chosen[label if known else methods.get(label).name] = known or {"name": label}
        kept = {**experiment.model_dump(), "file": experiment.file}
        return Experiment.model_validate({**kept, "methods": chosen})


def plan_jobs(experiment: AnyExperiment, options: ExecutionOptions, folder: Folder) -> list[Job]:
    """All runs of an experiment.

    Raises:
        UserError: its data is not there, or a plugin breaks the contract.
    """
    check_experiment(experiment, options)
    local, codes = options.in_this_process, _Codes()
    runs = experiment.plan(lambda settings: describe_data(settings, local))
    return [Job(run, folder, code=codes.of(run) or "") for run in runs]


def check_experiment(experiment: AnyExperiment, options: ExecutionOptions) -> None:
    """Refuse what is known to be wrong before anything is run.

    Raises:
        UserError: it needs real data, or a plugin breaks the contract (the message names file and rule).
    """
    if not isinstance(experiment, Experiment):
        return
    if experiment.real_data and options.data == "embedded":
        raise UserError(
            f"{experiment.name} at scale {experiment.scale} needs its real data: give --data hub or PATH"
        )
    names = set().union(*map(experiment.names_of, experiment.methods))
    for name in sorted(name for name in names if methods.origin(name)):
        _refuse_broken(methods.REGISTRY.place(name), contract.check_method(name))
    if tasks.origin(task := experiment.task["name"]):
        _refuse_broken(tasks.REGISTRY.place(task), contract.check_task(task))


def _refuse_broken(place: str, problems: dict[str, str]) -> None:
    for rule, problem in problems.items():
        if problem:
            raise UserError(f"{place} breaks the rule '{rule}': {problem}")


def fingerprint_of(experiment: AnyExperiment, options: ExecutionOptions) -> str | None:
    """That of an experiment's data; None where it trains nothing."""
    if not isinstance(experiment, Experiment):
        return None
    return describe_data(experiment.task, options.in_this_process).fingerprint


def recorded(found: Mapping[Folder, Content]) -> dict[str, Record]:
    """By id, the runs that need not be repeated: none that failed, or that other code may compute otherwise.

    Says how many records are of other code, and what adopts them.

    Args:
        found: what folders hold.
    """
    usable: dict[str, Record] = {}
    for folder, content in found.items():
        known, others = current(folder, content.records)
        usable |= {record.id: record for record in known}
        if others:
            terminal.warn(others)
    return usable


def current(folder: Folder, records: Iterable[Record]) -> tuple[list[Record], str]:
    """Those of a folder's records that hold what today's code computes, and what to say of the others.

    Runs that failed are neither; where there are no others, nothing is said.
    """
    known = adopted(folder)
    ended = [record for record in records if record.status != "failed"]
    codes = _Codes()
    kept = []
    for record in ended:
        code = codes.of(record.run)
        if code in (None, record.environment.get("code")) or (origin_of(record), code) in known:
            kept.append(record)
    others = len(ended) - len(kept)
    return kept, _of_other_code(folder, others) if others else ""


def _of_other_code(folder: Folder, count: int) -> str:
    """That so many records of a folder are of other code, and what adopts them, with the data they saw."""
    return (
        f"{folder.path}: {count} records are of other code, and do not count; "
        f"`scalpel results replay {folder.path}{_data_of(folder)}` computes some again, "
        "and adopts them if they agree"
    )


def _data_of(folder: Folder) -> str:
    """The option ``--data`` of the commands that made a folder; nothing for embedded data."""
    with suppress(UserError):
        for command in read_manifest(folder).commands:
            if found := re.search(r" --data ('[^']*'|\S+)", command):
                return found[0]
    return ""


def code_here(run: AnyRun) -> str | None:
    """The code that a run's numbers depend on; None of one that is not here, whose records count."""
    try:
        return code_of(run)
    except ValueError:
        return None


class _Codes:
    """The code of many runs, which is read once for the same methods and task, or simulation."""

    def __init__(self) -> None:
        self._known: dict[Hashable, str | None] = {}

    def of(self, run: AnyRun) -> str | None:
        """As `code_here`."""
        used = (frozenset(run.methods), run.task["name"]) if isinstance(run, TrainingRun) else run.kind
        if used not in self._known:
            self._known[used] = code_here(run)
        return self._known[used]


def announce(jobs: list[Job], missing: list[Job], options: ExecutionOptions) -> None:
    """Say how many runs there are, how many of them are to be done, and where."""
    counts = Counter(job.run.experiment for job in jobs)
    to_do = Counter(job.run.experiment for job in missing)
    for name, count in counts.items():
        left = to_do[name]
        runs = f"{count} run{'s' * (count != 1)}"
        terminal.say(f"{name}: {runs}, {count - left} recorded already, {left} to do")
    workers = f"{options.workers} worker{'s' * (options.workers > 1)}"
    terminal.say(f"device {options.device}, {workers}, data {options.data}")
