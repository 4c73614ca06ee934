"""Runs that are cut off go on to the bit."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scalpel_bench import tasks
from scalpel_bench.benchmarks.execution import ExecutionOptions, execute, worker
from scalpel_bench.benchmarks.execution import job as planned
from scalpel_bench.benchmarks.experiments.loading import load
from scalpel_bench.benchmarks.experiments.schema import Experiment
from scalpel_bench.benchmarks.experiments.settings import DataRecord, TrainingRun
from scalpel_bench.benchmarks.messages.errors import UserError
from scalpel_bench.benchmarks.records import Folder
from scalpel_bench.benchmarks.training import Checkpoint, Interrupted, loop, stopping_on, train
from tests.benchmarks import regression
from tests.benchmarks.regression import Regression, Slow
from tests.benchmarks.runs import conditioning, jobs_of


def run_of(experiment: str, method: str, **training: object) -> TrainingRun:
    settings = {"lam": [0.3], "seeds": 1, "methods": {method: {}}}
    loaded = load(experiment, "smoke", {**settings, "training": training} if training else settings)
    assert isinstance(loaded, Experiment)
    data = DataRecord(name="any", fingerprint="0" * 16)
    return next(run for run in loaded.plan(lambda settings: data) if run.label == method)


def cut_off(runs: list[TrainingRun], task: tasks.Task, file: Path, at: int) -> None:
    """Train until a step, and stop there as a signal stops it."""

    def on_step(step: int) -> None:
        if step == at:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted), stopping_on(signal.SIGTERM):
        train(runs, task, on_step, Checkpoint(file, 1e9, {}))


def test_a_second_signal_leaves_the_checkpoint_whole(tmp_path) -> None:
    run, file = run_of("fig3a", "bloop"), tmp_path / "0.checkpoint"

    def on_step(step: int) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted), stopping_on(signal.SIGTERM):
        train([run], tasks.create(**run.task), on_step, Checkpoint(file, 1e9, {}))
    assert Checkpoint(file, 1e9, {}).load() is not None


CASES = {
    "adam, ema": ("fig3a", "bloop", {}),
    "sgd, cosine": ("fig3a", "bloop", {"optimizer": "sgd", "momentum": 0.9, "schedule": "cosine"}),
    "method with state": ("fig3a", "graddrop", {}),
    "batch norm, augmented images": ("fig4", "bloop", {}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_that_was_cut_off_twice_equals_one_that_was_not(case, tmp_path) -> None:
    experiment, method, training = CASES[case]
    run, file = run_of(experiment, method, **training), tmp_path / "0.checkpoint"
    task = tasks.create(**run.task)
    (whole,) = train([run], task)
    last = run.training.epochs * task.steps_per_epoch
    for at in (1, last - 1):
        cut_off([run], task, file, at)
    torch.manual_seed(5)
    steps: list[int] = []
    (again,) = train([run], task, steps.append, Checkpoint(file, 1e9, {}))
    assert steps == [last]
    assert again.trajectory == whole.trajectory


@pytest.mark.parametrize(
    "method", ["sum", "bloop", "graddrop", "famo", "uncertainty", "lagrangian", "moco", "gradvac"]
)
def test_the_state_of_methods_and_of_dropout_is_kept(method, tmp_path) -> None:
    run, file, task = regression.run_of(method), tmp_path / "0.checkpoint", Regression(dropout=0.3)
    cut_off([run], task, file, 7)
    (again,) = train([run], task, checkpoint=Checkpoint(file, 1e9, {}))
    assert again.trajectory == train([run], task)[0].trajectory


def test_a_population_goes_on_as_one(tmp_path) -> None:
    """Two methods, two seeds, and one replica that has diverged by then."""
    settings = {
        "lam": [0.3, 1e30],
        "seeds": 2,
        "methods": {"bloop": {}},
        "training": {"optimizer": "sgd", "epochs": 2},
    }
    loaded = load("fig3a", "smoke", settings)
    assert isinstance(loaded, Experiment)
    data = DataRecord(name="any", fingerprint="0" * 16)
    runs = [r for r in loaded.plan(lambda settings: data) if r.label in ("bloop", "sum")]
    task, file = tasks.create(**runs[0].task), tmp_path / "0.checkpoint"
    whole = [(o.trajectory, o.diverged_at) for o in train(runs, task)]
    assert {diverged is None for _, diverged in whole} == {True, False}
    cut_off(runs, task, file, 6)
    again = train(runs, task, checkpoint=Checkpoint(file, 1e9, {}))
    assert [(o.trajectory, o.diverged_at) for o in again] == whole


def test_seconds_before_the_cut_count(tmp_path, monkeypatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(loop.time, "perf_counter", lambda: clock[0])

    def on_step(step: int) -> None:
        clock[0] += 1
        if step == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    run, file = regression.run_of(evaluations=4), tmp_path / "0.checkpoint"
    with pytest.raises(Interrupted), stopping_on(signal.SIGTERM):
        train([run], Slow(clock), on_step, Checkpoint(file, 1e9, {}))
    clock[0] += 1e6
    (again,) = train([run], Slow(clock), on_step, Checkpoint(file, 1e9, {}))
    assert again.timings == {"train": 20, "evaluate": 500, "step": 1}


def test_a_loss_that_left_the_range_before_the_cut_is_not_forgotten(tmp_path) -> None:
    """It fell below 0 and came back: the run has no right numbers after that."""
    run, file = regression.run_of("famo", evaluations=1), tmp_path / "0.checkpoint"

    class Dipping(Regression):
        steps = 0

        def losses(self, model, batch):
            main, aux = super().losses(model, batch)
            yield main
            yield aux - 100 * (self.steps == 2)

    task = Dipping()

    def on_step(step: int) -> None:
        task.steps = step
        if step == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted), stopping_on(signal.SIGTERM):
        train([run], task, on_step, Checkpoint(file, 1e9, {}))
    with pytest.raises(ValueError, match="famo is defined for positive losses only"):
        train([run], task, on_step, Checkpoint(file, 1e9, {}))


def test_a_run_that_had_diverged_keeps_the_step_at_which_it_did(tmp_path) -> None:
    run, file, task = regression.run_of(lr=1e20, evaluations=1), tmp_path / "0.checkpoint", Regression()
    (whole,) = train([run], task)
    assert whole.diverged_at == 2
    cut_off([run], task, file, 5)
    (again,) = train([run], task, checkpoint=Checkpoint(file, 1e9, {}))
    assert (again.trajectory, again.diverged_at) == (whole.trajectory, 2)


def test_a_checkpoint_is_written_on_the_interval_and_gone_when_the_run_is_recorded(tmp_path) -> None:
    folder = Folder(tmp_path)
    folder.prepare()
    (job, *_) = jobs_of(conditioning(), folder)
    file = folder.checkpoint(job.run.id)
    sizes = []
    (done,) = execute([job], ExecutionOptions(checkpoint_every=0), lambda step: sizes.append(file.exists()))
    assert sizes[0] is False
    assert len(sizes) > 1
    assert all(sizes[1:])
    folder.write(done.record)
    assert [f.name for f in folder.runs.iterdir()] == [f"{job.run.id}.json"]


@pytest.mark.parametrize("change", ["truncated", "flipped", "empty", "pickle", "foreign"])
def test_a_damaged_or_foreign_checkpoint_counts_for_nothing(change, tmp_path) -> None:
    file = tmp_path / "0.checkpoint"
    checkpoint = Checkpoint(file, 0, {"runs": ["a"]})
    checkpoint.save({"x": torch.ones(3)})
    content = file.read_bytes()
    if change == "foreign":
        checkpoint = Checkpoint(file, 0, {"runs": ["b"]})
    elif change == "pickle":
        import hashlib
        import pickle

        held = pickle.dumps(subprocess.Popen)
        file.write_bytes(hashlib.sha256(held).digest() + held)
    else:
        flipped = bytes([*content[:-9], content[-9] ^ 1, *content[-8:]])
        file.write_bytes({"truncated": content[:-5], "flipped": flipped, "empty": b""}[change])
    assert checkpoint.load() is None


def test_a_checkpoint_that_cannot_be_written_is_one_clear_error(tmp_path) -> None:
    with pytest.raises(UserError, match="gone cannot be written: No such file"):
        Checkpoint(tmp_path / "gone" / "0.checkpoint", 0, {}).save({})


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
    ],
)
def test_a_command_that_is_cut_off_goes_on_from_its_checkpoint(number, tmp_path) -> None:
    command = [
        sys.executable,
        "-m",
        "scalpel_bench.benchmarks.cli",
        "sweep",
        "conditioning",
        "--scale",
        "smoke",
    ]
    command += ["--methods", "sum", "--lam", "0.1", "--seeds", "1", "--checkpoint-every", "0.2"]
    command += ["--set", "training.epochs=30000", "--results", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "src")}
    runs = tmp_path / "conditioning" / "smoke" / "runs"
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not list(runs.glob("*.checkpoint")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.killpg(process.pid, number)  # as a terminal does, and a cluster's scheduler
    _, errors = process.communicate(timeout=60)
    assert len(list(runs.glob("*.checkpoint"))) == 1
    assert list(runs.glob("*.json")) == []
    assert process.returncode == 130
    assert "0 runs finished now, 0 recorded in all; the same command continues with the rest" in errors
    assert list(runs.glob("*.lease")) == []


@pytest.mark.parametrize("changed", ["nothing", "threads", "runs", "code", "environment"])
def test_a_checkpoint_of_other_runs_code_or_versions_counts_for_nothing(
    changed, tmp_path, monkeypatch
) -> None:
    folder = Folder(tmp_path / "conditioning" / "smoke")
    folder.prepare()
    experiment = conditioning(lam=[0.1, 0.2, 0.3])
    of_sum = (job for job in jobs_of(experiment, folder) if job.run.label == "sum")
    job, other, third, *_ = of_sum
    worker._checkpoint([job, other], ExecutionOptions()).save({"done": 1})
    if changed == "code":
        monkeypatch.setattr(planned, "code_of", lambda run: "0" * 12)
        job, other = replace(job, code=""), replace(other, code="")
    if changed == "threads":
        torch.set_num_threads(2)
    if changed == "environment":
        monkeypatch.setattr(worker, "environment", lambda device: {"torch": "another"})
    of = [job, third if changed == "runs" else other]
    found = worker._checkpoint(of, ExecutionOptions()).load()
    torch.set_num_threads(1)
    assert found == ({"done": 1} if changed in ("nothing", "threads") else None)


def test_a_run_of_a_sweep_goes_on_where_its_checkpoint_was_left(tmp_path) -> None:
    """With all that identifies it: a checkpoint that cannot be read makes a run start over, unseen."""
    experiment = conditioning(lam=[0.1], seeds=1)
    whole, cut = (Folder(tmp_path / name / "smoke") for name in ("whole", "cut"))
    (expected,) = execute([jobs_of(experiment, whole)[0]], ExecutionOptions())
    cut.prepare()
    job = jobs_of(experiment, cut)[0]
    last = expected.record.trajectory[-1]["step"]

    def on_step(step: int) -> None:
        if step == last - 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted), stopping_on(signal.SIGTERM):
        execute([job], ExecutionOptions(), on_step)
    steps: list[int] = []
    (done,) = execute([job], ExecutionOptions(), steps.append)
    assert steps == [last]
    assert done.record.trajectory == expected.record.trajectory
    assert done.note == ""


def test_a_run_is_not_trained_by_other_code_than_it_was_planned_with(tmp_path, monkeypatch) -> None:
    """Its numbers would be of one, and the fingerprint in its record of the other."""
    folder = Folder(tmp_path / "conditioning" / "smoke")
    folder.prepare()
    job = jobs_of(conditioning(lam=[0.1], seeds=1), folder)[0]
    for module in (planned, worker):
        monkeypatch.setattr(module, "code_of", lambda run: "0" * 12)
    job = replace(job, folder=Folder(tmp_path))  # as Ray does
    with pytest.raises(UserError, match="the code is not what it was when the sweep began"):
        execute([job], ExecutionOptions())


def test_a_run_whose_checkpoint_could_not_be_used_says_that_it_started_over(tmp_path) -> None:
    folder = Folder(tmp_path / "conditioning" / "smoke")
    folder.prepare()
    job = jobs_of(conditioning(lam=[0.1], seeds=1), folder)[0]
    folder.checkpoint(job.run.id).write_bytes(b"damaged")
    (done,) = execute([job], ExecutionOptions())
    assert done.record.status == "completed"
    assert done.note == worker.STARTED_OVER
