"""Every method that TorchJD has too against it, an independent implementation, in float64.

Where TorchJD is inexact or defined otherwise, its parameters remove the difference or a property that decides
the same question takes its place:

| method           | here                                   | why                                          |
|------------------|----------------------------------------|----------------------------------------------|
| upgrad, dualproj | norm_eps = 0, reg_eps = 1e-13          | its 1e-4 change the Gram matrix, and its     |
|                  |                                        | solver needs a definite one                  |
| mgda, K > 2      | optimality: min ⟨g_i, d⟩ ≥ ‖d‖²        | its Frank-Wolfe has an error of 1e-3         |
| pcgrad, K > 2    | the loop of Algorithm 1 on vectors, in | both draw a random order                     |
|                  | the method's order                     |                                              |
| imtl_g           | dependent rows at length 1             | its pseudo-inverse is that of G, not of the  |
|                  |                                        | cosines: differs where rows are dependent    |
"""

import pytest
import torch
from torch import Tensor
from torchjd import aggregation
from torchjd.linalg import QuadprogProjector

from scalpel_bench import methods
from scalpel_bench.benchmarks.contract import sampled
from scalpel_bench.methods.engine.arithmetic import uniform

SCALES = [(1.0, 1.0), (1e-3, 1.0), (1.0, 1e-3), (1e4, 1e4)]
TOLERANCE = 1e-5


def pairs() -> list[Tensor]:
    steps = sampled(40, parameters=12, seed=3)
    return [torch.tensor([[a], [b]], dtype=torch.float64) * g for g in steps for a, b in SCALES]


def matrices(count: int = 200, parameters: int = 24) -> list[Tensor]:
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
            rows[1] = rows[0] if i % 8 < 4 else -2 * rows[0]
        if kind == 2:
            rows = rows * 10 ** (4 * torch.rand(k, 1, generator=generator, dtype=torch.float64) - 2)
        found.append(10.0 ** ((7 * i) % 21 - 10) * rows)
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


@pytest.mark.parametrize("name", ORACLES)
def test_direction(name: str) -> None:
    given = [even_if_dependent(g) if name == "imtl_g" else g for g in matrices()]
    assert max(error(name, g) for g in given) <= TOLERANCE


@pytest.mark.parametrize("lam", [0.1, 1.0, 7.0])
def test_pcgrad_of_two(lam: float) -> None:
    for gradients in pairs():
        scaled = torch.stack([gradients[0], lam * gradients[1]])
        expected = aggregation.PCGrad()(scaled)
        torch.testing.assert_close(direction("pcgrad", gradients, lam=lam), expected, rtol=1e-9, atol=1e-12)


def test_pcgrad_of_more() -> None:
    for gradients in matrices():
        k = len(gradients)
        if k == 2:
            continue
        order = uniform(torch.tensor(0), k * k).reshape(k, k).argsort(-1).tolist()
        total = torch.zeros_like(gradients[0])
        for i in range(k):
            left = gradients[i]
            for other in (gradients[j] for j in order[i] if j != i):
                left = left - (left @ other).clamp(max=0) / (other @ other) * other
            total = total + left
        difference = direction("pcgrad", gradients) - total
        assert torch.linalg.vector_norm(difference) <= TOLERANCE * longest(gradients)


def test_pcgrad_draws_a_new_order_every_step() -> None:
    gradients = next(g for g in matrices() if len(g) == 10 and independent(g))
    method = methods.create("pcgrad")
    first, state = method.combine(gradients, method.init(gradients))
    second, _ = method.combine(gradients, state)
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("lam", [0.1, 1.0, 7.0])
def test_mgda_of_two(lam: float) -> None:
    """TorchJD's Frank-Wolfe is exact for two objectives: its first line search ends on the optimum."""
    oracle = aggregation.MGDA(epsilon=1e-12, max_iters=1000)
    for gradients in pairs():
        scaled = torch.stack([gradients[0], lam * gradients[1]])
        found = direction("mgda", gradients, lam=lam)
        assert torch.linalg.vector_norm(found - oracle(scaled)) <= 1e-8 * longest(scaled)


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


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "alpha"), [("nash_mtl", 1.0), ("fairgrad", 0.5), ("fairgrad", 2.0)])
def test_fair_weights(name: str, alpha: float) -> None:
    method = methods.create(name, **({} if name == "nash_mtl" else {"alpha": alpha}))
    compared = 0
    for gradients in map(unit, (g for g in matrices() if not stationary(g))):
        weights = method.coefficients(gradients @ gradients.T, {}, None)
        assert imbalance(weights, gradients, alpha) <= 1e-7
        if name == "nash_mtl":
            theirs = aggregation.NashMTL(len(gradients), optim_niter=100).weighting(gradients)
        else:
            theirs = aggregation.FairGrad(alpha).gramian_weighting(gradients @ gradients.T)
        if imbalance(theirs, gradients, alpha) <= 1e-7:
            found, expected = (
                w @ gradients / torch.linalg.vector_norm(w @ gradients) for w in (weights, theirs)
            )
            assert torch.linalg.vector_norm(found - expected) <= TOLERANCE
            compared += 1
    assert compared >= 40


@pytest.mark.parametrize("c", [0.1, 0.4, 0.9])
def test_cagrad(c: float) -> None:
    oracle = aggregation.CAGrad(c, norm_eps=1e-10)
    for gradients in map(unit, matrices()):
        mean, found, expected = gradients.mean(0), direction("cagrad", gradients, c=c), oracle(gradients)
        length = torch.linalg.vector_norm(mean)
        assert torch.linalg.vector_norm(found - mean) <= c * length * (1 + 1e-9)
        assert (gradients @ found).min() >= (gradients @ expected).min() - 1e-8 * length
        if not stationary(gradients):
            assert torch.linalg.vector_norm(found - expected) <= 1e-3


def test_gradvac() -> None:
    """The source's own form over steps, for two objectives: TorchJD draws the order of more at random."""
    for scale in (1e-10, 1.0, 1e10):
        method, oracle = (
            methods.create("gradvac", beta=0.3, every=True),
            aggregation.GradVac(beta=0.3, eps=0.0),
        )
        steps = [scale * g for g in sampled(200, parameters=3, seed=5)]
        state = method.init(steps[0])
        for gradients in steps:
            ours, state = method.combine(gradients, state)
            expected = oracle(gradients)
            error = torch.linalg.vector_norm(ours - expected)
            assert error <= TOLERANCE * torch.linalg.vector_norm(expected)
