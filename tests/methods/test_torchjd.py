"""Every method that TorchJD has too against it, an independent implementation, in float64, to 1e-5 at least.

What differs is taken out of TorchJD, or a property that decides the same question takes its place:

| method           | here                                   | why                                          |
|------------------|----------------------------------------|----------------------------------------------|
| upgrad, dualproj | norm_eps = 0, reg_eps = 1e-13          | its 1e-4 change the Gram matrix, and its     |
|                  |                                        | solver needs a definite one                  |
| cagrad           | its solver stops at a gap of 1e-14;    | at its own 1e-8 it is off by up to 5e-5;     |
|                  | 0 in the convex hull: the worst        | many directions are best there               |
|                  | objective is served no worse           |                                              |
| fairgrad         | its solver stops at 1e-15; matrices    | it is off by more than the tolerance on 1 or |
|                  | that it solves, without 0 in the hull  | 2 of 42; with 0 in the hull none is best     |
| nash_mtl         | the same by its FairGrad at α = 1, and | its Nash-MTL stops early: it solves 36 of 42 |
|                  | its Nash-MTL where that is solved      | to 1e-5                                      |
| mgda, K > 2      | optimality: min ⟨g_i, d⟩ ≥ ‖d‖²        | its Frank-Wolfe has an error of 1e-3         |
| imtl_g           | dependent rows at length 1             | its pseudo-inverse is that of G, not of the  |
|                  |                                        | cosines: differs where rows are dependent    |
| moco             | ρ = 1, against MoDo with one batch     | it has no tracked gradients                  |
| pcgrad, gradvac, | it draws what the method drew          | all draw at random                           |
| graddrop, rlw    |                                        |                                              |
| famo             | the next batch in place of the second  | there is no model here to pass it through    |
|                  | pass over a batch                      |                                              |
| uncertainty      | Adam on s                              | it leaves the optimiser to the user          |
"""

from collections.abc import Iterator
from functools import cache, partial

import cvxpy
import pytest
import torch
from scipy.optimize import least_squares
from torch import Tensor
from torchjd import aggregation, scalarization
from torchjd.linalg import QuadprogProjector

from scalpel_bench import methods
from scalpel_bench.benchmarks.contract import sampled
from scalpel_bench.methods import uniform

SCALES = [(1.0, 1.0), (1e-3, 1.0), (1.0, 1e-3), (1e4, 1e4)]
TOLERANCE = 1e-5


def pairs() -> list[Tensor]:
    steps = sampled(40, parameters=12, seed=3)
    return [torch.tensor([[a], [b]], dtype=torch.float64) * g for g in steps for a, b in SCALES]


