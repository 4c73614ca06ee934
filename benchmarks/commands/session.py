"""What a command does, from its settings to its tables: plan, skip, execute, derive, show."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from scalpel_bench import methods, tasks
from scalpel_bench.benchmarks import contract
from scalpel_bench.benchmarks.analysis import mixed_loss, verdicts
from scalpel_bench.benchmarks.commands import verification
from scalpel_bench.benchmarks.dashboard.tracker import Tracker
from scalpel_bench.benchmarks.execution.jobs import Done, Job, Place, describe_data, execute, get_task
from scalpel_bench.benchmarks.execution.populations import populations
from scalpel_bench.benchmarks.execution.supervision import execute_all
from scalpel_bench.benchmarks.experiments.schema import (
    AnyExperiment,
    Experiment,
    MixedLossExperiment,
    available,
    load,
)
from scalpel_bench.benchmarks.experiments.settings import TrainingRun
from scalpel_bench.benchmarks.figures import draw as figures
from scalpel_bench.benchmarks.messages import terminal
from scalpel_bench.benchmarks.messages.errors import Stopped, UserError, as_user_error
from scalpel_bench.benchmarks.records.folder import Folder, Record
from scalpel_bench.benchmarks.report import derive, page
from scalpel_bench.benchmarks.training import Interrupted, stopping_on


def sweep(
    experiments: list[AnyExperiment],
    place: Place,
    results: Path,
    dry_run: bool,
    wandb: str,
    retries: int = 2,
) -> int:
    """Run what is not recorded yet, then derive tables, figures and the report. Returns the exit status."""
    experiments = sorted(experiments, key=lambda e: isinstance(e, MixedLossExperiment))
    folders = {e.name: Folder(results / e.name / e.scale) for e in experiments}
    for e in experiments:
        if not isinstance(e, MixedLossExperiment):
            continue
        terminal.say(f"{e.name}: computed from the runs of {e.source}")
        if e.source not in folders:
            mixed_loss.source_of(folders[e.name], e)
    jobs = [job for e in experiments for job in _plan(e, place, folders[e.name])]
    if not dry_run:
        for e in experiments:
            _prepare(folders[e.name])
            derive.write_manifest(folders[e.name], e, _fingerprint(e, place), tasks.check_source(place.data))
    jobs = [replace(job, stamp=job.folder.stamp(job.run.id)) for job in jobs]
    recorded = {e.name: _recorded(folders[e.name]) for e in experiments}
    missing = [job for job in jobs if job.run.id not in recorded[job.run.experiment]]
    _announce(jobs, missing, place)
    if dry_run:
        return 0
    with Tracker(wandb, results) as tracker:
        ended = _execute(missing, place, retries, tracker)
        sources = []
        for e in experiments:
            _draw_samples(e, place, folders[e.name])
            sources.append(report(folders[e.name].path))
            tracker.log_sweep(folders[e.name])
    if len(sources) > 1:
        _show_verdicts("all experiments", pd.concat([source.derived.claims for source in sources]))
    alone = folders[experiments[0].name].path / "report.html"
    over_all = results / f"report-{experiments[0].scale}.html"
    _write_page(alone if len(experiments) == 1 else over_all, sources, [])
    return _tell_missing([done for done in ended if done.record.status == "failed"])


def verify(path: Path, place: Place | None) -> int:
    """Show what is wrong with a folder, after its repair where a place for it is given; the exit status."""
    folder = Folder(path)
    if place is not None:
        experiment = verification.repairable(folder)
        verification.check_data(folder, _fingerprint(experiment, place))
        sweep([experiment], place, path.absolute().parent.parent, False, "disabled")
    found = verification.verify(folder)
    if found.empty:
        return 0
    terminal.table(f"{path}: {len(found)} findings", found)
    return 3


def _prepare(folder: Folder) -> None:
    """Make a folder that records can be written to; what is there and is no record is set aside."""
    folder.prepare()
    for line in folder.set_aside():
        terminal.warn(f"set aside: {folder.runs.name}/{line}")


def _tell_missing(failed: list[Done]) -> int:
    """The runs that failed, with their tracebacks and in one table; the exit status."""
    if not failed:
        return 0
    for done in failed:
        if done.traceback:
            terminal.warn(f"{_title(done.job)} failed: {done.record.reason}\n{done.traceback}")
    rows = [
        {"run": done.record.id, "of": _title(done.job), "reason": (done.record.reason or "").splitlines()[0]}
        for done in failed
    ]
    terminal.table(
        f"missing: {len(failed)} runs failed; the same command tries them again", pd.DataFrame(rows)
    )
    return 3


def run_one(
    task: str,
    method: str,
    lam: float,
    seed: int,
    overrides: dict[str, Any],
    scale: str,
    place: Place,
    results: Path,
    dry_run: bool,
    wandb: str,
) -> None:
    """One training run, recorded under ``results/run/<scale>``, and its end values."""
    with as_user_error():
        tasks.get(task)
        settings = methods.create(method, lam=lam, **overrides.get("method", {})).settings
    label = settings["name"]
    sections = {key: value for key, value in overrides.items() if key != "method"}
    base = load(_experiment_of(task, scale), scale, {**sections, "methods": {label: settings}, "lam": [lam]})
    assert isinstance(base, Experiment)
    _check_real_data(base, place)
    check_plugins(base)
    data = describe_data(base.task, place)
    run = TrainingRun(
        experiment="run",
        scale=scale,
        label=label,
        task=base.task,
        data=data,
        method=settings,
        lam=lam,
        seed=seed,
        training=base.training,
    )
    folder = Folder(results / "run" / scale)
    terminal.say(f"{_title(Job(run, folder))} on {data.name}, scale {scale}: {folder.runs / run.id}.json")
    if dry_run:
        return
    folder.prepare()
    steps = base.training.epochs * get_task(run.task, place).steps_per_epoch
    with Tracker(wandb, results) as tracker, terminal.Steps(steps, label) as bar:
        try:
            with stopping_on(signal.SIGINT, signal.SIGTERM, insist=True):
                (done,) = execute([Job(run, folder)], place, bar.update)
        except Interrupted:
            raise Stopped("stopped; the same command goes on from there") from None
        folder.write(done.record)
        tracker.log(done.record, folder)
    if done.record.status == "failed":
        raise RuntimeError(done.traceback)
    if done.record.status == "diverged":
        terminal.warn(f"diverged at step {done.record.diverged_at}")
    last = done.record.trajectory[-1]
    splits = [split for split in ("train", "validation", "test") if split in last]
    terminal.table("end values", pd.DataFrame([{"split": split, **last[split]} for split in splits]))


def report_all(paths: list[Path], output: Path | None) -> None:
    """Write and show what is derived from the records of each folder, and one page over all of them.

    Args:
        paths: folders; of several, those without usable records are named and left out.
        output: the page; by default ``report.html`` in the folder, or in the parent that several share.

    Raises:
        UserError: no folder has usable records, or something cannot be written.
    """
    paths = list(dict.fromkeys(paths))
    if output is None:
        shared = paths[0] if len(paths) == 1 else os.path.commonpath([path.absolute() for path in paths])
        output = Path(shared) / "report.html"
    sources, refused = [], []
    for path in paths:
        try:
            sources.append(report(path))
        except UserError as error:
            if len(paths) == 1:
                raise
            refused.append(str(error))
            terminal.warn(f"left out: {error}")
    if not sources:
        raise UserError(f"none of the {len(paths)} folders has usable records")
    _write_page(output, sources, refused)


def _write_page(path: Path, sources: list[page.Source], refused: list[str]) -> None:
    page.write(path, sources, refused)
    terminal.say(f"report: {path}")


def report(path: Path) -> page.Source:
    """Write and show what is derived from the records of one folder."""
    folder = Folder(path)
    derived = derive.derive(folder)
    for line in derived.left_out:
        terminal.warn(f"left out: {line}")
    if derived.left_out:
        terminal.warn(f"{path}: {len(derived.left_out)} of {derived.records} records left out")
    terminal.table(f"{path}: {derived.title}", derived.overview)
    _show_verdicts(str(path), derived.claims)
    terminal.say(f"tables and figures: {path}")
    return page.Source(folder, derived)


def _show_verdicts(title: str, claims: pd.DataFrame) -> None:
    if claims.empty:
        return
    terminal.table(f"{title}: verdicts, each with its effect and interval", verdicts.side_by_side(claims))
    for claim in claims.drop_duplicates("id").itertuples():
        terminal.say(f"{claim.id}: {claim.text}")


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
        return Experiment.model_validate({**experiment.model_dump(), "methods": chosen})


def check(name: str) -> dict[str, str]:
    """What is wrong with a method or a task, by rule of the contract.

    Raises:
        UserError: there is none of that name, or its file cannot be used.
    """
    with as_user_error():
        if name in tasks.available():
            return contract.check_task(name)
        try:
            methods.get(name)
        except ValueError:
            with suppress(ValueError):
                tasks.get(name)
                return contract.check_task(name)
            raise
        return contract.check_method(name)


def check_plugins(experiment: AnyExperiment) -> None:
    """Refuse plugins that break the contract, before anything is run.

    Raises:
        UserError: one does; the message names its file and the rule.
    """
    if not isinstance(experiment, Experiment):
        return
    names = {settings["name"] for settings in experiment.methods.values()}
    for name in sorted(name for name in names if methods.origin(name)):
        _refuse(methods.REGISTRY.place(name), contract.check_method(name))
    if tasks.origin(task := experiment.task["name"]):
        _refuse(tasks.REGISTRY.place(task), contract.check_task(task))


def _refuse(place: str, problems: dict[str, str]) -> None:
    for rule, problem in problems.items():
        if problem:
            raise UserError(f"{place} breaks the rule '{rule}': {problem}")


def check_device(device: str) -> None:
    """Refuse a device that is not there.

    Raises:
        UserError: it is not.
    """
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {device}: {str(error).splitlines()[0]}") from error


def _plan(experiment: AnyExperiment, place: Place, folder: Folder) -> list[Job]:
    if isinstance(experiment, Experiment):
        _check_real_data(experiment, place)
    check_plugins(experiment)
    return [Job(run, folder) for run in experiment.plan(lambda settings: describe_data(settings, place.here))]


def _check_real_data(experiment: Experiment, place: Place) -> None:
    if experiment.real_data and place.data == "embedded":
        raise UserError(
            f"{experiment.name} at scale {experiment.scale} needs its real data: give --data hub or PATH"
        )


def _recorded(folder: Folder) -> set[str]:
    """Ids of the runs that need not be repeated: not those of a method whose code has changed since."""
    records, _ = folder.read()
    kept = [record for record in records if record.status != "failed"]
    return {record.id for record in kept if not _outdated(record)}


def _outdated(record: Record) -> bool:
    then = record.environment.get("method_code")
    if then is None or not isinstance(record.run, TrainingRun):
        return False
    name = record.run.method["name"]
    return name in methods.available() and methods.REGISTRY.code(name) != then


def _announce(jobs: list[Job], missing: list[Job], place: Place) -> None:
    counts = Counter(job.run.experiment for job in jobs)
    todo = Counter(job.run.experiment for job in missing)
    for name, count in counts.items():
        terminal.say(f"{name}: {count} runs, {count - todo[name]} recorded already, {todo[name]} to do")
    terminal.say(
        f"device {place.device}, {place.workers} worker{'s' * (place.workers > 1)}, data {place.data}"
    )


def _execute(jobs: list[Job], place: Place, retries: int, tracker: Tracker) -> list[Done]:
    if not jobs:
        return []
    ended: list[Done] = []
    notes: Counter[str] = Counter()
    started = time.perf_counter()
    try:
        with closing(execute_all(populations(jobs, place.here), place, retries)) as runs:
            for done in terminal.progress(runs, len(jobs), "runs"):
                ended.append(done)
                if done.note:
                    notes[done.note] += 1
                if not done.elsewhere:
                    tracker.log(done.record, done.job.folder)
                if done.record.status == "diverged":
                    terminal.warn(f"{_title(done.job)} diverged at step {done.record.diverged_at}")
    except KeyboardInterrupt:
        raise Stopped(
            f"stopped; {len(ended)} finished runs are recorded, the same command continues with the rest"
        ) from None
    for note, count in notes.items():
        terminal.warn(f"{note}: {count} were trained in smaller populations, or alone")
    others = sum(done.elsewhere for done in ended)
    shared = f" ({others} of them by another sweep)" if others else ""
    terminal.say(f"{len(ended)} runs in {time.perf_counter() - started:.0f} s{shared}")
    return ended


def _fingerprint(experiment: AnyExperiment, place: Place) -> str | None:
    if not isinstance(experiment, Experiment):
        return None
    return describe_data(experiment.task, place.here).fingerprint


def _draw_samples(experiment: AnyExperiment, place: Place, folder: Folder) -> None:
    if isinstance(experiment, Experiment):
        task = get_task(experiment.task, place.here)
        if samples := task.samples(16):
            figures.draw_samples(folder.path / "figures", samples, f"Training images: {task.dataset.name}")


def _title(job: Job) -> str:
    run = job.run
    lam = f" λ={run.lam:g}" if isinstance(run, TrainingRun) else ""
    return f"{run.experiment} {run.label}{lam} seed {run.seed}"


def _experiment_of(task: str, scale: str) -> str:
    for name in available():
        experiment = load(name, scale)
        if isinstance(experiment, Experiment) and experiment.task["name"] == task:
            return name
    raise UserError(f"no experiment of the suite uses the task {task!r}: write one for `scalpel sweep`")
