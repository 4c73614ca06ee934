"""The rivals nearest to Bloop, over steps and against their authors' ideas in other libraries, in float64."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torchjd import aggregation

from scalpel_bench import methods
from scalpel_bench.benchmarks.contract import sampled, trajectory
from tests.methods.test_torchjd import TOLERANCE, direction, longest, matrices, unit


def apart(found: Tensor, expected: Tensor, gradients: Tensor) -> float:
    """The error of a direction, relative to the longer of the longest row and the direction."""
    scale = torch.maximum(longest(gradients), torch.linalg.vector_norm(expected))
    return float(torch.linalg.vector_norm(found - expected) / scale)


def test_pcd_at_the_first_step() -> None:
    """TorchJD's τ is λ / (1 + λ). At its ε = 0, which is all that has a unit."""
    for i, gradients in enumerate(map(unit, matrices())):
        lam = (0.0, 0.02, 1.0, 9.0)[(i // 16) % 4]
        expected = aggregation.PCD(lam / (1 + lam), eps=0.0)(gradients)
        assert apart(direction("pcd", gradients, lam=lam), expected, gradients) <= TOLERANCE


@pytest.mark.compares("TorchJD", "pcd")
@pytest.mark.parametrize("beta", [0.0, 0.9, 0.999])
@pytest.mark.parametrize("k", [2, 3, 5])
def test_pcd_over_steps(k: int, beta: float) -> None:
    """Lengths wander by two orders of magnitude, within what TorchJD's absolute tolerance allows."""
    scales = 10 ** (torch.rand(50, k, 1, generator=torch.Generator().manual_seed(4)) * 2 - 1).double()
    steps = [scale * gradients for scale, gradients in zip(scales, sampled(50, k=k), strict=True)]
    lam = torch.linspace(0.1, 2.0, k - 1, dtype=torch.float64)
    oracle = aggregation.PCD(lam / (1 + lam), beta, eps=0.0)
    found = trajectory(methods.create("pcd", lam=lam, beta=beta), steps)
    for gradients, ours in zip(steps, found, strict=True):
        assert apart(ours, oracle(gradients), gradients) <= TOLERANCE


def test_pcd_in_float32() -> None:
    for gradients in sampled(50, k=2) + sampled(50, k=4):
        rows = gradients.float()
        assert apart(direction("pcd", rows), direction("pcd", rows.double()), gradients) <= 1e-6


def test_pcd_gives_every_auxiliary_loss_its_share_where_that_can_be_had() -> None:
    (rows,) = sampled(1, parameters=6, k=3)
    rows = rows / torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    found = direction("pcd", rows, lam=1.0)
    torch.testing.assert_close(torch.linalg.vector_norm(found), torch.tensor(1.0).double())
    opposed = torch.stack([rows[0], rows[1], -3 * rows[1]])
    torch.testing.assert_close(direction("pcd", opposed, lam=1.0), rows[0])
    assert not torch.allclose(direction("pcd", opposed[:2], lam=9.0), rows[0])


@pytest.mark.compares("conflictfree", "config_momentum")
@pytest.mark.parametrize("k", [2, 3, 5])
def test_config_of_the_momenta(k: int) -> None:
    update = pytest.importorskip("conflictfree.grad_operator").ConFIG_update
    equal = SimpleNamespace(get_weights=lambda gradients, **_: torch.ones_like(gradients[:, 0]))
    steps, rho = sampled(40, parameters=20, k=k), 0.1
    momenta = steps[0].clone()
    for gradients, found in zip(steps, trajectory(methods.create("config_momentum"), steps), strict=True):
        momenta = (1 - rho) * momenta + rho * gradients
        expected = update(momenta, equal, use_least_square=False)
        assert apart(found, expected, gradients) <= TOLERANCE


def test_config_of_the_momenta_of_any_rank() -> None:
    """The first step is that of `config`, and so is every step of constant gradients."""
    for gradients in map(unit, matrices()[:32]):
        first, *_, last = trajectory(methods.create("config_momentum", lam=0.2, rho=0.3), [gradients] * 4)
        expected = direction("config", gradients, lam=0.2)
        assert apart(first, expected, gradients) <= TOLERANCE
        assert apart(last, expected, gradients) <= TOLERANCE


def test_the_authors_operator_agrees_where_it_starts() -> None:
    """Divided by its second moment, its first direction is the sign of ConFIG's."""
    operator = pytest.importorskip("conflictfree.momentum_operator").PseudoMomentumOperator(3)
    (gradients,) = sampled(1, k=3)
    theirs = operator.calculate_gradient([0, 1, 2], list(gradients.float()))
    torch.testing.assert_close(
        theirs.double(), direction("config_momentum", gradients).sign(), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize(
    ("name", "setting", "problem"),
    [
        ("pcd", {"beta": 1.0}, r"beta must lie in \[0, 1\), got 1.0"),
        ("pcd", {"beta": -0.1}, "beta must lie"),
        ("config_momentum", {"rho": 0.0}, r"rho must lie in \(0, 1\]"),
        ("config_momentum", {"ema": 0.1}, "config_momentum has an EMA of its own"),
    ],
)
def test_bad_settings_are_refused(name: str, setting: dict[str, float], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        methods.create(name, **setting)
