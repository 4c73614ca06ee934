"""``scalpel compare``: train one method alone, and rank it among the recorded runs of its rivals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ... import methods, tasks
from ...words import unknown
from ..analysis import TrainingAnalysis
from ..analysis.comparisons import NO_BOX
from ..analysis.leaderboard import cells_of
from ..analysis.protocols import REFERENCE
from ..dashboard import Tracker
from ..execution import ExecutionOptions
from ..experiments.loading import available
from ..experiments.schema import Experiment
from ..messages import UserError, as_user_error, terminal
from ..records import (
    Folder,
    RecordedSweep,
    load_sweep,
    take_over,
    write_manifest,
)
from .finished_jobs import run_jobs, tell_failures
from .forecast import announce_cost, forecast
from .leaderboard import load_board, show_method, sweeps_in
from .planning import announce, current, fingerprint_of, plan_jobs, recorded

RETRIES = 2


@dataclass(frozen=True)
class Comparison:
    """A recorded sweep, the folder that the method's runs come into, and the experiment that makes these.

    ``mine`` is None where the method is recorded already.
    """

    rivals: RecordedSweep
    folder: Folder
    mine: Experiment | None


def compare(
    method: str, on: Sequence[str], results: Path, out: Path, options: ExecutionOptions, dry_run: bool
) -> int:
    """Train a method where its rivals are recorded, and show its row and ratios. Returns the exit status.

    Its runs have the settings, λ and seeds of the recorded ones, at the experiment's own learning rate. They
    come into ``out``, beside a copy of the rivals' records; ``results`` is only read.

    Args:
        method: a name, or ``file.py:Class``.
        on: experiments with recorded runs, such as ``fig3a``, or ``fig3a/released`` of several scales.
        results: the folder of the recorded runs.
        out: the folder that gets ``<experiment>/<scale>``.
        options: how runs are executed.
        dry_run: whether to stop when it is said what would be run.

    Raises:
        UserError: there are no such records, they are of other code or data, or the method does not fit.
    """
    if out.resolve() == results.resolve():
        raise UserError(f"--out {out}: these are the recorded results, which are only read")
    with as_user_error():
        label = methods.get(method).name
    sweeps = [_rivals(folder) for folder in dict.fromkeys(_find(results, name) for name in on)]
    compared = [_comparison(method, label, rivals, out, options) for rivals in sweeps]
    jobs = [
        job
        for each in compared
        if each.mine is not None
        for job in plan_jobs(each.mine, options, each.folder)
    ]
    if not dry_run:
        for each in compared:
            _prepare(each, options)
    known = recorded({each.folder: each.folder.content() for each in compared})
    missing = [replace(job, stamp=job.folder.stamp(job.run.id)) for job in jobs if job.run.id not in known]
    for each in (each for each in compared if each.mine is None):
        terminal.say(f"{each.rivals.experiment.name}: {label} is recorded, and is not trained again")
    if jobs:
        announce(jobs, missing, options)
    told = forecast(missing, options) if missing else None
    if told:
        announce_cost(told, len(missing), out)
    if dry_run:
        return 0
    with Tracker("disabled", out) as tracker:
        ended = run_jobs(missing, len(jobs) - len(missing), options, RETRIES, tracker, told)
    status = tell_failures(ended)
    board = load_board([each.folder.path for each in compared])
    if label in set(board.cells["method"]):
        show_method(board, label)
    else:
        why = [line for line in board.left_out if f": {label} (" in line]
        terminal.warn(f"{label} is not ranked: {', '.join(why) or 'it has no front ratio'}")
    for each in compared:
        terminal.say(f"records, with those of the rivals: {each.folder.path}")
    return status


def _find(results: Path, name: str) -> Folder:
    """The recorded sweep of an experiment.

    Raises:
        UserError: there is none, or there are several.
    """
    there = {"/".join(folder.path.parts[-2:]): folder for folder in sweeps_in(results)}
    chosen = [place for place in there if name in (place, place.partition("/")[0])]
    if len(chosen) > 1:
        raise UserError(f"--on {name}: it is recorded at several scales: write {' or '.join(chosen)}")
    if chosen:
        return there[chosen[0]]
    known = {place.partition("/")[0] for place in there}
    if name.partition("/")[0] in known | available().keys():
        listed = f"; there are {', '.join(there)}" if there else ""
        raise UserError(f"--on {name}: {results} has no records of it{listed}")
    raise UserError(f"--on: {unknown('experiment', name, sorted(known | available().keys()))}")


def _rivals(folder: Folder) -> RecordedSweep:
    """The recorded runs of a folder.

    Raises:
        UserError: no method can be compared with them.
    """
    sweep = load_sweep(folder)
    experiment = sweep.experiment
    if not isinstance(experiment, Experiment):
        raise UserError(f"{folder.path}: {experiment.name} compares no methods")
    if experiment.box is None:
        raise UserError(f"{folder.path}: no box, so that fronts have no ratio: {NO_BOX}")
    _, others = current(sweep.folder, sweep.runs)
    if others:
        raise UserError(others)
    if cells_of(experiment, TrainingAnalysis(sweep).metrics).empty:
        raise UserError(f"{folder.path}: no runs of {REFERENCE} at the experiment's own learning rate")
    return sweep


def _comparison(
    method: str, label: str, rivals: RecordedSweep, out: Path, options: ExecutionOptions
) -> Comparison:
    """What is to be trained for a comparison.

    Raises:
        UserError: the method does not fit the experiment, or its data are other ones.
    """
    experiment, path = rivals.experiment, rivals.folder.path
    assert isinstance(experiment, Experiment)
    folder = Folder(out / experiment.name / experiment.scale)
    ran: dict[str, int] = {}
    for run in (record.run for record in rivals.records):
        ran[run.label] = max(run.seed, ran.get(run.label, 0))
    if label in ran:
        return Comparison(rivals, folder, None)
    settings = experiment.methods.get(label, {"name": method})
    own = {"methods": {label: settings}, "axes": {}, "seeds": ran[REFERENCE] + 1}
    with as_user_error(experiment.name):
        mine = Experiment.model_validate({**experiment.model_dump(), **own})
    if (seen := rivals.manifest.fingerprint) != fingerprint_of(mine, options):
        raise UserError(f"{path}: its runs saw other data (fingerprint {seen}): give it with --data")
    return Comparison(rivals, folder, mine)


def _prepare(each: Comparison, options: ExecutionOptions) -> None:
    """Put the rivals' records, and what is known of their code, into the folder of a comparison.

    What is packed there of methods that are no rivals stays.
    """
    folder, rivals = each.folder, each.rivals
    folder.prepare()
    content = folder.set_aside(folder.undamaged())
    labels = {record.run.label for record in rivals.runs}
    own = [record for record in content.records if record.run.label not in labels]
    folder.archive_of([*rivals.runs, *own])
    take_over(folder, rivals.folder)
    data, source = rivals.manifest.fingerprint, tasks.check_source(options.data)
    if each.mine is not None:
        write_manifest(folder, each.mine, data, source)
    write_manifest(folder, rivals.experiment, data, source)
