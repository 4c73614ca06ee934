"""Methods whose λ is a bound: against Cooper, against known multipliers, and by formula."""

from collections.abc import Callable
from functools import partial
from itertools import product

import pytest
import torch
from torch import Tensor

from scalpel_bench import methods
from scalpel_bench.benchmarks.contract import sampled

CENTRE = torch.tensor([3.0, 4.0], dtype=torch.float64)


def main_and_aux(theta: Tensor) -> tuple[Tensor, Tensor]:
    """½ ‖θ − CENTRE‖² and ½ ‖θ‖²: the least main loss with aux ≤ c is at √(2 c) of CENTRE's direction.

    The multiplier there is ‖CENTRE‖ / √(2 c) − 1; for the least aux with main ≤ c it is the same.
    """
    return (theta - CENTRE).square().sum() / 2, theta.square().sum() / 2


def descend(
    method: methods.BaseMethod,
    steps: int,
    lr: float,
    losses: Callable[[Tensor], tuple[Tensor, Tensor]] = main_and_aux,
) -> tuple[Tensor, methods.State, list[Tensor]]:
    theta, path = torch.zeros(2, dtype=torch.float64).requires_grad_(), []
    state: methods.State = {}
    for _ in range(steps):
        values = losses(theta)
        gradients = torch.stack([torch.autograd.grad(loss, theta, retain_graph=True)[0] for loss in values])
        state = state or method.init(gradients)
        direction, state = method.combine(gradients, state, torch.stack(values).detach())
        theta = (theta - lr * direction).detach().requires_grad_()
        path.append(theta.detach())
    return theta.detach(), state, path


@pytest.mark.compares("Cooper", "lagrangian")
@pytest.mark.parametrize("damping", [0.0, 0.7])
@pytest.mark.parametrize("bounded", ["aux", "main"])
def test_the_lagrangian_follows_cooper(damping: float, bounded: str) -> None:
    """200 steps: its dual variable moves first, and damping is the penalty of its augmented Lagrangian."""
    cooper = pytest.importorskip("cooper", reason="needs cooper-optim, of the extra peers")
    theta = torch.zeros(2, dtype=torch.float64, requires_grad=True)

    def losses(at: Tensor) -> tuple[Tensor, Tensor]:
        main, aux = main_and_aux(at)
        return main + 0.1 * torch.sin(5 * at).sum(), aux + 0.1 * torch.cos(3 * at).sum()

    class Problem(cooper.ConstrainedMinimizationProblem):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            penalty = cooper.penalty_coefficients.DensePenaltyCoefficient(
                init=torch.tensor([damping], dtype=torch.float64)
            )
            self.bound = cooper.Constraint(
                constraint_type=cooper.ConstraintType.INEQUALITY,
                formulation_type=getattr(
                    cooper.formulations, "AugmentedLagrangian" if damping else "Lagrangian"
                ),
                multiplier=cooper.multipliers.DenseMultiplier(num_constraints=1, dtype=torch.float64),
                penalty_coefficient=penalty if damping else None,
            )

        def compute_cmp_state(self) -> object:
            main, aux = losses(theta)
            free, held = (main, aux) if bounded == "aux" else (aux, main)
            return cooper.CMPState(free, {self.bound: cooper.ConstraintState(held - 2.0)})

    problem = Problem()
    optimizer = cooper.optim.AlternatingDualPrimalOptimizer(
        problem,
        torch.optim.SGD([theta], lr=0.05),
        torch.optim.SGD(problem.dual_parameters(), lr=0.1, maximize=True),
    )
    method = methods.create("lagrangian", lam=2.0, rate=0.1, damping=damping, bounded=bounded)
    _, state, path = descend(method, 200, 0.05, losses)
    multipliers = []
    for at in path:
        optimizer.roll()
        multipliers.append(float(problem.bound.multiplier().detach()))
        torch.testing.assert_close(theta.detach(), at, rtol=0, atol=1e-9)
    assert max(multipliers) > 0.5
    assert float(state["mu"]) == pytest.approx(multipliers[-1], abs=1e-9)


