"""``scalpel sweep`` and ``scalpel reproduce``: run what is not recorded yet, then derive and show."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from ... import tasks
from ...words import first_line
from ..analysis import Analysis
from ..analysis.protocols import REFERENCE
from ..dashboard import Tracker
from ..execution import (
    ExecutionOptions,
    FinishedJob,
    Job,
    check_executor,
    get_task,
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
from ..report import FIGURES, SAMPLES
from .finished_jobs import run_jobs, tell_failures
from .forecast import announce_claims, announce_cost, forecast
from .planning import announce, fingerprint_of, plan_jobs, recorded
from .report import make_page, report_sweep, say_answers


def sweep(
    experiments: list[AnyExperiment],
    options: ExecutionOptions,
    results: Path,
    dry_run: bool,
    wandb: str,
    retries: int = 2,
    brief: bool = False,
) -> int:
    """Run what is not recorded yet, then derive tables, figures and the report. Returns the exit status.

    Args:
        experiments: at one scale.
        options: how they are executed.
        results: a folder for each experiment comes under it.
        dry_run: whether to stop when it is said what would be run.
        wandb: disabled, offline or online.
        retries: how often a run is tried again when its worker died.
        brief: whether to say first what it will take and can answer, to draw each experiment's figures when
            its last run ends, and to end in a few lines.

    Raises:
        UserError: what is asked for is wrong, or a folder cannot be written.
    """
    experiments = _in_order(experiments)
    folders = {e.name: Folder(results / e.name / e.scale) for e in experiments}
    _check_sources(experiments, folders)
    jobs = [job for e in experiments for job in plan_jobs(e, options, folders[e.name])]
    jobs = [replace(job, stamp=job.folder.stamp(job.run.id)) for job in jobs]
    found = {folder: folder.content() for folder in folders.values()}
    bad = {file for content in found.values() for file in content.bad_files}
    jobs = [replace(job, stamp=None) if job.file in bad else job for job in jobs]
    known = recorded(found)
    missing = [job for job in jobs if job.run.id not in known]
    announce(jobs, missing, options)
    if brief:
        announce_claims(experiments)
    if dry_run:
        return 0
    told = forecast(missing, options) if brief and missing else None
    if told:
        announce_cost(told, len(missing), results)
    check_executor(options)
    with Tracker(wandb, results) as tracker:
        for e in experiments:
            found[folders[e.name]] = _prepare(e, options, folders[e.name], found[folders[e.name]])
        derived = _Derived(experiments, folders, found, missing, options, tracker, brief)
        before = len(jobs) - len(missing)
        ended = run_jobs(
            missing, before, options, retries, tracker, told, lambda: derived.running, derived.watch
        )
        analyses = derived.all()
    alone = folders[experiments[0].name].path / "report.html"
    over_all = results / f"report-{experiments[0].scale}.html"
    if brief:
        say_answers(analyses, results)
    make_page(alone if len(experiments) == 1 else over_all, analyses, [])
    for e in experiments:
        _propose_box(e, derived.loaded[folders[e.name].place], results)
    return tell_failures(ended)


def _in_order(experiments: Iterable[AnyExperiment]) -> list[AnyExperiment]:
    """The paper's order; what is computed from the runs of others comes after them."""
    places = {e.name: e.place for e in experiments}

    def key(e: AnyExperiment) -> tuple[tuple[bool, bool, int, str, str], bool]:
        source = places.get(e.source, e.place) if isinstance(e, MixedLossExperiment) else e.place
        return max(e.place, source), isinstance(e, MixedLossExperiment)

    return sorted(experiments, key=key)


class _Derived:
    """The analysis of each experiment with its files, made once: where asked for when its last run ends."""

    def __init__(
        self,
        experiments: list[AnyExperiment],
        folders: dict[str, Folder],
        found: Mapping[Folder, Content],
        missing: list[Job],
        options: ExecutionOptions,
        tracker: Tracker,
        brief: bool,
    ) -> None:
        self.experiments, self.folders, self.found = experiments, folders, found
        self.options, self.tracker, self.brief = options, tracker, brief
        self.left = Counter(job.folder for job in missing)
        self.changed = set(self.left)
        self.loaded: dict[Path, RecordedSweep] = {}
        self.made: dict[str, Analysis] = {}

    @property
    def running(self) -> str:
        """The first experiment that has runs to do."""
        return next((e.name for e in self.experiments if self.left[self.folders[e.name]]), "")

    def watch(self, runs: Iterable[FinishedJob]) -> Iterator[FinishedJob]:
        """Pass on the runs that end, and draw the figures of experiments whose last run has ended.

        What cannot be drawn then is left to the end, so that the other runs go on.
        """
        for done in runs:
            self.left[done.job.folder] -= 1
            yield done
            if self.brief and not self.left[done.job.folder]:
                name = done.job.run.experiment
                try:
                    self._make(next(e for e in self.experiments if e.name == name))
                    terminal.say(f"{name}: its figures are in {done.job.folder.path / FIGURES}")
                except Exception as error:
                    terminal.warn(f"{name} is not drawn yet: {first_line(error)}")

    def all(self) -> list[Analysis]:
        """Those that there are, and the others made now, in order."""
        for e in self.experiments:
            if e.name not in self.made:
                self._make(e)
        return [self.made[e.name] for e in self.experiments]

    def _make(self, e: AnyExperiment) -> None:
        folder = self.folders[e.name]
        changed = folder in self.changed
        if changed or not (folder.path / FIGURES / f"{SAMPLES}.pdf").exists():
            _draw_samples(e, self.options, folder)
        self.loaded[folder.place] = load_sweep(folder, None if changed else self.found[folder], self.loaded)
        self.made[e.name] = report_sweep(self.loaded[folder.place], self.brief)
        self.tracker.log_sweep(self.made[e.name])


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
