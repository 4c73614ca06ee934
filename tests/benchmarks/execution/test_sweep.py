"""Sweeps on real worker processes."""

import gc
import json
import weakref
from collections.abc import Iterator

import pytest
import torch

from scalpel_bench.benchmarks.commands.finished_jobs import collect
from scalpel_bench.benchmarks.dashboard import Tracker
from scalpel_bench.benchmarks.execution import (
    ExecutionOptions,
    FinishedJob,
    Job,
    describe_data,
    execute,
    execute_all,
    get_task,
)
from scalpel_bench.benchmarks.execution.options import on_gpus
from scalpel_bench.benchmarks.messages.errors import Stopped, UserError
from scalpel_bench.benchmarks.records import Folder, Record
from tests.benchmarks.runs import conditioning, plan, record


@pytest.fixture
def jobs(tmp_path) -> list[Job]:
    folder = Folder(tmp_path)
    folder.prepare()
    return [Job(run, folder) for run in plan(conditioning(lam=[0.1, 1.0]))]


def test_worker_processes_record_what_a_single_process_does(jobs, tmp_path) -> None:
    together = {
        done.record.id: done.record
        for done in execute_all([(job,) for job in jobs], ExecutionOptions(workers=2))
    }
    assert {record.environment["threads"] for record in together.values()} == {1}
    files = {f.stem for f in (tmp_path / "runs").iterdir()}
    assert files == {job.run.id for job in jobs}
    for job in jobs[:4]:
        alone = execute([job], ExecutionOptions())[0].record
        assert alone.trajectory == together[job.run.id].trajectory
        assert alone.status == "completed"


def test_a_run_has_the_room_on_a_gpu_that_it_takes() -> None:
    assert [on_gpus(*of) for of in ((2, 0.4), (2, 0.5), (1, 0.07), (3, 1.0), (1, 1 / 3))] == [4, 4, 14, 3, 3]


def test_a_run_has_one_thread_whatever_the_workers_unless_it_says_otherwise(jobs) -> None:
    two = jobs[0].run.model_copy(update={"training": jobs[0].run.training.model_copy(update={"threads": 2})})
    assert two.id != jobs[0].run.id
    found = {}
    for workers in (1, 2):
        both = [[jobs[0]], [Job(two, jobs[0].folder)]]
        for done in execute_all(both, ExecutionOptions(workers=workers)):
            found[workers, done.record.id] = done.record.environment["threads"]
            jobs[0].folder.file(done.record.id).unlink()
    assert {(run, threads) for (_, run), threads in found.items()} == {(jobs[0].run.id, 1), (two.id, 2)}


def test_a_run_that_raises_is_recorded_as_failed_and_the_sweep_goes_on(jobs) -> None:
    broken = jobs[0].run.model_copy(update={"task": {"name": "quadratic", "features": -1}})
    ended = list(execute_all([[Job(broken, jobs[0].folder)], [jobs[1]], [jobs[2]]], ExecutionOptions()))
    assert [done.record.status for done in ended] == ["failed", "completed", "completed"]
    assert ended[0].record.reason.startswith("ValueError: features must be at least 1")
    assert "Traceback" in ended[0].traceback


def test_an_unwritable_folder_stops_the_sweep_with_one_error(jobs, tmp_path) -> None:
    (tmp_path / "runs").rmdir()
    with pytest.raises(UserError, match="cannot be written"):
        list(execute_all([(job,) for job in jobs], ExecutionOptions(workers=2)))


def test_data_is_loaded_once_per_process() -> None:
    place = ExecutionOptions()
    settings = {"name": "smooth_mlp", "hidden": [8]}
    assert get_task(settings, place) is get_task(dict(settings), place)
    assert describe_data(settings, place).name == "scikit-learn digits"


def test_records_are_plain_json_without_what_json_lacks(jobs, tmp_path) -> None:
    list(execute_all([[jobs[0]]], ExecutionOptions()))

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    (file,) = (tmp_path / "runs").iterdir()
    record = json.loads(file.read_text(), parse_constant=refuse)
    assert record["schema_version"] == 1
    assert record["environment"]["torch"] == torch.__version__
    assert record["run"]["method"]["name"] == "sum"


@pytest.mark.parametrize(("status", "told"), [("completed", "1 run finished"), ("failed", "0 runs finished")])
def test_a_stopped_command_says_what_is_recorded(jobs, tmp_path, status, told) -> None:
    def runs() -> Iterator[FinishedJob]:
        yield FinishedJob(jobs[0], record(jobs[0].run, 0.1, 0.2, status))
        raise KeyboardInterrupt

    total = 5 + (status == "completed")
    with pytest.raises(Stopped, match=f"^stopped; {told} now, {total} recorded in all; the same command"):
        collect(runs(), Tracker("disabled", tmp_path), before=5)


def test_records_of_runs_that_ended_are_not_kept(jobs, tmp_path) -> None:
    kept: list[weakref.ref[Record]] = []

    def runs() -> Iterator[FinishedJob]:
        for job in jobs:
            status = "failed" if job is jobs[2] else "completed"
            done = FinishedJob(job, record(job.run, 0.1, 0.2, status), elsewhere=job is jobs[1])
            kept.append(weakref.ref(done.record))
            yield done

    ended = collect(runs(), Tracker("disabled", tmp_path))
    gc.collect()
    assert (ended.count, ended.elsewhere) == (len(jobs), 1)
    assert [done.job for done in ended.failed] == [jobs[2]]
    assert [n for n, ref in enumerate(kept) if ref()] == [2, len(jobs) - 1]
