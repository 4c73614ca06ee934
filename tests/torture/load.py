"""How cost grows with the number of records, of runs, and of evaluations: never faster than they do."""

from __future__ import annotations

import io
import math
import os
import random
import sys
import tempfile
import time
import traceback
import unittest.mock
from collections.abc import Callable, Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

from scalpel_bench.benchmarks import figures
from scalpel_bench.benchmarks.cli import main
from scalpel_bench.benchmarks.commands.finished_jobs import collect
from scalpel_bench.benchmarks.dashboard import Tracker, tracker
from scalpel_bench.benchmarks.execution import (
    ExecutionOptions,
    FinishedJob,
    code_of,
    describe_data,
    execute_all,
)
from scalpel_bench.benchmarks.messages import terminal
from scalpel_bench.benchmarks.records import Folder, Record, write_manifest
from tests.benchmarks.runs import BOX, conditioning, jobs_of

SLACK = 1.5
"""How much more the last records may cost, each, than the first: what caches and other work disturb."""
NOTHING = {"seconds": 1.0, "MB": 10.0}
"""What is too little to be measured."""
GROWTH = 3.0
"""MB by which a sweep's process may grow: less than its records are."""
METHODS = ["sum", "bloop", "pcgrad", "mgda"]
RATES = [0.1, 0.5]
LAMS = 25
PAGE, FIGURE = 4e6, 10e6
"""Bytes of a page, whose numbers are at most `page_data.NUMBERS`, and of a figure, which has every point."""


def swept(folder: Folder, count: int) -> list[str]:
    """Fill a folder with about as many records, of runs that were never executed; their sweep's command."""
    lams, rates = [round(0.01 * 1.3**n, 9) for n in range(LAMS)], [str(rate) for rate in RATES]
    experiment = conditioning(lam=lams, axes={"training.lr": RATES})
    experiment = experiment.model_copy(
        update={"methods": {name: experiment.methods[name] for name in METHODS}}
    )
    data = describe_data(experiment.task, ExecutionOptions())
    seeds = math.ceil(count / len(experiment.plan(lambda settings: data)))
    experiment = experiment.model_copy(update={"seeds": seeds})
    runs = experiment.plan(lambda settings: data)
    folder.prepare()
    for run in runs:
        drawn = random.Random(run.id)
        main_loss, aux = (1 + 0.2 * drawn.random() for _ in range(2))
        losses = {"main": main_loss * math.exp(-2 * run.lam), "aux": 10 * run.lam * aux}
        rows = [
            {"step": step, "epoch": float(step), "train": losses, "validation": losses, "test": losses}
            for step in range(4)
        ]
        facts = {"code": code_of(run), "device": "cpu", "population": 1}
        record = Record(id=run.id, run=run, status="completed", environment=facts, trajectory=rows)
        folder.file(run.id).write_text(record.sealed(), encoding="utf-8")
    write_manifest(folder, experiment, runs[0].data.fingerprint, "embedded")
    grid = ["--lam", ",".join(map(str, lams)), "--lr", ",".join(rates), "--seeds", str(seeds)]
    return ["sweep", "conditioning", "--scale", "smoke", "--methods", ",".join(METHODS), *grid]