@pytest.mark.parametrize(("bounded", "c"), [("aux", 2.0), ("main", 4.5)])
@pytest.mark.parametrize("name", ["lagrangian", "constrained_barrier"])
def test_it_comes_to_rest_on_the_bound_at_the_multiplier_of_the_conditions(
    name: str, bounded: str, c: float
) -> None:
    settings = {"rate": 0.1, "damping": 0.5} if name == "lagrangian" else {}
    method = methods.create(name, lam=c, bounded=bounded, **settings)
    theta, state, _ = descend(method, 400, 0.05)
    radius = (2 * c) ** 0.5
    expected = CENTRE / 5 * (radius if bounded == "aux" else 5 - radius)
    torch.testing.assert_close(theta, expected, rtol=0, atol=1e-6)
    if name == "lagrangian":
        assert float(state["mu"]) == pytest.approx(5 / radius - 1, abs=1e-6)


@pytest.mark.parametrize("name", ["lagrangian", "constrained_barrier"])
def test_a_bound_that_does_not_bind_leaves_the_other_loss_its_minimum(name: str) -> None:
    method = methods.create(name, lam=20.0, bounded="aux")
    theta, _, _ = descend(method, 400, 0.05)
    torch.testing.assert_close(theta, CENTRE, rtol=0, atol=1e-6)


@pytest.mark.compares("formula", "constrained_barrier")
@pytest.mark.parametrize("bounded", ["aux", "main"])
def test_the_constrained_barrier_is_the_nearest_direction_that_falls_fast_enough(bounded: str) -> None:
    i = 0 if bounded == "main" else 1
    for step, gradients in enumerate(sampled(20)):
        losses = torch.tensor([1.0 + step, 30.0 - step], dtype=torch.float64)
        method = methods.create("constrained_barrier", lam=11.0, bounded=bounded, alpha=0.7, beta=0.4)
        direction, _ = method.combine(gradients, {}, losses)
        held, free = gradients[i], gradients[1 - i]
        phi = min(0.7 * float(losses[i] - 11.0), 0.4 * float(held @ held))
        short = max(0.0, phi - float(free @ held))
        torch.testing.assert_close(direction, free + short / (held @ held) * held)
        assert float(direction @ held) >= phi - 1e-9


@pytest.mark.parametrize("name", ["lagrangian", "constrained_barrier"])
def test_bounds_below_zero_and_one_for_each_of_a_batch(name: str) -> None:
    """As tensors of the leading shape, or with one place for the auxiliary loss; with blocks too."""
    bounds = torch.tensor([[-5.0, 0.0, 0.5], [1.0, 1.5, 2.5]], dtype=torch.float64)
    gradients = torch.stack(sampled(6)).reshape(2, 3, 2, 30)
    losses = torch.tensor([1.0, 2.0], dtype=torch.float64).expand(2, 3, 2)
    settings = {"rate": 2.0} if name == "lagrangian" else {"alpha": 9.0}
    for blocks in (None, (10, 20)):
        make = partial(methods.create, name, blocks=blocks, **settings)
        alone = torch.empty(2, 3, 30, dtype=torch.float64)
        for i, j in product(range(2), range(3)):
            method, rows = make(lam=float(bounds[i, j])), gradients[i, j]
            alone[i, j], _ = method.combine(rows, method.init(rows), losses[i, j])
        assert len({round(float(d.norm()), 6) for d in alone.flatten(0, 1)}) == 6
        for lam in (bounds, bounds[..., None]):
            method = make(lam=lam)
            found, _ = method.combine(gradients, method.init(gradients), losses)
            torch.testing.assert_close(found, alone)


def test_what_a_bound_refuses() -> None:
    with pytest.raises(ValueError, match="lam must be a finite number or a tensor, got nan"):
        methods.create("lagrangian", lam=float("nan"))
    with pytest.raises(ValueError, match="bounded must be one of aux, main, got 'both'"):
        methods.create("lagrangian", bounded="both")
    with pytest.raises(ValueError, match="rate must be > 0 and damping at least 0, got 0"):
        methods.create("lagrangian", rate=0)
    with pytest.raises(ValueError, match="alpha and beta must be > 0"):
        methods.create("constrained_barrier", alpha=-1.0)
    with pytest.raises(ValueError, match="lam must be finite and at least 0, got -1"):
        methods.create("sum", lam=-1.0)