@cache
def matrices(count: int = 80, parameters: int = 24) -> list[Tensor]:
    """K in {2, 3, 5, 10}, ranks 1 to K, scales 1e-10 to 1e10; every fourth has opposed or duplicate rows."""
    generator = torch.Generator().manual_seed(7)
    found = []
    for i in range(count):
        k = (2, 3, 5, 10)[i % 4]
        rank = 1 + (i // 4) % k
        rows = torch.randn(k, rank, generator=generator, dtype=torch.float64)
        rows = rows @ torch.randn(rank, parameters, generator=generator, dtype=torch.float64)
        kind = (i // 4) % 4
        if kind == 1:
            rows[1] = rows[0] if i // 16 % 2 else -2 * rows[0]
        if kind == 2:
            rows = rows * 10 ** (4 * torch.rand(k, 1, generator=generator, dtype=torch.float64) - 2)
        found.append(10.0 ** ((10 * i) % 21 - 10) * rows)
    return found


def direction(name: str, gradients: Tensor, **settings: float) -> Tensor:
    method = methods.create(name, **settings)
    return method.combine(gradients, method.init(gradients))[0]


def longest(gradients: Tensor) -> Tensor:
    return torch.linalg.vector_norm(gradients, dim=-1).max()


def independent(gradients: Tensor) -> bool:
    values = torch.linalg.svdvals(gradients / torch.linalg.vector_norm(gradients, dim=-1, keepdim=True))
    return bool(values[-1] > 1e-4 * values[0]) and len(values) == len(gradients)


def unit(gradients: Tensor) -> Tensor:
    """The rows, in units in which TorchJD's absolute tolerances mean something."""
    return gradients / longest(gradients)


def even_if_dependent(gradients: Tensor) -> Tensor:
    lengths = torch.linalg.vector_norm(gradients, dim=-1, keepdim=True)
    return gradients if independent(gradients) else gradients / lengths


@cache
def without_stationary() -> list[Tensor]:
    """Those of the matrices whose convex hull does not contain 0, with rows of length 1 at most."""
    found = [unit(gradients) for gradients in matrices() if not stationary(gradients)]
    assert len(found) == 42
    return found


def stationary(gradients: Tensor) -> bool:
    """Whether the convex hull of the rows contains 0."""
    shortest = torch.linalg.vector_norm(gradients, dim=-1).min()
    return bool(torch.linalg.vector_norm(direction("mgda", gradients)) <= 1e-5 * shortest)


def exact() -> QuadprogProjector:
    return QuadprogProjector(norm_eps=0.0, reg_eps=1e-13)


ORACLES: dict[str, aggregation.Aggregator] = {
    "sum": aggregation.Sum(),
    "upgrad": aggregation.UPGrad(projector=exact()),
    "dualproj": aggregation.DualProj(projector=exact()),
    "aligned_mtl": aggregation.AlignedMTL(),
    "imtl_g": aggregation.IMTLG(),
    "config": aggregation.ConFIG(),
}


def error(name: str, gradients: Tensor) -> float:
    """Of the direction, relative to the longer of the longest row and TorchJD's direction."""
    expected = ORACLES[name](unit(gradients)) * longest(gradients)
    scale = torch.maximum(longest(gradients), torch.linalg.vector_norm(expected))
    return float(torch.linalg.vector_norm(direction(name, gradients) - expected) / scale)


@pytest.mark.compares("TorchJD", *ORACLES)
@pytest.mark.parametrize("name", ORACLES)
def test_direction(name: str) -> None:
    given = [even_if_dependent(g) if name == "imtl_g" else g for g in matrices()]
    assert max(error(name, g) for g in given) <= TOLERANCE


@pytest.mark.parametrize("name", ["upgrad", "dualproj", "aligned_mtl", "config"])
def test_lambda_is_the_preference_vector(name: str) -> None:
    for i, gradients in enumerate(map(unit, matrices()[:40])):
        lam = (0.2, 3.0)[i // 4 % 2]
        weights = torch.tensor([1.0] + [lam] * (len(gradients) - 1), dtype=torch.float64)
        scale = {"aligned_mtl": weights.sum(), "config": 1.0}.get(name, float(len(weights)))
        oracle = {
            "upgrad": partial(aggregation.UPGrad, projector=exact()),
            "dualproj": partial(aggregation.DualProj, projector=exact()),
            "aligned_mtl": aggregation.AlignedMTL,
            "config": aggregation.ConFIG,
        }[name](weights / scale)
        expected = oracle(gradients)
        difference = torch.linalg.vector_norm(direction(name, gradients, lam=lam) - expected)
        assert difference <= TOLERANCE * max(1.0, float(torch.linalg.vector_norm(expected)))


@pytest.mark.compares("TorchJD", "pcgrad")
@pytest.mark.parametrize("lam", [0.1, 1.0, 7.0])
def test_pcgrad_of_two(lam: float) -> None:
    for gradients in pairs():
        scaled = torch.stack([gradients[0], lam * gradients[1]])
        expected = aggregation.PCGrad()(scaled)
        torch.testing.assert_close(direction("pcgrad", gradients, lam=lam), expected, rtol=1e-9, atol=1e-12)


def give_orders(monkeypatch: pytest.MonkeyPatch, step: int, k: int) -> list[list[int]]:
    """Let TorchJD visit objectives in the orders that a method drew at a step with seed 0."""
    orders = uniform(torch.tensor(step), k * k).reshape(k, k).argsort(-1).tolist()
    following = iter(orders)

    def order(count: int) -> Tensor:
        visited = next(following)
        if count == k:
            return torch.tensor(visited)
        i = len(orders) - 1 - following.__length_hint__()
        others = [j for j in range(k) if j != i]
        return torch.tensor([others.index(j) for j in visited if j != i])

    monkeypatch.setattr(torch, "randperm", order)
    return orders


def test_pcgrad_of_more(monkeypatch: pytest.MonkeyPatch) -> None:
    for gradients in map(unit, matrices()):
        if len(gradients) > 2:
            give_orders(monkeypatch, 0, len(gradients))
            difference = direction("pcgrad", gradients) - aggregation.PCGrad()(gradients)
            assert torch.linalg.vector_norm(difference) <= TOLERANCE


def test_pcgrad_draws_a_new_order_every_step() -> None:
    gradients = next(g for g in matrices() if len(g) == 10 and independent(g))
    method = methods.create("pcgrad")
    first, state = method.combine(gradients, method.init(gradients))
    second, _ = method.combine(gradients, state)
    assert not torch.allclose(first, second)


@pytest.mark.compares("TorchJD", "mgda")
def test_mgda_of_two() -> None:
    """TorchJD's Frank-Wolfe is exact for two objectives: its first line search ends on the optimum."""
    oracle = aggregation.MGDA(epsilon=1e-12, max_iters=1000)
    for gradients in pairs()[:48]:
        found = direction("mgda", gradients)
        assert torch.linalg.vector_norm(found - oracle(gradients)) <= 1e-8 * longest(gradients)


def test_mgda_of_more() -> None:
    """On the convex hull, ‖d − d*‖² ≤ ‖d‖² − min ⟨g_i, d⟩ bounds the error of the norm."""
    for gradients in matrices():
        rows = unit(gradients)
        d = direction("mgda", rows)
        assert d @ d - (rows @ d).min() <= TOLERANCE**2


def imbalance(weights: Tensor, gradients: Tensor, alpha: float) -> float:
    """How far Gw ∘ w^(1/α) is from a constant."""
    product = (gradients @ gradients.T @ weights) * weights ** (1 / alpha)
    return float((product / product.mean() - 1).abs().max())


@pytest.mark.compares("TorchJD", "nash_mtl", "fairgrad")
@pytest.mark.parametrize(("name", "alpha"), [("nash_mtl", 1.0), ("fairgrad", 0.5), ("fairgrad", 2.0)])
def test_fair_weights(name: str, alpha: float, monkeypatch: pytest.MonkeyPatch) -> None:
    solver = partial(least_squares, xtol=1e-15, ftol=1e-15, gtol=1e-15)
    monkeypatch.setattr("torchjd.aggregation._fairgrad.least_squares", solver)
    oracle = aggregation.FairGradWeighting(alpha)
    method = methods.create(name, **({} if name == "nash_mtl" else {"alpha": alpha}))
    compared = 0
    for gradients in without_stationary():
        weights = method.coefficients(gradients @ gradients.T, {}, None)
        assert imbalance(weights, gradients, alpha) <= 1e-7
        compared += compare_fair(weights, oracle(gradients @ gradients.T), gradients, alpha)
    assert compared >= 40


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_nash_mtl() -> None:
    compared = 0
    for gradients in without_stationary():
        weights = methods.create("nash_mtl").coefficients(gradients @ gradients.T, {}, None)
        theirs = aggregation.NashMTL(len(gradients), optim_niter=100).weighting(gradients)
        compared += compare_fair(weights, theirs, gradients, 1.0)
    assert compared >= 36


@pytest.mark.parametrize("alpha", [0.05, 20.0])
def test_fair_weights_at_the_ends_of_what_is_taken(alpha: float) -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([[0.1], [1.0], [3.0]], dtype=torch.float64)
    gradients = lengths * torch.randn(3, 20, generator=generator, dtype=torch.float64)
    weights = methods.create("fairgrad", alpha=alpha).coefficients(gradients @ gradients.T, {}, None)
    assert imbalance(weights, gradients, alpha) <= 1e-7


def compare_fair(weights: Tensor, theirs: Tensor, gradients: Tensor, alpha: float) -> bool:
    """Whether theirs solve the problem; if so, both have the same direction."""
    if not imbalance(theirs, gradients, alpha) <= TOLERANCE:
        return False
    ours, expected = (w @ gradients / torch.linalg.vector_norm(w @ gradients) for w in (weights, theirs))
    assert torch.linalg.vector_norm(ours - expected) <= TOLERANCE
    return True


@pytest.fixture
def exact_cagrad(monkeypatch: pytest.MonkeyPatch) -> None:
    solve = cvxpy.Problem.solve
    tolerances = {"tol_gap_abs": 1e-14, "tol_gap_rel": 1e-14, "tol_feas": 1e-14, "max_iter": 200}
    monkeypatch.setattr(cvxpy.Problem, "solve", lambda self, solver: solve(self, solver=solver, **tolerances))


@pytest.mark.compares("TorchJD", "cagrad")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("exact_cagrad")
@pytest.mark.parametrize(("c", "first"), [pytest.param(0.1, 0, marks=pytest.mark.slow), (0.4, 0), (0.9, 1)])
def test_cagrad(c: float, first: int) -> None:
    """On every other of the matrices."""
    oracle = aggregation.CAGrad(c, norm_eps=1e-10)
    for gradients in list(without_stationary())[first::2]:
        found, expected = direction("cagrad", gradients, c=c), oracle(gradients)
        assert torch.linalg.vector_norm(found - expected) <= TOLERANCE


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("exact_cagrad")
def test_cagrad_where_the_convex_hull_contains_0() -> None:
    for i, gradients in enumerate(map(unit, matrices())):
        if not stationary(gradients):
            continue
        c = (0.1, 0.4, 0.9)[i % 3]
        mean, found = gradients.mean(0), direction("cagrad", gradients, c=c)
        expected = aggregation.CAGrad(c, norm_eps=1e-10)(gradients)
        length = torch.linalg.vector_norm(mean)
        assert torch.linalg.vector_norm(found - mean) <= c * length * (1 + 1e-9)
        assert (gradients @ found).min() >= (gradients @ expected).min() - 1e-8 * length


@pytest.mark.compares("TorchJD", "gradvac")
@pytest.mark.parametrize("k", [2, 5])
def test_gradvac(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for scale in (1e-10, 1.0, 1e10):
        method = methods.create("gradvac", beta=0.3)
        oracle = aggregation.GradVac(beta=0.3, eps=0.0)
        steps = [scale * g for g in sampled(200 // k, parameters=3, seed=5, k=k)]
        state = method.init(steps[0])
        for step, gradients in enumerate(steps):
            ours, state = method.combine(gradients, state)
            give_orders(monkeypatch, step, k)
            expected = oracle(gradients)
            difference = torch.linalg.vector_norm(ours - expected)
            assert difference <= TOLERANCE * torch.linalg.vector_norm(expected)


@pytest.mark.compares("TorchJD", "moco")
def test_moco_that_tracks_nothing() -> None:
    """Y = J at ρ = 1: the weights then are those of MoDo with the same batch twice."""
    for k in (2, 5):
        method, oracle = methods.create("moco", rho=1.0, gamma=0.3), aggregation.MoDoWeighting(0.3, 0.0)
        steps = sampled(50, parameters=12, seed=6, k=k)
        state = method.init(steps[0])
        for gradients in steps:
            ours, state = method.combine(gradients, state)
            gram = gradients @ gradients.T
            expected = oracle(gram / gram.diagonal().max()) @ gradients
            torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.compares("TorchJD", "graddrop")
def test_graddrop(monkeypatch: pytest.MonkeyPatch) -> None:
    for gradients in matrices():
        drawn = uniform(torch.tensor(0), gradients.shape[1])
        monkeypatch.setattr(torch, "rand", lambda shape, drawn=drawn, **_: drawn)
        expected = aggregation.GradDrop()(gradients)
        difference = direction("graddrop", gradients) - expected
        assert torch.linalg.vector_norm(difference) <= 1e-12 * longest(gradients)


def losses_over(count: int, k: int) -> Iterator[Tensor]:
    """Positive losses of several magnitudes, which wander."""
    generator = torch.Generator().manual_seed(8)
    logs = torch.linspace(-3, 3, k, dtype=torch.float64)
    for _ in range(count):
        logs = logs + 0.3 * torch.randn(k, generator=generator, dtype=torch.float64)
        yield logs.exp()


def derivative(oracle: scalarization.Scalarizer, losses: Tensor) -> Tensor:
    """The weights of the gradients: TorchJD's scalar, differentiated by the losses."""
    values = losses.clone().requires_grad_()
    return torch.autograd.grad(oracle(values), values)[0]


@pytest.mark.compares("TorchJD", "gls", "stch")
@pytest.mark.parametrize("k", [2, 5])
def test_weights_of_the_losses_alone(k: int) -> None:
    preferences = torch.tensor([1.0] + [0.3] * (k - 1), dtype=torch.float64)
    oracles = [
        (methods.create("gls"), scalarization.GeometricMean()),
        (methods.create("stch"), scalarization.STCH(mu=1.0)),
        (methods.create("stch", mu=0.1, lam=0.3), scalarization.STCH(0.1, preferences / preferences.sum())),
    ]
    for method, oracle in oracles:
        for losses in losses_over(200, k):
            weights, _ = method.loss_weights({}, losses)
            torch.testing.assert_close(weights, derivative(oracle, losses), rtol=1e-9, atol=1e-12)


@pytest.mark.compares("TorchJD", "dwa", "uncertainty", "famo", "rlw")
@pytest.mark.parametrize("k", [2, 5])
@pytest.mark.parametrize("name", ["dwa", "uncertainty", "famo", "rlw"])
def test_weights_that_remember(name: str, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"dwa": {"period": 7}, "uncertainty": {"lr": 0.1}, "famo": {"beta": 0.3, "gamma": 0.01}}
    method = methods.create(name, **settings.get(name, {}))
    oracle = {
        "dwa": scalarization.DWA(),
        "uncertainty": scalarization.UW(k),
        "famo": scalarization.FAMO(k),
        "rlw": scalarization.Random(),
    }[name].double()
    descent = torch.optim.Adam(oracle.parameters(), lr=0.1) if name == "uncertainty" else None
    if name == "famo":
        oracle._optimizer = torch.optim.Adam([oracle._w], lr=0.3, weight_decay=0.01)
    state = method.init(torch.eye(k, dtype=torch.float64))
    for step, losses in enumerate(losses_over(200, k)):
        if name == "famo" and step:
            oracle.update(losses)
        if name == "dwa" and step % 7 == 0:
            oracle.step()
        if name == "rlw":
            u = uniform(torch.tensor(step), 2 * k)
            normal = (-2 * (1 - u[:k]).log()).sqrt() * (2 * torch.pi * u[k:]).cos()
            monkeypatch.setattr(torch, "randn", lambda *_, normal=normal, **__: normal)
        weights, state = method.loss_weights(state, losses)
        torch.testing.assert_close(weights, derivative(oracle, losses), rtol=TOLERANCE, atol=0.0)
        if descent:
            descent.zero_grad()
            oracle(losses).backward()
            descent.step()