def loaded(most: int = 20_000) -> Iterator[dict[str, Any]]:
    """A row for each command on a folder of a twentieth, a quarter and all of so many records."""
    costs: dict[str, list[dict[str, float]]] = {}
    counts = []
    for count in (most // 20, most // 4, most):
        with tempfile.TemporaryDirectory() as base:
            folder = Folder(Path(base) / "conditioning" / "smoke")
            sweep = swept(folder, count)
            counts.append(sum(1 for _ in folder.runs.iterdir()))
            path = str(folder.path)
            commands: dict[str, Callable[[], Any]] = {
                "report without figures": partial(_undrawn, "report", path),
                "dry run of a sweep": partial(_scalpel, *sweep, "--results", base, "--dry-run"),
                "verify": partial(_scalpel, "results", "verify", path),
                "dashboard, its sender apart": partial(_sent_by_none, path),
            }
            for name, command in commands.items():
                costs.setdefault(name, []).append(cost(command))
    for name, measured in costs.items():
        yield _row(f"{name} over records", counts, measured)


def _scalpel(*words: str) -> None:
    """A command, in this process."""
    with unittest.mock.patch.object(sys, "argv", ["scalpel", *words]):
        try:
            main()
        except SystemExit as end:
            if end.code:
                raise RuntimeError(f"status {end.code}") from end


def _undrawn(*words: str) -> None:
    """A command, whose figures are not drawn."""
    with unittest.mock.patch.object(figures, "draw"):
        _scalpel(*words)


def _sent_by_none(path: str) -> None:
    """`scalpel dashboard` with a sender that says at once that it has sent."""
    answers = (
        "import json, sys; sys.stdin.readline(); print('{}', flush=True)\n"
        "for line in sys.stdin: print(json.dumps({'sent': json.loads(line)['start']['id'], 'entity': 'e'}))"
    )
    start = tracker.subprocess.Popen

    def popen(command: list[str], **options: Any) -> Any:
        return start([sys.executable, "-c", answers], **options)

    with unittest.mock.patch.object(tracker.subprocess, "Popen", popen):
        _undrawn("dashboard", path, "--wandb", "offline")


def dashboards(most: int = 360) -> Iterator[dict[str, Any]]:
    """A row: W&B's own client, offline, on folders of a sixth, a third and all of so many runs."""
    counts, measured = [], []
    for count in (most // 6, most // 3, most):
        with tempfile.TemporaryDirectory() as base, chdir(base):
            folder = Folder(Path(base) / "results" / "conditioning" / "smoke")
            swept(folder, most)
            for file in sorted(folder.runs.iterdir())[count:]:
                file.unlink()
            counts.append(count)
            command = partial(_undrawn, "dashboard", str(folder.path), "--wandb", "offline")
            measured.append(cost(command))
    yield _row("dashboard offline, W&B's client and all", counts, measured)


def cost(action: Callable[[], Any]) -> dict[str, float]:
    """Seconds of processors, and memory beyond what was there before, of what is done in a fork.

    Raises:
        RuntimeError: it raises; its last line.
    """
    before = _fork(lambda: None)["MB"]
    spent = _fork(action)
    return {"seconds": spent["seconds"], "MB": spent["MB"] - before}


def _fork(action: Callable[[], Any]) -> dict[str, float]:
    reader, writer = os.pipe()
    if not (child := os.fork()):
        os.close(reader)
        try:
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                terminal.console.file = terminal._errors.file = io.StringIO()
                action()
        except BaseException:
            os.write(writer, traceback.format_exc().encode()[-4000:])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as problem:
        said = problem.read().decode(errors="replace")
    _, _, used = os.wait4(child, 0)
    if said:
        raise RuntimeError(said)
    return {"seconds": used.ru_utime + used.ru_stime, "MB": used.ru_maxrss / 1024}


def _row(what: str, counts: list[int], measured: list[dict[str, float]]) -> dict[str, Any]:
    """Bad is what costs more a piece between the last two than between the first two."""
    said, bad = [], 0
    for key, unit, factor in (("seconds", "ms", 1000.0), ("MB", "kB", 1024.0)):
        small, middle, large = (of[key] for of in measured)
        first = (middle - small) / (counts[1] - counts[0])
        last = (large - middle) / (counts[2] - counts[1])
        bad += large - middle > SLACK * max(first, 0.0) * (counts[2] - counts[1]) + NOTHING[key]
        said.append(f"{factor * first:.2g} and {factor * last:.2g} {unit} each")
    sizes = ", ".join(f"{count:,}" for count in counts)
    total = f"{measured[-1]['seconds']:.0f} s and {measured[-1]['MB']:.0f} MB at most"
    return {"what": f"{what} ({sizes}): {', '.join(said)}, {total}", "trials": len(counts), "bad": bad}


def many_runs(count: int = 1000) -> Iterator[dict[str, Any]]:
    """A row: a sweep of runs of one step; the memory and open files of its process do not grow."""
    with tempfile.TemporaryDirectory() as base:
        folder = Folder(Path(base))
        folder.prepare()
        jobs = jobs_of(
            conditioning(seeds=math.ceil(count / 10), training={"epochs": 1, "evaluations": 1}), folder
        )
        jobs = jobs[:count]
        seen: list[tuple[float, int, int]] = []
        own = 0.0

        def watched() -> Iterator[FinishedJob]:
            nonlocal own
            for done in execute_all([[job] for job in jobs], ExecutionOptions(workers=1)):
                own += sum(done.record.timings.values())
                yield done
                seen.append((time.perf_counter(), _memory(), _files()))

        ended = collect(watched(), Tracker("disabled", Path(base)))
        missing = len(jobs) - len(folder.read()[0])
    (began, least, files), (finished, most, left) = seen[len(seen) // 10], seen[-1]
    beside = 1000 * ((finished - began) / (len(seen) - len(seen) // 10) - own / len(seen))
    grown = (most - least) / 2**20
    bad = missing + len(ended.failed) + (grown > GROWTH) + (left > files)
    kept = f"memory {grown:+.1f} MB, files {left - files:+d}"
    what = f"runs of one step: {beside:.0f} ms each beside their own, {kept}"
    yield {"what": what, "trials": len(jobs), "bad": bad}


def _memory() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _files() -> int:
    """How many files this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def long_trajectory(evaluations: int = 100_000) -> Iterator[dict[str, Any]]:
    """A row for each figure of trajectories: a long run is drawn, on a page of bounded size."""
    for figure in ("paths", "trajectories"):
        with tempfile.TemporaryDirectory() as base:
            folder = Folder(Path(base) / "conditioning" / "smoke")
            folder.prepare()
            experiment = conditioning(figure=figure, lam=[0.1], box=BOX)
            for n, job in enumerate(jobs_of(experiment, folder)):
                rows = _walk(random.Random(n), 10 if n else evaluations)
                made = Record(id=job.run.id, run=job.run, status="completed", environment={}, trajectory=rows)
                folder.write(made)
            write_manifest(folder, experiment, "0" * 16)
            spent = cost(partial(_scalpel, "report", str(folder.path)))
            page = (folder.path / "report.html").stat().st_size
            drawn = max(file.stat().st_size for file in (folder.path / "figures").iterdir())
        sizes = f"page {page / 1e6:.1f} MB, figures up to {drawn / 1e6:.1f} MB"
        used = f"{spent['seconds']:.0f} s, {spent['MB']:.0f} MB"
        what = f"{figure} of {evaluations:,} evaluations: {sizes}, {used}"
        yield {"what": what, "trials": 1, "bad": int(page > PAGE) + int(drawn > FIGURE)}


def _walk(draw: random.Random, count: int) -> list[dict[str, Any]]:
    """Noisy losses and parameters, which no drawing simplifies."""
    rows = []
    for step in range(count):
        losses = {
            key: draw.random() / (1 + 5 * step / count) for key in ("main", "aux", "a", "b", "distance")
        }
        rows.append({"step": step, "epoch": float(step), "train": losses, "test": losses})
    return rows
