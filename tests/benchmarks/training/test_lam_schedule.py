"""λ that falls in training: where it acts, and what it leaves; `test_optimisation` has its numbers."""

import itertools
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from scalpel_bench import methods
from scalpel_bench.benchmarks.experiments.settings import TrainingRun
from scalpel_bench.benchmarks.messages.errors import UserError
from scalpel_bench.benchmarks.training import Checkpoint, Stepper, train
from tests.benchmarks import regression
from tests.benchmarks.regression import Regression
from tests.benchmarks.runs import conditioning, plan
from tests.benchmarks.training.test_checkpoints import cut_off

LINEAR = {"lam_schedule": "linear"}
STEPS = 20


def run_of(
    method: str = "sum", lam: float = 0.5, seed: int = 0, settings: Any = None, **training: Any
) -> TrainingRun:
    run = regression.run_of(method, lam, seed, **training)
    return run.model_copy(update={"method": {"name": method, **(settings or {})}})


def thetas(runs: list[TrainingRun], lam: list[float] | None = None) -> torch.Tensor:
    """The parameters after every step ``(steps, ..., P)``; with λ given for each step from outside."""
    stepper, found = Stepper(runs, Regression()), []
    for step, batch in enumerate(itertools.islice(stepper.batches(), STEPS)):
        if lam is not None:
            settings = {"lam": lam[step], **runs[0].method}
            (group,) = stepper.groups
            object.__setattr__(group, "method", methods.create(**settings))
        stepper.step(batch)
        found.append(stepper.models.theta.detach().clone())
    return torch.stack(found)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("sum", {"rescale": True}),
        ("bloop", {"rho": 0.1, "rescale": True}),
        ("upgrad", {"length": "sum"}),
        ("stch", {}),
        ("uncertainty", {}),
        ("graddrop", {}),
        ("config", {"ema": 0.3}),
        ("nash_mtl", {}),
    ],
)
def test_every_step_is_that_of_the_method_at_its_lambda(method: str, settings: dict) -> None:
    """Weights that scale rows, that stand last, that are preferences; with what divides by 1 + λ."""
    falling = thetas([run_of(method, 2.0, settings=settings, **LINEAR)])
    given = thetas([run_of(method, 2.0, settings=settings)], [2.0 * (1 - t / STEPS) for t in range(STEPS)])
    torch.testing.assert_close(falling, given)
    assert not torch.allclose(falling[-1], thetas([run_of(method, 2.0, settings=settings)])[-1], rtol=1e-3)


def test_a_population_falls_as_its_runs_do() -> None:
    runs = [run_of(m, lam, s, **LINEAR) for m in ("sum", "bloop") for lam in (0.0, 2.0) for s in (0, 1)]
    together, order = thetas(runs), Stepper(runs, Regression()).order
    for replica, i in enumerate(order):
        torch.testing.assert_close(together[:, replica], thetas([runs[i]]))


@pytest.mark.parametrize("schedule", ["linear", "inverse"])
def test_a_run_that_was_cut_off_goes_on_at_its_lambda(schedule: str, tmp_path) -> None:
    run, task, file = run_of("bloop", 2.0, lam_schedule=schedule), Regression(), tmp_path / "0.checkpoint"
    cut_off([run], task, file, 7)
    (again,) = train([run], task, checkpoint=Checkpoint(file, 1e9, {}))
    assert again.trajectory == train([run], task)[0].trajectory


def test_the_step_of_another_is_at_the_same_lambda() -> None:
    adam = {"optimizer": "adam", "lr": 0.01, **LINEAR}
    for method in ("sum", "pcgrad"):
        plain = thetas([run_of(method, 2.0, **adam)])
        torch.testing.assert_close(thetas([run_of(method, 2.0, step_of={"name": method}, **adam)]), plain)


def test_the_second_moment_is_of_the_sum_at_the_same_lambda() -> None:
    run = run_of("pcgrad", 2.0, optimizer="adam", second_moment="gradient", **LINEAR)
    stepper = Stepper([run], Regression())
    for step, batch in enumerate(itertools.islice(stepper.batches(), 3)):
        stepper.step(batch, diagnose=True)
        main, aux = stepper.gradients
        ((_, plain),) = stepper.update.own.sums
        expected = main + 2.0 * (1 - step / STEPS) * aux
        torch.testing.assert_close(plain.combine(stepper.gradients, {})[0], expected)


def test_bfloat16_and_the_projected_share_see_it() -> None:
    run = run_of("bloop", 2.0, settings={"rho": 1.0}, bf16=True, **LINEAR)
    stepper = Stepper([run], Regression())
    for batch in itertools.islice(stepper.batches(), 3):
        stepper.diagnosed_step(batch)
    main, aux = stepper.gradients.double()
    lam = 2.0 * (1 - 2 / STEPS)
    expected = main + lam * (aux - (aux @ main) / (main @ main) * main)
    torch.testing.assert_close(stepper.direction.double(), expected, rtol=1e-4, atol=1e-6)
    share = (aux @ main) ** 2 / (main @ main) / (aux @ aux)
    assert stepper.diagnostics(0)["projected_share"] == pytest.approx(float(share), abs=1e-4)


def test_it_is_part_of_what_a_run_is_unless_constant() -> None:
    plain = run_of()
    assert run_of(lam_schedule="constant").id == plain.id
    assert len({run.id for run in (plain, run_of(**LINEAR), run_of(lam_schedule="inverse"))}) == 3
    with pytest.raises(ValidationError, match="'constant', 'linear' or 'inverse'"):
        run_of(lam_schedule="cosine")


def test_a_method_may_have_one_of_its_own() -> None:
    own = {"iterative": {"name": "sum", "training": {"lam_schedule": "inverse"}}}
    by_label = {run.label: run for run in plan(conditioning(methods=own))}
    assert by_label["iterative"].training.lam_schedule == "inverse"
    assert by_label["sum"].training.lam_schedule is None
    assert by_label["iterative"].id != by_label["sum"].id


@pytest.mark.parametrize(
    ("method", "what"), [("mgda", "nothing"), ("lagrangian", "a bound"), ("constrained_barrier", "a bound")]
)
def test_it_is_refused_where_lambda_is_no_weight(method: str, what: str) -> None:
    message = f"methods: {method}: λ is {what} to {method}: leave lam_schedule out"
    with pytest.raises(UserError, match=message):
        conditioning(methods={method: {"training": LINEAR}})
    with pytest.raises(ValueError, match=message):
        Stepper([run_of(method, **LINEAR)], Regression())
