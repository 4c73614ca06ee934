"""The divergence of TRADES and the attacks, against the same written with plain autograd."""

import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div

from scalpel_bench import tasks
from scalpel_bench.benchmarks.experiments.loading import load
from scalpel_bench.benchmarks.experiments.schema import Experiment
from scalpel_bench.benchmarks.training import FlatModel, Stepper, train
from tests.benchmarks.runs import DATA
from tests.gradients import gradient


@pytest.fixture
def task() -> tasks.Task:
    return tasks.create("robustness", epsilon=0.2, attack_steps=3, test_steps=4, evaluation_limit=40)


@pytest.fixture
def flat(task) -> FlatModel:
    torch.manual_seed(0)
    flat = FlatModel(task.build(), "cpu")
    with torch.no_grad():
        flat.theta *= 4  # so that the attack meets the bounds, and changes answers
    return flat


def batch_of(task: tasks.Task) -> tasks.Batch:
    return next(task.batches(torch.Generator().manual_seed(0)))


def attacked(loss, images, start, epsilon: float, steps: int):
    """Projected gradient ascent as the source writes it."""
    moved = start
    for _ in range(steps):
        moved = moved.detach().requires_grad_()
        (slope,) = torch.autograd.grad(loss(moved), moved)
        moved = moved.detach() + 4 * epsilon / (3 * steps) * slope.sign()
        moved = torch.min(torch.max(moved, images - epsilon), images + epsilon).clamp(0, 1)
    return moved.detach()


def divergence(module, images, start, epsilon: float, steps: int):
    """The sum of KL(p(x) ‖ p(x')), differentiable in the parameters."""
    (logits,) = module(images)
    natural = logits.detach().softmax(1)

    def of(moved, target=natural):
        return kl_div(module(moved)[0].log_softmax(1), target, reduction="sum")

    return of(attacked(of, images, start, epsilon, steps), logits.softmax(1))


def test_the_auxiliary_loss_and_its_gradient_are_those_of_the_source(task, flat) -> None:
    batch = batch_of(task)
    images = batch["images"].permute(0, 3, 1, 2) / 255
    main, aux = task.losses(flat.model(), batch)
    assert torch.equal(main, cross_entropy(flat.module(images)[0], batch["labels"]))
    expected = divergence(flat.module, images, images + batch["noise"], 0.2, 3) / len(images)
    torch.testing.assert_close(aux, expected, rtol=1e-4, atol=1e-6)
    assert aux > 0.1
    parameters = list(flat.module.parameters())
    slopes = torch.autograd.grad(expected, parameters)
    found = gradient(flat, aux)
    torch.testing.assert_close(found, torch.cat([s.flatten() for s in slopes]), rtol=1e-3, atol=1e-4)


def test_an_attack_on_a_linear_loss_ends_at_the_corner_of_the_ball(task) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(4, 1, 8, 8, generator=generator)
    weights = torch.randn(4, 1, 8, 8, generator=generator)
    moved = task._attacked(lambda x: (weights * x).sum(), images, images, 5)
    torch.testing.assert_close(moved, (images + 0.2 * weights.sign()).clamp(0, 1))


def test_the_noise_is_the_runs_own_and_small(task) -> None:
    noise = batch_of(task)["noise"]
    assert noise.shape == (64, 1, 8, 8)
    assert noise.std().item() == pytest.approx(1e-3, rel=0.05)


def test_evaluation_is_of_the_same_attack_every_time(task, flat) -> None:
    with torch.no_grad():
        found, again = (task.evaluate(flat.model(), "test") for _ in range(2))
    assert found == again
    rows = {k: v[:40] for k, v in task.dataset.splits["test"].items()}
    images = rows["images"].permute(0, 3, 1, 2) / 255
    start = images + 1e-3 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    expected = divergence(flat.module, images, start, 0.2, 3) / 40
    assert found["aux"] == pytest.approx(expected.item(), rel=1e-4)


def test_robust_accuracy_is_that_under_the_attack_on_the_cross_entropy(task, flat) -> None:
    rows = {k: v[:40] for k, v in task.dataset.splits["test"].items()}
    images = rows["images"].permute(0, 3, 1, 2) / 255
    optimizer = torch.optim.Adam(flat.module.parameters(), lr=3e-3)
    for _ in range(60):  # on these images, so that there is something to lose
        optimizer.zero_grad()
        cross_entropy(flat.module(images)[0], rows["labels"]).backward()
        optimizer.step()
    model = tasks.Model(flat.module, dict(flat.module.named_parameters()), {})

    def loss(moved):
        return cross_entropy(flat.module(moved)[0], rows["labels"], reduction="sum")

    expected = flat.module(attacked(loss, images, images, 0.2, 4))[0].argmax(1) == rows["labels"]
    with torch.no_grad():
        robust = task.final(model, "test")["robust_accuracy"]
        plain = task.evaluate(model, "test")["accuracy"]
    assert robust == pytest.approx(expected.double().mean().item(), abs=0.026)  # one image, by rounding
    assert robust < plain - 0.1


def smoke(name: str, **overrides) -> tuple[list, tasks.Task]:
    experiment = load(name, "smoke", overrides)
    assert isinstance(experiment, Experiment)
    runs = experiment.plan(lambda settings: DATA)
    return runs, tasks.create(**runs[0].task)


def test_a_population_takes_the_steps_of_single_runs() -> None:
    runs, task = smoke("robustness", lam=[0.5, 2.0], methods={"sum": {}})
    runs = [run for run in runs if run.method["name"] == "bloop"]
    together = Stepper(runs, task)
    alone = [Stepper([run], task) for run in runs]
    for batch in (batch_of(task), batch_of(task)):
        for stepper in (together, *alone):
            stepper.step(batch)
    for place, run in enumerate(together.runs):
        single = alone[runs.index(run)]
        torch.testing.assert_close(together.models.theta[place], single.models.theta, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["multi_digits", "robustness"])
def test_a_run_of_the_smallest_scale_ends_with_its_metrics(name) -> None:
    runs, task = smoke(name)
    (outcome,) = train(runs[:1], task)
    last = outcome.trajectory[-1]["test"]
    own = {"multi_digits": {"aux_accuracy"}, "robustness": {"robust_accuracy"}}
    assert set(last) == {"main", "aux", "accuracy", *own[name]}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epsilon": 0.0}, "epsilon must lie above 0 and be at most 1, got 0.0"),
        ({"epsilon": float("nan")}, "epsilon must be a finite number, got nan"),
        ({"attack_steps": 0}, "attack_steps must be at least 1, got 0"),
        ({"test_steps": 0}, "test_steps must be at least 1, got 0"),
    ],
)
def test_bad_settings_are_refused(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        tasks.create("robustness", **settings)
