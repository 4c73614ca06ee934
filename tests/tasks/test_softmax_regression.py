"""The convex task: its derivatives against autograd, its minimisers against scipy, its exact front."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from scalpel_bench import tasks
from scalpel_bench.benchmarks.training import FlatModel
from scalpel_bench.tasks.models import ExactFront, TwoLabellings
from scalpel_bench.tasks.softmax_regression import _load, _on
from tests.gradients import gradient

LAMS = (0.0, 0.037, 0.6, 4.0)


@pytest.fixture(scope="module")
def problem() -> TwoLabellings:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(40, 3, generator=generator, dtype=torch.float64)
    labels = torch.randint(4, (40,), generator=generator)
    inputs = torch.cat([inputs, torch.ones(40, 1, dtype=torch.float64)], 1)
    return TwoLabellings(inputs, torch.stack([labels, (labels + 1) % 4]), 4, 0.05)


@pytest.fixture(scope="module")
def digits() -> tasks.Task:
    return tasks.create("softmax_regression", examples=200, l2=0.3)


def _theta(problem: TwoLabellings) -> torch.Tensor:
    shape = (problem.classes, problem.inputs.shape[1])
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_gradient_and_hessian_are_autograds(problem: TwoLabellings) -> None:
    theta = _theta(problem)
    weights = torch.tensor([1.0, 0.7], dtype=torch.float64)

    def mixed(flat: torch.Tensor) -> torch.Tensor:
        return weights @ problem.losses(flat.view_as(theta))

    flat = theta.flatten()
    expected = torch.func.grad(mixed)(flat).view_as(theta)
    torch.testing.assert_close(problem.gradient(theta, 0.7), expected, rtol=1e-12, atol=1e-14)
    hessian = torch.func.hessian(mixed)(flat)
    torch.testing.assert_close(1.7 * problem.hessian(theta), hessian, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("lam", LAMS)
def test_minimisers_are_stationary_and_those_of_scipy(problem: TwoLabellings, lam: float) -> None:
    theta = problem.minimise(lam)
    assert problem.gradient(theta, lam).norm() < 1e-10

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        at = torch.from_numpy(flat).view_as(theta)
        main, aux = problem.losses(at)
        return (main + lam * aux).item(), problem.gradient(at, lam).flatten().numpy()

    found = minimize(loss, _theta(problem).flatten().numpy(), jac=True, method="BFGS", options={"gtol": 1e-9})
    np.testing.assert_allclose(found.x, theta.flatten().numpy(), atol=1e-6)


def test_minimisers_of_the_digits_are_stationary(digits: tasks.Task) -> None:
    start = torch.full((10, 65), 5.0, dtype=torch.float64) * torch.arange(10)[:, None]
    for lam in (0.0, 0.6):
        theta = digits.exact.minimise(lam, start)
        assert digits.exact.gradient(theta, lam).norm() < 1e-10


def test_a_minimum_that_is_not_reached_is_refused(problem: TwoLabellings, monkeypatch) -> None:
    monkeypatch.setattr("scalpel_bench.tasks.models.softmax._MOST_STEPS", 1)
    with pytest.raises(ArithmeticError, match="λ = 1: the gradient is .* after 1 steps"):
        problem.minimise(1.0)


def test_the_front_is_exact_between_its_points(digits: tasks.Task) -> None:
    theta = None
    for lam in (0.0, 0.004, 0.3, 4.0):
        theta = digits.exact.minimise(lam, theta)
        main, aux = digits.exact.losses(theta).tolist()
        assert digits.exact.front.main(aux) == pytest.approx(main, abs=5e-5)


def test_the_front_of_two_parabolas() -> None:
    lams = 0.1 * np.sinh(np.linspace(0, np.arcsinh(100), 21))
    theta = lams / (1 + lams)  # of θ² / 2 + λ (θ − 1)² / 2
    front = ExactFront(lams, np.stack([theta**2 / 2, (theta - 1) ** 2 / 2], 1))
    for aux in (0.5, 0.3, 0.05, 0.02):
        assert front.main(aux) == pytest.approx((1 - np.sqrt(2 * aux)) ** 2 / 2, abs=1e-5)
    assert front.main(0.7) == 0
    assert front.main(0.0) == pytest.approx(10 / 22, abs=1e-5)  # the tangent at λ = 10


def test_no_parameters_lie_below_the_front(problem: TwoLabellings) -> None:
    generator = torch.Generator().manual_seed(2)
    for lam in (0.0, 0.3, 2.0):
        best = problem.minimise(lam)
        for _ in range(50):
            theta = best + 0.3 * torch.randn(best.shape, generator=generator, dtype=torch.float64)
            main, aux = problem.losses(theta).tolist()
            assert main - problem.front.main(aux) > -1e-5


def test_the_labels_conflict(digits: tasks.Task) -> None:
    """λ costs main loss, and the auxiliary minimum is the main one, one class further."""
    exact = digits.exact
    best = exact.minimise(0.0)
    main, aux = exact.losses(best).tolist()
    shifted_main, shifted_aux = exact.losses(best.roll(1, 0)).tolist()
    assert (shifted_aux, aux > 2 * main) == (pytest.approx(main, rel=1e-12), True)
    of_aux = exact.gradient(best.roll(1, 0), 1.0) - exact.gradient(best.roll(1, 0), 0.0)
    assert of_aux.norm() < 1e-10
    mains = exact.front.points[:, 0]
    assert (np.diff(mains) > 0).all()
    assert mains[-1] > 2 * mains[0]
    assert shifted_main > mains[-1]


def test_evaluates_distances_to_the_front(digits: tasks.Task) -> None:
    exact, flat = digits.exact, FlatModel(digits.build(), "cpu")
    for lam, excess in ((0.0, 0.0), (0.5, None)):
        theta = exact.minimise(lam)
        flat.write(flat.theta, {"weight": theta[:, :-1].float(), "bias": theta[:, -1].float()})
        metrics = digits.evaluate(flat.model(), "train")
        main, aux = exact.losses(theta).tolist()
        assert (metrics["main"], metrics["aux"]) == pytest.approx((main, aux), abs=1e-6)
        assert metrics["regret"] == pytest.approx(0, abs=5e-5)
        assert metrics["excess"] == pytest.approx(main - exact.front.points[0, 0], abs=1e-6)
        assert excess is None or metrics["excess"] == pytest.approx(excess, abs=1e-6)
    found, test = digits.evaluate(flat.model(), "test"), _on(_load("embedded", 200).splits["test"], 0.3)
    assert set(found) == {"main", "aux", "accuracy"}
    right = (test.inputs @ theta.T).argmax(1) == test.labels[0]
    assert found["accuracy"] == right.double().mean().item() > 0.5


def test_training_losses_are_the_exact_ones_on_a_full_batch() -> None:
    task = tasks.create("softmax_regression", examples=100, batch_size=100)
    flat = FlatModel(task.build(), "cpu")
    parts = flat.model().parameters
    theta = torch.cat([parts["weight"], parts["bias"][:, None]], 1).detach().double()
    batch = next(task.batches(torch.Generator().manual_seed(0)))
    main, aux = task.losses(flat.model(), batch)
    expected = task.exact.losses(theta)
    assert (main.item(), aux.item()) == pytest.approx(tuple(expected.tolist()), rel=1e-5)
    weights = task.exact.gradient(theta, 0.0)
    found = gradient(flat, main).double()
    torch.testing.assert_close(
        found, torch.cat([weights[:, :-1].flatten(), weights[:, -1]]), rtol=1e-3, atol=1e-5
    )


def test_batches_are_drawn_with_replacement_for_each_loss_apart() -> None:
    task = tasks.create("softmax_regression", examples=50, batch_size=49)
    batches = task.batches(torch.Generator().manual_seed(0))
    first, second = next(batches), next(batches)
    assert not torch.equal(first["main_images"], first["aux_images"])
    assert not torch.equal(first["main_images"], second["main_images"])
    assert len(first["main_images"].unique(dim=0)) < 45
    train = task.dataset.splits["train"]
    for name, label in (("main", "main"), ("aux", "aux")):
        for image, its in zip(first[f"{name}_images"], first[f"{name}_labels"], strict=True):
            rows = (train["images"] == image).all(1)
            assert its in train[label][rows]


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="l2 must be above 0"):
        tasks.create("softmax_regression", l2=0.0)
    with pytest.raises(ValueError, match="batch_size must be at most the 50 training images, got 51"):
        _ = tasks.create("softmax_regression", examples=50, batch_size=51).dataset


def test_large_images_are_averaged_over_blocks() -> None:
    from scalpel_bench.tasks.softmax_regression import _averaged

    images = torch.arange(2 * 28 * 28, dtype=torch.float32).view(2, 784)
    small = _averaged(images)
    assert small.shape == (2, 49)
    assert small[1, 8] == images.view(2, 28, 28)[1, 4:8, 4:8].mean()
    assert torch.equal(_averaged(images[:, :64]), images[:, :64])
