"""Jobs behind a progress bar: each is tracked as it ends, and what went wrong is told."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import pandas as pd

from ..dashboard import Tracker
from ..execution import ExecutionOptions, FinishedJob, Job, execute_all, populations
from ..messages import Stopped, terminal
from ..records import RecordedSweep
from .forecast import Forecast


@dataclass
class Ended:
    """How jobs ended: how many, how many of them by another sweep, those that failed, and the last."""

    count: int = 0
    elsewhere: int = 0
    failed: list[FinishedJob] = field(default_factory=list)
    last: FinishedJob | None = None


def run_jobs(
    jobs: Sequence[Job],
    before: int,
    options: ExecutionOptions,
    retries: int,
    tracker: Tracker,
    told: Forecast | None = None,
    title: Callable[[], str] = lambda: "runs",
    watch: Callable[[Iterable[FinishedJob]], Iterable[FinishedJob]] = iter,
) -> Ended:
    """Run jobs behind a progress bar, and say how long they took.

    Args:
        jobs: to run.
        before: how many runs of the same command were recorded already.
        options: how they are executed.
        retries: how often a run is tried again when its worker died.
        tracker: what their records are sent to.
        told: what they will take, by which the bar tells the time that is left.
        title: what the bar says it is about, whenever a run ends.
        watch: passes on the jobs that end, and does with them what else there is to do.

    Raises:
        Stopped: the person stopped the command.
    """
    if not jobs:
        return Ended()
    started = time.perf_counter()
    groups = populations(jobs, options.in_this_process)
    work = told.seconds if told else dict.fromkeys((job.run.id for job in jobs), 1.0)
    with (
        closing(execute_all(groups, options, retries)) as runs,
        terminal.Bar(len(jobs), title(), sum(work.values()), told.total if told else None) as bar,
    ):

        def shown(runs: Iterable[FinishedJob]) -> Iterator[FinishedJob]:
            for done in runs:
                bar.advance(work[done.job.run.id], title())
                yield done

        ended = collect(shown(watch(runs)), tracker, before)
    shared = f" ({ended.elsewhere} of them by another sweep)" if ended.elsewhere else ""
    terminal.say(f"{ended.count} runs in {time.perf_counter() - started:.0f} s{shared}")
    return ended


def collect(runs: Iterable[FinishedJob], tracker: Tracker, before: int = 0) -> Ended:
    """Wait for jobs, send each to the tracker as it ends, and warn of what is not as it was asked for.

    Records are not kept: memory does not grow with the number of runs.

    Args:
        runs: the jobs as they end.
        tracker: what their records are sent to.
        before: how many runs of the same command were recorded already.

    Raises:
        Stopped: the person stopped the command.
    """
    ended = Ended()
    notes: Counter[str] = Counter()
    try:
        for done in runs:
            ended.count += 1
            ended.elsewhere += done.elsewhere
            ended.last = done
            if done.record.status == "failed":
                ended.failed.append(done)
            if done.note:
                notes[done.note] += 1
                if notes[done.note] == 1:
                    terminal.warn(f"{done.job.title}: {done.note}")
            if not done.elsewhere:
                tracker.log(done.record, done.job.folder)
            if done.record.status == "diverged":
                terminal.warn(f"{done.job.title} diverged at step {done.record.diverged_at}")
    except KeyboardInterrupt:
        now = ended.count - len(ended.failed)
        raise Stopped(
            f"stopped; {now} run{'s' * (now != 1)} finished now, {before + now} recorded in all; "
            "the same command continues with the rest"
        ) from None
    for note, count in notes.items():
        if count > 1:
            terminal.warn(f"{note} ({count} runs)")
    return ended


def warn_of_failed(sweep: RecordedSweep) -> None:
    """One line about the runs of a recorded sweep that failed: how many, and of which methods."""
    count = sum(record.status == "failed" for record in sweep.runs)
    if not count:
        return
    by_method = Counter(record.run.label for record in sweep.records if record.status == "failed")
    told = ", ".join(f"{own} of {label}" for label, own in by_method.most_common())
    terminal.warn(
        f"{(sweep.source or sweep).folder.path}: missing: {count} run{'s' * (count != 1)} failed ({told}); "
        "the same sweep tries them again"
    )


def tell_failures(ended: Ended) -> int:
    """The runs that failed, with their tracebacks and in one table; the exit status."""
    failed = ended.failed
    if not failed:
        return 0
    for done in failed:
        if done.traceback:
            terminal.warn(f"{done.job.title} failed: {done.record.reason}\n{done.traceback}")
    rows = [
        {"run": done.record.id, "of": done.job.title, "reason": (done.record.reason or "").splitlines()[0]}
        for done in failed
    ]
    terminal.table(
        f"missing: {len(failed)} runs failed; the same command tries them again", pd.DataFrame(rows)
    )
    return 3
