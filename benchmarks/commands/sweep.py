"""``scalpel sweep`` and ``scalpel reproduce``: run what is not recorded yet, then derive and show."""

from __future__ import annotations

import shlex
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pandas as pd

from ... import tasks
from ..analysis.protocols import REFERENCE
from ..analysis.verdicts import corrected
from ..dashboard import Tracker
from ..execution import (
    ExecutionOptions,
    Job,
    execute_all,
    get_task,
    populations,
)
from ..experiments.loading import AnyExperiment
from ..experiments.schema import Experiment
from ..experiments.simulated import MixedLossExperiment
from ..messages import terminal
from ..records import (
    Content,
    Folder,
    RecordedSweep,
    load_sweep,
    source_of,
    write_manifest,
)
from ..report import FIGURES
from .finished_jobs import Ended, collect, tell_failures
from .planning import announce, fingerprint_of, plan_jobs, recorded
from .report import make_page, report_sweep, show_verdicts


def sweep(
    experiments: list[AnyExperiment],
    options: ExecutionOptions,
    results: Path,
    dry_run: bool,
    wandb: str,
    retries: int = 2,
) -> int:
    """Run what is not recorded yet, then derive tables, figures and the report. Returns the exit status.

    Args:
        experiments: at one scale.
        options: how they are executed.
        results: a folder for each experiment comes under it.
        dry_run: whether to stop when it is said what would be run.
        wandb: disabled, offline or online.
        retries: how often a run is tried again when its worker died.

    Raises:
        UserError: what is asked for is wrong, or a folder cannot be written.
    """
    experiments = sorted(experiments, key=lambda e: isinstance(e, MixedLossExperiment))
    folders = {e.name: Folder(results / e.name / e.scale) for e in experiments}
    _check_sources(experiments, folders)
    jobs = [job for e in experiments for job in plan_jobs(e, options, folders[e.name])]
    jobs = [replace(job, stamp=job.folder.stamp(job.run.id)) for job in jobs]
    found = {folder: folder.content() for folder in folders.values()}
    if not dry_run:
        bad = {file for content in found.values() for file in content.bad_files}
        jobs = [replace(job, stamp=None) if job.file in bad else job for job in jobs]
        for e in experiments:
            found[folders[e.name]] = _prepare(e, options, folders[e.name], found[folders[e.name]])
    known = recorded(found)
    missing = [job for job in jobs if job.run.id not in known]
    announce(jobs, missing, options)
    if dry_run:
        return 0
    with Tracker(wandb, results) as tracker:
        ended = _execute(missing, options, retries, tracker)
        changed = {job.folder for job in missing}
        loaded: dict[Path, RecordedSweep] = {}
        analyses = []
        for e in experiments:
            folder = folders[e.name]
            if folder in changed or not (folder.path / FIGURES / "samples.pdf").exists():
                _draw_samples(e, options, folder)
            loaded[folder.place] = load_sweep(folder, None if folder in changed else found[folder], loaded)
            analyses.append(report_sweep(loaded[folder.place]))
            tracker.log_sweep(analyses[-1])
    if len(analyses) > 1:
        show_verdicts("all experiments", corrected(pd.concat([analysis.claims for analysis in analyses])))
    alone = folders[experiments[0].name].path / "report.html"
    over_all = results / f"report-{experiments[0].scale}.html"
    make_page(alone if len(experiments) == 1 else over_all, analyses, [])
    for e in experiments:
        _propose_box(e, loaded[folders[e.name].place], results)
    return tell_failures(ended)


def _check_sources(experiments: list[AnyExperiment], folders: dict[str, Folder]) -> None:
    """Say which experiments are computed from the runs of others, and refuse where these are not there."""
    for e in experiments:
        if isinstance(e, MixedLossExperiment):
            terminal.say(f"{e.name}: computed from the runs of {e.source}")
            if e.source not in folders:
                source_of(folders[e.name], e)


def _prepare(
    experiment: AnyExperiment, options: ExecutionOptions, folder: Folder, content: Content
) -> Content:
    """Make a folder that records can be written to; what is there and is no record is set aside."""
    folder.prepare()
    for line in content.rejected[: len(content.bad_files)]:
        terminal.warn(f"set aside: {folder.runs.name}/{line}")
    source = tasks.check_source(options.data)
    write_manifest(folder, experiment, fingerprint_of(experiment, options), source, options.data)
    return folder.set_aside(content)


def _execute(jobs: list[Job], options: ExecutionOptions, retries: int, tracker: Tracker) -> Ended:
    if not jobs:
        return Ended()
    started = time.perf_counter()
    groups = populations(jobs, options.in_this_process)
    with closing(execute_all(groups, options, retries)) as runs:
        ended = collect(terminal.progress(runs, len(jobs), "runs"), tracker)
    shared = f" ({ended.elsewhere} of them by another sweep)" if ended.elsewhere else ""
    terminal.say(f"{ended.count} runs in {time.perf_counter() - started:.0f} s{shared}")
    return ended


def _propose_box(e: AnyExperiment, sweep: RecordedSweep, results: Path) -> None:
    """Say what proposes a box for the user's own experiment that has none, once its `sum` has run."""
    if not isinstance(e, Experiment) or e.file is None or e.box is not None or not e.compares_fronts:
        return
    if any(record.run.label == REFERENCE for record in sweep.records):
        words = ["scalpel", "new", "box", str(e.file)]
        words += ["--scale", e.scale] * (e.scale != "laptop")
        words += ["--results", str(results)] * (results != Path("results"))
        terminal.say(
            f"{e.name} has no box yet, so no fronts are compared; next: "
            f"{shlex.join(words)} >> {shlex.quote(str(e.file))}"
        )


def _draw_samples(experiment: AnyExperiment, options: ExecutionOptions, folder: Folder) -> None:
    if isinstance(experiment, Experiment):
        task = get_task(experiment.task, options.in_this_process)
        if samples := task.samples(16):
            from ..figures import draw_samples

            draw_samples(folder.path / FIGURES, samples, f"Training images: {task.dataset.name}")
