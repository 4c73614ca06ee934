"""What the Bloop paper proves, checked on problems with known answers, in float64."""

import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor

from scalpel_bench import methods
from scalpel_bench.benchmarks.experiments.loading import load
from scalpel_bench.benchmarks.experiments.settings import Simulation
from scalpel_bench.benchmarks.figures import simulations as figures
from scalpel_bench.benchmarks.simulations import SIMULATIONS, noise
from scalpel_bench.benchmarks.simulations import theorem2 as rates
from scalpel_bench.benchmarks.simulations.registry import register
from tests.benchmarks.runs import DATA


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("rho", [1.0, 0.1])
def test_proposition_1_full_batch_bloop_solves_the_bilevel_problem(rho: float) -> None:
    """Main ½‖Aθ − b‖² with rank 3 of 10, aux ½‖θ − t‖²: the solution is the projection of t on {Aθ = b}."""
    a, b, t = normal(3, 10), normal(3, seed=1), normal(10, seed=2)
    solution = t + torch.linalg.pinv(a) @ (b - a @ t)
    step = 0.2 / torch.linalg.matrix_norm(a, 2) ** 2
    theta, method, state = (
        torch.zeros(10, dtype=torch.float64),
        methods.create("bloop", lam=5.0, rho=rho),
        None,
    )
    for k in range(2000):
        gradients = torch.stack([a.T @ (a @ theta - b), theta - t])
        state = state if state is not None else method.init(gradients)
        direction, state = method.combine(gradients, state)
        theta = theta - step / (1 + k / 100) * direction
    start = torch.linalg.vector_norm(solution)
    assert torch.linalg.vector_norm(theta - solution) < 0.01 * start
    assert torch.linalg.vector_norm(a @ theta - b) < 0.03 * torch.linalg.vector_norm(b)


def test_with_opposed_losses_full_batch_bloop_still_minimises_the_main_loss() -> None:
    """L_aux = −L_main: the projection of g_a vanishes, where the plain sum at λ = 2 climbs."""
    hessian = torch.linspace(0.5, 2, 10, dtype=torch.float64)

    def end(name: str) -> float:
        theta, method, state = normal(10), methods.create(name, lam=2.0), None
        for _ in range(200):
            gradients = torch.stack([hessian * theta, -hessian * theta])
            state = state if state is not None else method.init(gradients)
            direction, state = method.combine(gradients, state)
            theta = theta - 0.1 * direction
        return float(theta @ (hessian * theta))

    start = float(normal(10) @ (hessian * normal(10)))
    assert end("bloop_no_ema") < 1e-6 * start
    assert end("sum") > 1e6 * start


def test_theorem_2_exponents_of_the_step_size() -> None:
    """The EMA's squared error falls like η^(2/3), the squared main gradient at least as fast as η^(1/3)."""
    experiment = load("theorem2", "smoke", {"etas": {"low": 3e-3, "high": 5e-2, "count": 3}, "horizon": 12.0})
    (run,) = experiment.plan(lambda settings: DATA)
    frame = pd.DataFrame(rates.simulate(run))
    assert 0.6 < rates.exponent(frame, "ema_error") < 0.85
    assert rates.exponent(frame, "main_gradient") > 1 / 3


def test_without_an_ema_noise_turns_surgery_into_the_plain_sum() -> None:
    """Figure 2: the mean direction leaves Bloop's for g_m + (1 − 1/p) g_a as σ grows; an EMA delays it."""
    experiment = load("fig2", "smoke", {"draws": 4000, "sigmas": {"low": 1e-2, "high": 1e2, "count": 3}})
    (run,) = experiment.plan(lambda settings: DATA)
    rows = {(row["rho"], row["sigma"]): row for row in noise.simulate(run)}
    quiet, even, loud = run.sigmas
    assert rows[1.0, quiet]["to_bloop"] < 0.01
    assert rows[1.0, loud]["to_mixed"] < 0.1
    assert 0.3 < rows[1.0, even]["to_bloop"] < 0.7
    assert rows[0.01, even]["to_bloop"] < 0.05


