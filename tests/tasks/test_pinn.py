"""Physics-informed networks: derivatives against autograd, equations against their solutions, points."""

import math

import pytest
import torch

from scalpel_bench import tasks
from scalpel_bench.benchmarks.training import FlatModel, StackedModels
from scalpel_bench.tasks.models import EQUATIONS, Jet, JetMLP, around, inside


def _by_autograd(function, points: torch.Tensor) -> Jet:
    """Value, first derivatives and Laplacian of ``function`` ``(N, 2) → (N, D)``."""

    def of_one(point: torch.Tensor) -> torch.Tensor:
        return function(point[None])[0]

    jacobian = torch.func.vmap(torch.func.jacrev(of_one))(points)
    hessian = torch.func.vmap(torch.func.jacfwd(torch.func.jacrev(of_one)))(points)
    laplacian = hessian.diagonal(dim1=-2, dim2=-1).sum(-1)
    return Jet(function(points), jacobian[..., 0], jacobian[..., 1], laplacian)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_derivatives_are_those_of_autograd(scale: float) -> None:
    torch.manual_seed(0)
    module = JetMLP((7, 5, 6), 2, scale).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    points = torch.randn(9, 2, dtype=torch.float64)
    jet = module(points, derivatives=True)
    for ours, expected in zip(jet, _by_autograd(module, points), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-12)
        assert ours.abs().max() > 0.01


@pytest.mark.parametrize("name", EQUATIONS)
def test_the_exact_solution_solves_the_equation(name: str) -> None:
    equation = EQUATIONS[name]
    points = inside(equation, 50, torch.Generator().manual_seed(0)).double()
    exact = _by_autograd(equation.exact, points)
    for residual in equation.residuals(points, exact):
        assert residual.abs().max() < 1e-9
    shifted = exact._replace(dx=exact.dx + 0.1, laplacian=exact.laplacian + 0.1)
    assert all(residual.abs().max() > 1e-3 for residual in equation.residuals(points, shifted))


def test_kovasznay_has_the_constants_of_reynolds_number_40() -> None:
    u, v, p = EQUATIONS["kovasznay"].exact(torch.tensor([[0.5, 0.25]], dtype=torch.float64))[0].tolist()
    lam = 20 - math.sqrt(400 + 4 * math.pi**2)
    assert (u, v) == pytest.approx((1, lam / (2 * math.pi) * math.exp(lam / 2)))
    assert p == pytest.approx((1 - math.exp(lam)) / 2)


@pytest.mark.parametrize("name", EQUATIONS)
def test_points_fill_the_rectangle_and_its_boundary(name: str) -> None:
    equation = EQUATIONS[name]
    generator = torch.Generator().manual_seed(0)
    low, high = torch.tensor(equation.low), torch.tensor(equation.high)
    shares = (inside(equation, 20, generator) - low) / (high - low)
    for axis in (0, 1):
        assert sorted((20 * shares[:, axis]).long().tolist()) == list(range(20))
    edge = around(equation, 140, generator)
    on_side = torch.cat([(edge - low).abs() < 1e-6, (edge - high).abs() < 1e-6], 1)
    assert on_side.any(1).all()
    assert ((edge >= low - 1e-6) & (edge <= high + 1e-6)).all()
    width, height = (high - low).tolist()
    expected = [140 * side / (2 * (width + height)) for side in (height, width, height, width)]
    assert on_side.sum(0).tolist() == pytest.approx(expected, abs=2)


def test_losses_are_apart_or_summed() -> None:
    found = []
    for summed in (False, True):
        task = tasks.create("pinn", points=40, summed=summed)
        torch.manual_seed(0)
        flat = FlatModel(task.build(), "cpu")
        losses = list(task.losses(flat.model(), next(task.batches(torch.Generator().manual_seed(0)))))
        rows = [torch.empty_like(flat.theta, requires_grad=False) for _ in losses]
        for loss, row in zip(losses, rows, strict=True):
            flat.gradient(loss, row, keep=True)
        found.append((task.objectives, losses, rows))
    (names, losses, rows), (two, both, two_rows) = found
    assert names == ("main", "momentum_x", "momentum_y", "continuity")
    assert two == ("main", "aux")
    assert both[0] == losses[0]
    torch.testing.assert_close(both[1], sum(losses[1:]))
    torch.testing.assert_close(two_rows[1], sum(rows[1:]))


