"""Populations: the runs of a stack are those that train alone."""

import itertools
import sys

import pytest
import torch

from scalpel_bench import tasks
from scalpel_bench.benchmarks.execution import ExecutionOptions, Job, execute, fastest, populations
from scalpel_bench.benchmarks.experiments.loading import load
from scalpel_bench.benchmarks.experiments.schema import Experiment
from scalpel_bench.benchmarks.experiments.settings import TrainingRun
from scalpel_bench.benchmarks.messages.errors import UserError
from scalpel_bench.benchmarks.records import Folder
from scalpel_bench.benchmarks.training import Stepper, train
from tests.benchmarks import regression
from tests.benchmarks.regression import Regression
from tests.benchmarks.runs import DATA, conditioning, plan


def runs_of(name: str, **overrides) -> tuple[list[TrainingRun], tasks.Task]:
    experiment = load(name, "smoke", {"seeds": 2, "lam": [0.01, 1.0], **overrides})
    assert isinstance(experiment, Experiment)
    return experiment.plan(lambda settings: DATA), tasks.create(**experiment.task)


METHODS = {"sum": {}, "bloop": {"rho": 0.1}, "pcgrad": {}}
RANDOM = {"rlw": {}, "graddrop": {}}


@pytest.mark.filterwarnings("error:There is a performance drop")
@pytest.mark.parametrize("name", ["fig3a", "fig3b", "fig5a"])
def test_start_batches_and_first_directions_are_those_of_single_runs(name: str) -> None:
    taking_part = METHODS | RANDOM if name == "fig3a" else {"sum": {}, "bloop": {"rho": 0.1}}
    runs, task = runs_of(name, methods=taking_part)
    runs = [run for run in runs if run.label in taking_part]
    together = Stepper(runs, task)
    (batch,) = itertools.islice(together.batches(), 1)
    start = together.models.theta.detach().clone()
    together.step(batch)
    for replica, run in enumerate(together.runs):
        alone = Stepper([run], task)
        assert torch.equal(start[replica], alone.models.theta)
        (own,) = itertools.islice(alone.batches(), 1)
        for key, value in own.items():
            assert torch.equal(batch[key][replica], value)
        alone.step(own)
        gap = torch.linalg.vector_norm(together.direction[replica] - alone.direction)
        assert gap < 1e-5 * torch.linalg.vector_norm(alone.direction)


def test_what_a_method_draws_depends_on_the_seed_of_its_run() -> None:
    """On a task where nothing else is random, alone and in lock step."""
    runs, task = runs_of("conditioning", methods={"rlw": {}}, lam=[1.0])
    runs = [run for run in runs if run.label == "rlw"]
    first, second = (Stepper([run], task) for run in runs)
    for alone in (first, second):
        alone.step({}, diagnose=True)
    assert torch.equal(first.gradients, second.gradients)
    assert not torch.allclose(first.direction, second.direction, rtol=0.01)
    together = Stepper(runs, task)
    together.step({})
    torch.testing.assert_close(together.direction, torch.stack([first.direction, second.direction]))


