"""Sweeps whose workers die, and sweeps that share a folder, on real processes."""

import errno
import itertools
import os
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import pytest

from scalpel_bench import methods
from scalpel_bench.benchmarks.execution import ExecutionOptions, execute_all, supervision
from scalpel_bench.benchmarks.execution.executors import local
from scalpel_bench.benchmarks.execution.job import FinishedJob
from scalpel_bench.benchmarks.messages.errors import UserError
from scalpel_bench.benchmarks.records import Folder
from tests.benchmarks.runs import conditioning, jobs_of, record

CHANGER = """
from dataclasses import dataclass
from typing import ClassVar
import torch
from scalpel_bench.methods import Method, Sum

@dataclass(frozen=True)
class Changer(Method):
    name: ClassVar[str] = "changer"

    def coefficients(self, gram, state, losses):
        Sum.coefficients = lambda self, gram, state, losses: torch.zeros_like(gram[..., 0])
        return torch.ones_like(gram[..., 0])
"""


def test_a_killed_worker_costs_only_its_run_which_is_tried_again(killer, folder) -> None:
    jobs = jobs_of(killer(times=1), folder)
    ended = {
        done.record.id: done.record
        for done in execute_all([[job] for job in jobs], ExecutionOptions(workers=2))
    }
    assert {record.status for record in ended.values()} == {"completed"}
    lost = [record for record in ended.values() if record.lost]
    assert [record.run.label for record in lost] == ["killer"]
    assert lost[0].lost == ["its worker was killed by SIGKILL (out of memory?)"]
    records, rejected = folder.read()
    assert {record.id: record for record in records} == ended
    assert not rejected
    assert list(folder.runs.glob("*.lease")) == []


def test_a_run_that_kills_every_worker_fails_and_the_others_complete(killer, folder) -> None:
    jobs = jobs_of(killer(times=99, number=11), folder)[1::2]
    ended = list(execute_all([[job] for job in jobs], ExecutionOptions(workers=2), retries=1))
    failed = {done.record.run.label: done.record for done in ended if done.record.status == "failed"}
    assert list(failed) == ["killer"]
    assert failed["killer"].reason == "lost 2 times: its worker was killed by SIGSEGV"
    assert failed["killer"].lost == ["its worker was killed by SIGSEGV"] * 2
    assert sum(done.record.status == "completed" for done in ended) == len(jobs) - 1


def test_a_worker_that_cannot_be_started_is_a_failure_in_one_line(folder, monkeypatch) -> None:
    def start(process) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(local.CONTEXT.Process, "start", start)
    (done,) = execute_all([jobs_of(conditioning(), folder)[:1]], ExecutionOptions(), retries=0)
    assert done.record.reason == "no worker can be started: Resource temporarily unavailable"


class Still:
    """An executor without processes: nothing of it has to be asked to stop."""

    reports_steps = True

    def silence(self, running) -> float:
        return 0.0

    def stop(self) -> None:
        pass

    def close(self) -> None:
        pass


def test_runs_that_end_while_a_sweep_stops_are_recorded_and_said(folder, capfd, monkeypatch) -> None:
    class AtTheLastMoment(Still):
        slots = 2
        running: ClassVar[list[Any]] = []

        def submit(self, jobs) -> Future:
            self.running.append((Future(), jobs))
            if len(self.running) == 2:
                self.end(0)
            return self.running[-1][0]

        def end(self, number: int) -> None:
            future, (job,) = self.running[number]
            future.set_result([FinishedJob(job, record(job.run, 1.0, 1.0))])

        def stop(self) -> None:
            self.end(1)

    monkeypatch.setattr(supervision.executors, "create", lambda options, on_step: AtTheLastMoment())
    runs = execute_all([[job] for job in jobs_of(conditioning(), folder)[:2]], ExecutionOptions())
    next(runs)
    runs.close()
    assert len(folder.read()[0]) == 2
    assert "1 run ended while stopping; recorded, and not counted below" in capfd.readouterr().err


def test_all_runs_of_a_population_are_recorded_before_the_sweep_hears_of_the_first(
    folder, monkeypatch
) -> None:
    """And its checkpoint, which has the first run's name, goes last: an error in between keeps it."""

    class AtOnce(Still):
        slots = 1

        def submit(self, jobs) -> Future:
            outcome: Future = Future()
            outcome.set_result([FinishedJob(job, record(job.run, 1.0, 1.0)) for job in jobs])
            return outcome

    monkeypatch.setattr(supervision.executors, "create", lambda options, on_step: AtOnce())
    jobs = jobs_of(conditioning(), folder)[:3]
    folder.prepare()
    checkpoint = folder.checkpoint(jobs[0].run.id)
    checkpoint.write_text("all three")
    written, write = [], Folder.write

    def watched(self, each) -> None:
        written.append((each.id, checkpoint.exists()))
        write(self, each)

    monkeypatch.setattr(Folder, "write", watched)
    runs = execute_all([jobs], ExecutionOptions())
    assert next(runs).job == jobs[0]
    runs.close()
    assert written == [(job.run.id, True) for job in reversed(jobs)]
    assert len(folder.read()[0]) == 3
    assert not checkpoint.exists()


def test_the_start_of_a_worker_is_no_silence_of_its_run(folder, monkeypatch) -> None:
    """Nor are the hours in which it had nothing to do."""
    executor = local.LocalExecutor(ExecutionOptions(workers=1))
    started, go_on = threading.Event(), threading.Event()

    def slow(self) -> None:
        started.set()
        go_on.wait()
        raise local.Lost("enough", memory=False)

    monkeypatch.setattr(local._Worker, "_start", slow)
    (worker,) = executor._workers
    worker.heard = time.monotonic() - 3600
    running = executor.submit(jobs_of(conditioning(), folder)[:1])
    started.wait()
    assert executor.silence(running) <= 0
    go_on.set()
    with pytest.raises(local.Lost):
        running.result()
    executor.close()