@pytest.mark.parametrize("name", EQUATIONS)
def test_the_solution_itself_has_no_loss_and_no_error(name: str) -> None:
    task = tasks.create("pinn", equation=name)
    equation = EQUATIONS[name]

    def exactly(points: torch.Tensor, derivatives: bool = False) -> torch.Tensor | Jet:
        return _by_autograd(equation.exact, points) if derivatives else equation.exact(points)

    metrics = task.evaluate(exactly, "test")
    assert {"main", "aux", "error", "mse"} <= metrics.keys()
    assert max(metrics.values()) < 1e-6

    def half(points: torch.Tensor, derivatives: bool = False) -> torch.Tensor | Jet:
        found = exactly(points, derivatives)
        return Jet(*(part / 2 for part in found)) if derivatives else found / 2

    metrics = task.evaluate(half, "test")
    exact = equation.exact(task.dataset.splits["test"]["inside"])
    assert metrics["error"] == pytest.approx(0.5)
    assert metrics["mse"] == pytest.approx(exact.square().mean().item() / 4, rel=1e-5)


@pytest.mark.parametrize(("name", "sides"), [("kovasznay", 1), ("helmholtz", 4)])
def test_a_solution_that_is_one_too_high_has_losses_that_follow(name: str, sides: int) -> None:
    task, equation = tasks.create("pinn", equation=name), EQUATIONS[name]

    def higher(points: torch.Tensor, derivatives: bool = False) -> torch.Tensor | Jet:
        found = _by_autograd(equation.exact, points)
        return found._replace(value=found.value + 1) if derivatives else found.value + 1

    points = task.dataset.splits["test"]["inside"]
    exact = _by_autograd(equation.exact, points)
    expected = {"main": sides, "mse": 1.0, "error": exact.value.square().mean().item() ** -0.5, "aux": 1.0}
    if name == "kovasznay":  # (u + 1) ∂u/∂x + (v + 1) ∂u/∂y: both slopes are too much
        along_x, along_y, _ = (exact.dx + exact.dy).square().mean(0).tolist()
        expected |= {"momentum_x": along_x, "momentum_y": along_y, "continuity": 0, "aux": along_x + along_y}
    assert task.evaluate(higher, "test") == pytest.approx(expected, rel=1e-4, abs=1e-6)
    batch = next(task.batches(torch.Generator().manual_seed(0)))
    assert next(task.losses(higher, batch)).item() == pytest.approx(sides, rel=1e-5)


def test_networks_side_by_side_have_their_own_losses_and_gradients() -> None:
    task = tasks.create("pinn", points=30, boundary_points=12, hidden=(6, 5))
    modules = [task.build() for _ in range(2)]
    batch = next(task.batches(torch.Generator().manual_seed(0)))
    stacked = StackedModels(modules, "cpu", shared_batch=True)
    together = list(stacked.losses(task, batch))
    rows = [stacked.gradient_in_parts(loss, keep=True)[0] for loss in together]
    for replica, module in enumerate(modules):
        flat = FlatModel(module, "cpu")
        for loss, row, own in zip(together, rows, task.losses(flat.model(), batch), strict=True):
            torch.testing.assert_close(loss[replica], own)
            expected = torch.empty_like(flat.theta, requires_grad=False)
            flat.gradient(own, expected, keep=True)
            torch.testing.assert_close(row[replica], expected, rtol=1e-4, atol=1e-6)


def test_splits_are_draws_of_their_own() -> None:
    splits = tasks.create("pinn").dataset.splits
    points = [tuple(point) for split in splits.values() for point in split["inside"].tolist()]
    assert len(set(points)) == len(points) == 3000


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("equation", "burgers", "equation must be one of kovasznay, helmholtz, got 'burgers'"),
        ("points", 0, "points must be at least 1, got 0"),
        ("boundary_points", 3, "boundary_points must be at least 4, got 3"),
        ("evaluation_points", 1, "evaluation_points must be at least 20, got 1"),
        ("hidden", [50, 0], r"hidden must be widths of at least 1, got \[50, 0\]"),
    ],
)
def test_bad_settings_are_refused(setting: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tasks.create("pinn", **{setting: value})