@pytest.mark.slow
def test_compiled_as_a_whole_a_population_takes_the_same_steps() -> None:
    plain, task = runs_of("fig3a", lam=[0.1], seeds=1)
    compiled, _ = runs_of("fig3a", lam=[0.1], seeds=1, training={"compile": True})
    one, other = Stepper(plain, task), Stepper(compiled, task)
    for batch in itertools.islice(one.batches(), 2):
        one.step(batch)
        other.step(batch)
        torch.testing.assert_close(other.direction, one.direction, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("together", [False, True])
def test_compiled_losses_that_share_a_forward_pass_give_the_same_steps(together: bool) -> None:
    """With `sum` steps alternate: one backward pass for both losses, or one each."""
    torch._dynamo.reset()
    steppers = []
    for options in ({}, {"compile": True}):
        settings = {"methods": {"sum": {}}, "lam": [0.1, 1.0], "seeds": 1, "training": options}
        runs, task = runs_of("fig4", **settings)
        steppers.append(Stepper(runs if together else runs[:1], task))
    one, other = steppers
    for i, batch in enumerate(itertools.islice(one.batches(), 4)):
        other.restore(one.snapshot())
        one.step(batch, diagnose=i % 2 == 1)
        other.step(batch, diagnose=i % 2 == 1)
        torch.testing.assert_close(other.direction, one.direction, rtol=1e-3, atol=1e-5)


def test_a_sweep_in_lock_step_has_the_trajectories_of_single_runs() -> None:
    runs, task = runs_of("fig3a", methods=METHODS)
    runs = [run for run in runs if run.label in METHODS]
    shuffled = runs[::2] + runs[1::2]
    for run, outcome in list(zip(shuffled, train(shuffled, task), strict=True))[::3]:
        (alone,) = train([run], task)
        assert len(outcome.trajectory) == len(alone.trajectory)
        for ours, theirs in zip(outcome.trajectory, alone.trajectory, strict=True):
            assert ours["diagnostics"].keys() == theirs["diagnostics"].keys()
            for split in ("train", "test"):
                assert ours[split] == pytest.approx(theirs[split], rel=1e-3)


def test_a_replica_that_diverges_is_frozen_and_the_others_go_on() -> None:
    settings = {"training": {"lr": 0.5, "epochs": 40, "evaluations": 4}, "lam": [0.1, 1.0, 1e4]}
    runs = [run for run in plan(conditioning(**settings)) if run.label in ("sum", "bloop")]
    task = tasks.create("conditioning")
    together = train(runs, task)
    assert {outcome.diverged_at is not None for outcome in together} == {True, False}
    for run, outcome in zip(runs, together, strict=True):
        (alone,) = train([run], task)
        assert outcome.diverged_at == alone.diverged_at
        assert outcome.trajectory == alone.trajectory


def test_a_diverged_network_does_not_stop_the_others() -> None:
    """Its weights, its statistics and its singular vectors are not numbers."""
    sgd = {"optimizer": "sgd", "lr": 1e-3}
    runs, task = runs_of("fig3a", lam=[0.1, 1e30], seeds=1, training=sgd)
    runs = [run for run in runs if run.label == "sum"]
    fine, broken = train(runs, task)
    assert fine.diverged_at is None
    (alone,) = train(runs[1:], task)
    assert broken.diverged_at == alone.diverged_at is not None


def test_a_diverged_replica_is_kept_where_losses_can_be_computed() -> None:
    """An SVD of what is not finite raises, for all replicas at once."""

    class Singular(Regression):
        def losses(self, model, batch):
            main, _ = super().losses(model, batch)
            yield main
            yield torch.linalg.svdvals(model.parameters["0.weight"]).square().sum()

    runs = [regression.run_of(lam=lam) for lam in (0.1, 1e30)]
    fine, broken = train(runs, Singular())
    (alone,) = train(runs[:1], Singular())
    assert (fine.diverged_at, broken.diverged_at) == (None, 2)
    for ours, theirs in zip(fine.trajectory, alone.trajectory, strict=True):
        assert ours["train"] == pytest.approx(theirs["train"], rel=1e-4)


def test_runs_of_another_training_are_refused() -> None:
    (first, *_), task = runs_of("fig3a")
    other = first.model_copy(update={"training": first.training.model_copy(update={"lr": 1.0})})
    with pytest.raises(ValueError, match="differ in method, λ and seed only"):
        Stepper([first, other], task)


def jobs_of(runs: list[TrainingRun], path) -> list[Job]:
    folder = Folder(path)
    folder.prepare()
    return [Job(run, folder) for run in runs]


def test_groups_share_task_and_training_and_keep_their_size(tmp_path) -> None:
    runs, _ = runs_of("fig3a", axes={"training.lr": [1e-3, 1e-2]})
    jobs = jobs_of(runs, tmp_path)
    groups = populations(jobs, ExecutionOptions(population=5))
    assert sorted(job.run.id for group in groups for job in group) == sorted(run.id for run in runs)
    for group in groups:
        assert len({job.run.training for job in group}) == 1
        assert len(group) <= 5
    assert max(map(len, groups)) == 5
    assert {len(group) for group in populations(jobs, ExecutionOptions())} == {1}


def test_recorded_like_single_runs_with_the_size_of_their_population(tmp_path) -> None:
    runs, _ = runs_of("conditioning", seeds=1)
    alone = [
        done.record for job in jobs_of(runs, tmp_path / "1") for done in execute([job], ExecutionOptions())
    ]
    together = [done.record for done in execute(jobs_of(runs, tmp_path / "2"), ExecutionOptions())]
    for one, other in zip(alone, together, strict=True):
        assert (one.id, one.status) == (other.id, other.status)
        for ours, theirs in zip(one.trajectory, other.trajectory, strict=True):
            assert ours["train"] == pytest.approx(theirs["train"], rel=1e-5)
        assert (one.environment["population"], other.environment["population"]) == (1, len(runs))
        assert one.environment["code"] == other.environment["code"]


def test_a_run_that_raises_costs_its_population_nothing(tmp_path) -> None:
    runs, _ = runs_of("conditioning", seeds=1)
    runs[1] = runs[1].model_copy(update={"method": {"name": "bloop", "rho": -1.0}})
    ended = execute(jobs_of(runs, tmp_path), ExecutionOptions())
    assert [done.record.status for done in ended].count("failed") == 1
    assert ended[1].record.reason == "ValueError: rho must lie in (0, 1], got -1.0"
    assert "could not train in lock step (ValueError: rho" in ended[0].note


@pytest.mark.parametrize(
    ("seconds", "size"),
    [
        ({1: 1.0, 4: 2.0, 16: 4.0}, 16),
        ({1: 1.0, 4: 2.0, 16: 7.5}, 4),
        ({1: 1.0, 4: 4.0, 16: 1.0}, 1),
        ({1: 1.0, 4: 2.0}, 4),
        ({1: 1.0}, 1),
        ({}, 1),
    ],
    ids=["all are faster", "16 gain little", "4 gain nothing", "16 do not fit", "4 do not fit", "none does"],
)
def test_the_fastest_size_is_the_last_that_gains(monkeypatch, seconds, size) -> None:
    def measured(runs, task) -> float:
        if len(runs) not in seconds:
            raise torch.OutOfMemoryError
        return seconds[len(runs)]

    monkeypatch.setattr(sys.modules[fastest.__module__], "_seconds", measured)
    runs, task = runs_of("conditioning", lam=[0.1 * n for n in range(1, 11)])
    runs = runs[:20]
    assert fastest(runs, task) == size
    assert fastest(runs[:1], task) == 1
    monkeypatch.undo()
    assert fastest(runs, task) in (1, 4, 16)


def test_the_flag_is_auto_or_a_number() -> None:
    from scalpel_bench.benchmarks.cli.parsing import execution_options

    assert execution_options("embedded", "cpu", 1, "auto").population is None
    assert execution_options("embedded", "cpu", 1, "8").population == 8
    for wrong in ("0", "-1", "many", "1.5"):
        with pytest.raises(UserError, match=f"--population {wrong}: write auto, or a number"):
            execution_options("embedded", "cpu", 1, wrong)