def test_a_population_that_may_have_run_out_of_memory_is_split(killer, folder) -> None:
    jobs = jobs_of(killer(times=1), folder)
    ended = list(execute_all([jobs], ExecutionOptions(), retries=0))
    assert [done.record.status for done in ended] == ["completed"] * 4
    assert all(len(done.record.lost) == 1 for done in ended)
    assert {done.job.run.id for done in ended} == {job.run.id for job in jobs}


def test_a_run_that_hangs_is_named_and_fails_and_the_others_go_on(killer, folder, monkeypatch, capfd) -> None:
    monkeypatch.setattr(supervision, "SILENT", 1.0)
    jobs = jobs_of(killer(times=99, number=0), folder)
    options = ExecutionOptions(run_timeout=3)
    ended = {done.job.run.label: done.record for done in execute_all([jobs[1:3]], options)}
    assert ended["sum"].status == "completed"
    assert ended["sum"].lost == ["made no step for 3 s"]
    assert (ended["killer"].status, ended["killer"].reason) == ("failed", "made no step for 3 s")
    assert f"{jobs[2].title} has made no step for " in capfd.readouterr().err


def test_where_steps_are_not_reported_only_a_run_that_takes_too_long_is_named(
    folder, monkeypatch, capfd
) -> None:
    class Cluster(Still):
        slots = 1
        reports_steps = False
        running: ClassVar[list[Future]] = []
        silences: ClassVar[list[float]] = [200.0, 900.0]

        def submit(self, jobs) -> Future:
            self.running.append(Future())
            return self.running[0]

        def silence(self, running) -> float:
            return self.silences.pop(0)

        def kill(self, running) -> None:
            running.set_exception(local.Lost("killed", memory=False))

    monkeypatch.setattr(supervision, "POLL", 0.0)
    monkeypatch.setattr(supervision.executors, "create", lambda options, on_step: Cluster())
    jobs = jobs_of(conditioning(), folder)[:1]
    (done,) = execute_all([jobs], ExecutionOptions(run_timeout=600))
    assert done.record.reason == "had not ended after 600 s"
    assert "no step" not in capfd.readouterr().err


def test_what_a_method_of_others_does_to_its_process_ends_with_its_run(tmp_path, folder) -> None:
    file = tmp_path / "changer.py"
    file.write_text(CHANGER)
    made = conditioning(lam=[0.1], methods={"changer": {"name": f"{file}:Changer"}})
    jobs = {job.run.label: job for job in jobs_of(made, folder) if job.run.label in ("changer", "sum")}
    both = [[jobs["changer"]], [jobs["sum"]]]
    beside = {done.job.run.label: done.record for done in execute_all(both, ExecutionOptions())}
    folder.file(jobs["sum"].run.id).unlink()
    (alone,) = execute_all([[jobs["sum"]]], ExecutionOptions())
    assert beside["sum"].trajectory == alone.record.trajectory
    methods.REGISTRY.remove("changer")
    methods.REGISTRY._files.clear()


def test_a_clock_that_jumps_ends_no_run(folder, monkeypatch) -> None:
    hours = itertools.count(0, 3600)
    monkeypatch.setattr(time, "time", lambda: 1e9 + next(hours) * (-1) ** next(hours))
    jobs = jobs_of(conditioning(lam=[0.1]), folder)[:2]
    ended = list(execute_all([jobs], ExecutionOptions(run_timeout=60)))
    assert [(done.record.status, done.record.lost) for done in ended] == [("completed", [])] * 2


def test_two_sweeps_share_the_runs_of_one_folder(folder) -> None:
    jobs = jobs_of(conditioning(lam=[0.1, 1.0], seeds=2), folder)

    def sweep() -> list:
        return list(execute_all([[job] for job in jobs], ExecutionOptions()))

    with ThreadPoolExecutor(2) as threads:
        both = [future.result() for future in [threads.submit(sweep) for _ in range(2)]]
    own = [{done.job.run.id for done in ended if not done.elsewhere} for ended in both]
    assert [len(ended) for ended in both] == [len(jobs)] * 2
    assert len(own[0]) + len(own[1]) == len(jobs)
    assert own[0] | own[1] == {job.run.id for job in jobs}
    assert {f.suffix for f in folder.runs.iterdir() if not f.name.startswith(".")} == {".json"}


def test_runs_recorded_since_they_were_planned_are_not_executed_again(folder) -> None:
    jobs = jobs_of(conditioning(lam=[0.1]), folder)[:2]
    list(execute_all([[job] for job in jobs], ExecutionOptions()))
    again = execute_all([[job] for job in jobs], ExecutionOptions())
    assert [done.elsewhere for done in again] == [True] * 2


def test_a_folder_deleted_in_mid_sweep_is_one_clear_error(folder) -> None:
    jobs = jobs_of(conditioning(lam=[0.1, 1.0]), folder)
    with closing(execute_all([[job] for job in jobs], ExecutionOptions())) as runs:
        next(runs)
        for file in folder.runs.iterdir():
            file.unlink()
        folder.runs.rmdir()
        with pytest.raises(UserError, match=r"runs cannot be written: No such file"):
            list(runs)
    assert not folder.runs.exists()


def test_a_full_disk_is_one_clear_error_and_leaves_no_half_record(folder, monkeypatch) -> None:
    jobs = jobs_of(conditioning(lam=[0.1]), folder)

    def full(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="runs cannot be written: No space left on device"):
        list(execute_all([[job] for job in jobs], ExecutionOptions()))
    assert [f for f in Path(folder.runs).iterdir() if not f.name.startswith(".leases")] == []
