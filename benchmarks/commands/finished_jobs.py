"""What is done with jobs as they end: they are tracked, and what went wrong is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pandas as pd

from ..dashboard import Tracker
from ..execution import FinishedJob
from ..messages import Stopped, terminal


def collect(runs: Iterable[FinishedJob], tracker: Tracker) -> list[FinishedJob]:
    """Wait for jobs, send each to the tracker as it ends, and warn of what is not as it was asked for.

    Raises:
        Stopped: the person stopped the command.
    """
    ended: list[FinishedJob] = []
    notes: Counter[str] = Counter()
    try:
        for done in runs:
            ended.append(done)
            if done.note:
                notes[done.note] += 1
            if not done.elsewhere:
                tracker.log(done.record, done.job.folder)
            if done.record.status == "diverged":
                terminal.warn(f"{done.job.title} diverged at step {done.record.diverged_at}")
    except KeyboardInterrupt:
        raise Stopped(
            f"stopped; {len(ended)} finished runs are recorded, the same command continues with the rest"
        ) from None
    for note, count in notes.items():
        terminal.warn(f"{note}: {count} were trained in smaller populations, or alone")
    return ended


def tell_failures(ended: Iterable[FinishedJob]) -> int:
    """The runs that failed, with their tracebacks and in one table; the exit status."""
    failed = [done for done in ended if done.record.status == "failed"]
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
