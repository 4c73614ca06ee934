"""How a direction becomes a step: AdamW, a second moment of another gradient, the length of another step."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from scalpel_bench import methods
from scalpel_bench.benchmarks.experiments.settings import Training, TrainingRun
from scalpel_bench.benchmarks.training import Checkpoint, Stepper, train
from scalpel_bench.benchmarks.training.optimizers import SplitAdam
from tests.benchmarks import regression
from tests.benchmarks.regression import Regression
from tests.benchmarks.training.test_checkpoints import cut_off

ADAM = {"optimizer": "adam", "lr": 0.01}
BLOOP = {"name": "bloop", "rho": 0.1}
AGEM = {"name": "agem"}
GRADIENT = {**ADAM, "second_moment": "gradient"}


def run_of(method: str | dict[str, Any] = "bloop", lam: float = 0.5, **training: Any) -> TrainingRun:
    settings = {"name": method} if isinstance(method, str) else method
    run = regression.run_of(settings["name"], lam, **{**ADAM, **training})
    return run.model_copy(update={"method": settings})


def stepped(runs: list[TrainingRun], steps: int = 6) -> Stepper:
    stepper = Stepper(runs, Regression())
    for batch in itertools.islice(stepper.batches(), steps):
        stepper.step(batch)
    return stepper


def thetas(runs: list[TrainingRun], steps: int = 6) -> dict[str, Tensor]:
    """The parameters of each run after some steps, by label."""
    stepper = stepped(runs, steps)
    rows = stepper.models.theta.detach().reshape(len(runs), -1)
    return {run.label: row for run, row in zip(stepper.runs, rows, strict=True)}


@pytest.mark.parametrize("size", [7, 10_003])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_split_adam_is_torch_adam_to_the_bit_where_the_gradients_are_one(decay: float, size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    ours, theirs, plain = (torch.randn(size, generator=torch.Generator().manual_seed(1)) for _ in range(3))
    kind = torch.optim.AdamW if decay else torch.optim.Adam
    torch_adam = kind([theirs], lr=1e-3, fused=True, weight_decay=decay)
    split = SplitAdam(ours, plain, 1e-3, decay)
    for _ in range(20):
        gradient = torch.randn(size, generator=generator) * 10 ** (
            6 * torch.rand(size, generator=generator) - 3
        )
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        plain.copy_(gradient)
        split.step()
        torch_adam.step()
        assert torch.equal(ours, theirs)
    for name in ("exp_avg", "exp_avg_sq", "step"):
        assert torch.equal(split.state[ours][name], torch_adam.state[theirs][name])


def test_split_adam_has_its_first_moment_of_one_gradient_and_its_second_of_the_other() -> None:
    generator = torch.Generator().manual_seed(0)
    theta, plain = torch.zeros(5), torch.zeros(5)
    expected, m, v = torch.zeros(5).double(), 0.0, 0.0
    split = SplitAdam(theta, plain, 0.01, 0.1)
    for t in range(1, 9):
        d, s = torch.randn(2, 5, generator=generator)
        theta.grad = d
        plain.copy_(s)
        split.step()
        m, v = 0.9 * m + 0.1 * d.double(), 0.999 * v + 0.001 * s.double() ** 2
        length = (v / (1 - 0.999**t)).sqrt() + 1e-8
        expected = expected * (1 - 0.01 * 0.1) - 0.01 * m / (1 - 0.9**t) / length
    torch.testing.assert_close(theta.double(), expected, rtol=1e-5, atol=1e-7)


def test_adamw_is_torchs() -> None:
    """Along the directions that the run itself had."""
    settings = {"optimizer": "adamw", "weight_decay": 0.3}
    stepper = Stepper([run_of(**settings)], Regression())
    theta = stepper.models.theta.detach().clone()
    theirs = torch.optim.AdamW([theta], lr=0.01, weight_decay=0.3, fused=True)
    for batch in itertools.islice(stepper.batches(), 5):
        stepper.step(batch)
        theta.grad = stepper.direction.clone()
        theirs.step()
        assert torch.equal(stepper.models.theta, theta)
    assert not torch.allclose(theta, stepped([run_of()], 5).models.theta)


@pytest.mark.parametrize("optimizer", [{}, {"optimizer": "adamw", "weight_decay": 0.1}])
def test_the_second_moment_of_sum_is_the_same_either_way_to_the_bit(optimizer: dict[str, Any]) -> None:
    """Alone, and beside methods whose second moments differ."""
    for names in (["sum"], ["sum", "bloop", "pcgrad"]):
        plain, split = (
            thetas([run_of(name, **optimizer, second_moment=of) for name in names])
            for of in ("direction", "gradient")
        )
        assert torch.equal(plain["sum"], split["sum"])
        for other in set(names) - {"sum"}:
            assert not torch.allclose(plain[other], split[other], rtol=1e-3)


@pytest.mark.parametrize("rescale", [False, True])
def test_the_second_moment_is_of_the_plain_weighted_sum(rescale: bool) -> None:
    lam, steps = 0.7, 5
    run = run_of({"name": "bloop", "rho": 0.1, "rescale": rescale}, lam, second_moment="gradient")
    stepper = Stepper([run], Regression())
    v = torch.zeros_like(stepper.direction)
    for batch in itertools.islice(stepper.batches(), steps):
        stepper.step(batch, diagnose=True)
        main, aux = stepper.gradients
        v = 0.999 * v + 0.001 * ((main + lam * aux) / (1 + lam * rescale)) ** 2
    state = stepper.update.own.optimizer.state[stepper.models.theta]
    torch.testing.assert_close(state["exp_avg_sq"], v, rtol=1e-5, atol=0)


def test_replicas_with_a_second_moment_of_the_sum_are_single_runs() -> None:
    runs = [run_of(name, lam, **GRADIENT) for name in ("bloop", "pcgrad", "sum") for lam in (0.1, 2.0)]
    together = stepped(runs)
    for run, theta in zip(together.runs, together.models.theta, strict=True):
        torch.testing.assert_close(theta, stepped([run]).models.theta, rtol=1e-4, atol=1e-5)


REFERENCES = [BLOOP, {"name": "bloop", "rho": 0.1, "rescale": True}, {"name": "graddrop"}, {"name": "dwa"}]


@pytest.mark.parametrize("training", [{}, GRADIENT, {"optimizer": "sgd", "lr": 0.1}])
@pytest.mark.parametrize("reference", REFERENCES)
def test_a_step_of_its_own_length_is_its_own_step(
    reference: dict[str, Any], training: dict[str, Any]
) -> None:
    own = stepped([run_of(reference, **training)])
    matched = stepped([run_of(reference, **training, step_of=reference)])
    torch.testing.assert_close(matched.models.theta, own.models.theta, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("training", [{}, GRADIENT, {"optimizer": "adamw", "weight_decay": 0.1}])
def test_the_step_has_the_length_of_the_reference_and_its_own_direction(training: dict[str, Any]) -> None:
    """Against a method and an optimiser that are told of the same gradients by hand, from the same θ."""
    lam = 10.0
    stepper = Stepper([run_of("sum", lam, **training, schedule="cosine", step_of=AGEM)], Regression())
    method, state = methods.create(**AGEM, lam=lam), {}
    theirs, ours = (stepper.models.theta.detach().clone() for _ in range(2))
    own = torch.optim.AdamW([ours], lr=0.01, weight_decay=training.get("weight_decay", 0.0))
    split = SplitAdam(theirs, torch.zeros_like(theirs), 0.01, training.get("weight_decay", 0.0))
    factors = []
    for batch in itertools.islice(stepper.batches(), 20):
        before = stepper.models.theta.detach().clone()
        rate = stepper.scheduler.get_last_lr()[0]
        stepper.step(batch, diagnose=True)
        moved = stepper.models.theta.detach() - before
        state = state or method.init(stepper.gradients)
        theirs.copy_(before)
        ours.copy_(before)
        theirs.grad, state = method.combine(stepper.gradients, state)
        ours.grad = stepper.gradients[0] + lam * stepper.gradients[1]
        split.squared.copy_(ours.grad if "second_moment" in training else theirs.grad)
        own.param_groups[0]["lr"] = split.param_groups[0]["lr"] = rate
        split.step()
        own.step()
        wanted, natural = theirs - before, ours - before
        rounding = before.norm().item() * torch.finfo(torch.float32).eps / 2
        assert moved.norm().item() == pytest.approx(wanted.norm().item(), rel=1e-6, abs=rounding)
        assert torch.nn.functional.cosine_similarity(moved, natural, 0) > 1 - 1e-6
        factors.append((wanted.norm() / natural.norm()).item())
    assert max(abs(factor - 1) for factor in factors) > 0.02


def test_replicas_with_the_step_of_another_are_single_runs() -> None:
    """Each with the reference at its own λ, and with the numbers of its own seed."""
    reference = {"name": "rlw"}
    runs = [
        run_of(name, lam, step_of=reference).model_copy(update={"seed": seed})
        for seed, (name, lam) in enumerate(itertools.product(("sum", "bloop"), (0.1, 2.0)))
    ]
    together = stepped(runs)
    for run, theta in zip(together.runs, together.models.theta, strict=True):
        torch.testing.assert_close(theta, stepped([run]).models.theta, rtol=1e-4, atol=1e-5)


def test_a_direction_of_no_length_stays_where_it_is() -> None:
    class Flat(Regression):
        def losses(self, model, batch):
            main, aux = super().losses(model, batch)
            yield 0 * main
            yield aux

    run = run_of("agem", 0.0, step_of={"name": "negative_momentum"})
    stepper = Stepper([run], Flat())
    start = stepper.models.theta.detach().clone()
    stepper.step(next(stepper.batches()))
    assert torch.equal(stepper.models.theta, start)


@pytest.mark.parametrize("replicas", [1, 3])
def test_a_run_with_controls_that_was_cut_off_goes_on_to_the_bit(replicas: int, tmp_path) -> None:
    names = ["bloop", "sum", "rlw"][:replicas]
    runs = [run_of(name, **GRADIENT, step_of=BLOOP) for name in names]
    whole = train(runs, Regression())
    file = tmp_path / "0.checkpoint"
    for at in (3, 11):
        cut_off(runs, Regression(), file, at)
    again = train(runs, Regression(), checkpoint=Checkpoint(file, 1e9, {}))
    assert [outcome.trajectory for outcome in again] == [outcome.trajectory for outcome in whole]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"optimizer": "adam", "weight_decay": 0.1}, "weight_decay is of adamw alone.*not of adam"),
        ({"optimizer": "sgd", "weight_decay": 0.0}, "weight_decay is of adamw alone.*not of sgd"),
        ({"optimizer": "adamw"}, "adamw needs weight_decay"),
        ({"optimizer": "adamw", "weight_decay": -0.1}, "greater than or equal to 0"),
        ({"optimizer": "sgd", "second_moment": "gradient"}, "second_moment is of adam and adamw"),
        ({"optimizer": "adam", "second_moment": "sum"}, "'direction' or 'gradient'"),
        ({"optimizer": "adam", "step_of": {"rho": 0.1}}, "None is no name"),
    ],
)
def test_options_that_mean_nothing_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Training.model_validate({"lr": 0.1, "epochs": 1, **settings})