@pytest.mark.parametrize("rho", [0.5, 0.01])
def test_an_ema_is_as_noisy_as_its_sum_of_batches(rho: float) -> None:
    """m = Σ ρ (1 − ρ)^k g_k: the projection on it is that on one batch with the noise of this sum."""
    factor = (rho**2 * ((1 - rho) ** (2 * torch.arange(5000, dtype=torch.float64))).sum()) ** 0.5
    experiment = load("fig2", "smoke", {"draws": 100})
    (run,) = experiment.plan(lambda settings: DATA)
    (ema,) = noise.simulate(run.model_copy(update={"sigmas": (3.0,), "rhos": (rho,)}))
    (one,) = noise.simulate(run.model_copy(update={"sigmas": (3.0 * factor.item(),), "rhos": (1.0,)}))
    assert (ema["to_bloop"], ema["to_mixed"]) == pytest.approx((one["to_bloop"], one["to_mixed"]))


def test_rates_are_means_over_the_second_half_of_plain_bloop() -> None:
    experiment = load("theorem2", "smoke", {"replicas": 3, "dimension": 4})
    (run,) = experiment.plan(lambda settings: DATA)
    (row,) = rates.simulate(run.model_copy(update={"etas": (0.1,), "horizon": 1.0}))
    generator = torch.Generator().manual_seed(run.seed)
    hessian = torch.linspace(0.5, 2, 4, dtype=torch.float64)
    target = 2 * torch.randn(4, generator=generator, dtype=torch.float64)
    theta, rho = torch.zeros(3, 4, dtype=torch.float64), 0.5 * 0.1 ** (2 / 3)
    memory, errors, lengths = theta, [], []
    for step in range(10):
        main = hessian * theta
        noisy = main + torch.randn(3, 4, generator=generator, dtype=torch.float64)
        errors.append((memory - main).square().sum(1).mean().item())
        lengths.append(main.square().sum(1).mean().item())
        reference = memory if step else noisy
        along = ((theta - target) * reference).sum(1) / reference.square().sum(1)
        theta = theta - 0.1 * (noisy + theta - target - along[:, None] * reference)
        memory = memory + rho * (noisy - memory) if step else noisy
    means = (sum(errors[5:]) / 5, sum(lengths[5:]) / 5)
    assert (row["ema_error"], row["main_gradient"]) == pytest.approx(means)


def test_the_quantities_of_noise_are_those_at_its_most() -> None:
    rows = [
        {"sigma": sigma, "rho": rho, "to_bloop": sigma * rho, "to_mixed": 10 * sigma * rho}
        for sigma in (3.0, 0.1)
        for rho in (1.0, 0.5)
    ]
    assert noise.quantities(pd.DataFrame(rows)) == pytest.approx(
        {"to_bloop rho=1": 3.0, "to_bloop rho=0.5": 1.5, "to_mixed rho=1": 30.0, "to_mixed rho=0.5": 15.0}
    )


def test_figure_2_draws_means_over_seeds_by_what_they_are_distances_to() -> None:
    rows = [
        {"sigma": sigma, "rho": 1.0, "seed": seed, "to_bloop": sigma + seed, "to_mixed": 10 * sigma + seed}
        for sigma in (0.1, 3.0)
        for seed in (0, 2)
    ]
    axes = Figure().subplots()
    figures.noise.draw(axes, pd.DataFrame(rows))
    drawn = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert drawn["no EMA: to Bloop's direction"] == pytest.approx([1.1, 4.0])
    assert drawn["no EMA: to the noise limit"] == pytest.approx([2.0, 31.0])


def test_the_dashed_lines_of_theorem_2_have_the_slopes_of_the_theory() -> None:
    etas = [0.01, 0.02, 0.08]
    powers = {column: theory for column, (_, theory) in rates.QUANTITIES.items()}
    frame = pd.DataFrame([{"eta": eta, **{c: 3 * eta**p for c, p in powers.items()}} for eta in etas])
    axes = Figure().subplots()
    figures.theorem2.draw(axes, frame)
    dashed = [list(line.get_ydata()) for line in axes.lines if line.get_linestyle() == "--"]
    assert dashed == [pytest.approx([3 * eta**p for eta in etas]) for p in powers.values()]


def test_every_kind_of_simulation_is_computed_and_drawn() -> None:
    kinds = {kind.model_fields["kind"].default for kind in Simulation.__subclasses__()}
    assert kinds == SIMULATIONS.keys() == figures._DRAW.keys()
    with pytest.raises(ValueError, match="two simulations are of kind 'noise'"):
        register("noise", SIMULATIONS["noise"])
