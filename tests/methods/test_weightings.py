"""Weightings of losses of whole training: against TorchJD, LibMTL and autograd, and where they lead."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torchjd import scalarization

from scalpel_bench import methods
from scalpel_bench.benchmarks.contract import sampled
from scalpel_bench.benchmarks.speed import peers
from tests.methods.test_torchjd import TOLERANCE, derivative, losses_over, matrices

EXACT = {torch.float64: TOLERANCE, torch.float32: 32 * torch.finfo(torch.float32).eps}
DTYPES = pytest.mark.parametrize("dtype", list(EXACT))


def steps(k: int, count: int = 200, dtype: torch.dtype = torch.float64) -> Iterator[tuple[Tensor, Tensor]]:
    """Gradients ``(k, 12)`` of several lengths, and losses ``(k,)`` that wander."""
    lengths = torch.logspace(-2, 2, k, dtype=torch.float64)[:, None]
    for rows, losses in zip(sampled(count, parameters=12, k=k), losses_over(count, k), strict=True):
        yield (lengths * rows).to(dtype), losses.to(dtype)


def assert_direction(found: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    assert found.dtype == dtype
    assert (found.double() - expected).norm() <= EXACT[dtype] * expected.norm()


def ray(k: int, lam: float) -> Tensor:
    """Where L_m = λ L_a, of sum 1."""
    losses = torch.tensor([lam] + [1.0] * (k - 1), dtype=torch.float64)
    return losses / losses.sum()


@pytest.mark.compares("TorchJD", "cosmos", "pbi")
@pytest.mark.parametrize(("k", "lam"), [(2, 0.3), (3, 0.0), (5, 4.0)])
def test_preferences_of_losses_against_torchjd(k: int, lam: float) -> None:
    oracles = [
        (methods.create("pbi", lam=lam), scalarization.PBI(5.0, ray(k, lam))),
        (methods.create("pbi", theta=0.7, lam=lam), scalarization.PBI(0.7, ray(k, lam))),
        (methods.create("cosmos", lam=lam), scalarization.COSMOS(5.0, ray(k, lam))),
        (methods.create("cosmos", mu=0.1, lam=lam), scalarization.COSMOS(0.1, ray(k, lam))),
    ]
    for method, oracle in oracles:
        for coarse, short in steps(k, dtype=torch.float32):
            rows, losses = coarse.double(), short.double()
            weights = derivative(oracle, losses)
            scale = weights.abs() @ rows.norm(dim=1)
            for dtype, tolerance in EXACT.items():
                found, _ = method.combine(rows.to(dtype), {}, losses.to(dtype))
                assert (found.double() - weights @ rows).norm() <= tolerance * scale


@pytest.mark.compares("TorchJD", "imtl_l")
@DTYPES
@pytest.mark.parametrize("k", [2, 5])
def test_imtl_l_against_torchjd(k: int, dtype: torch.dtype) -> None:
    method, oracle = methods.create("imtl_l", lr=0.1), scalarization.IMTLL(k).double()
    descent, state = torch.optim.Adam(oracle.parameters(), lr=0.1), method.init(torch.zeros(k, 12))
    for rows, losses in steps(k, dtype=dtype):
        found, state = method.combine(rows, state, losses)
        assert_direction(found, derivative(oracle, losses.double()) @ rows.double(), dtype)
        descent.zero_grad()
        oracle(losses.double()).backward()
        descent.step()


class Peer:
    """LibMTL's GradNorm at losses whose gradients with respect to one vector are given."""

    def __init__(self, k: int, first: Tensor) -> None:
        if peers._missing("LibMTL"):
            pytest.skip("needs LibMTL, of the extra peers")
        _, weighting = peers._libmtl()

        class GradNorm(weighting.GradNorm):
            task_num, device, rep_grad, epoch = k, "cpu", False, 1
            train_loss_buffer = first[:, None]

            def get_share_params(self) -> list[nn.Parameter]:
                return [self.theta]

            def zero_grad_share_params(self) -> None:
                self.theta.grad.zero_()

        self.own = GradNorm()
        self.own.theta = nn.Parameter(torch.zeros(12))
        self.own.init_param()
        self.descent = torch.optim.SGD([self.own.loss_scale], lr=0.1)

    def direction(self, rows: Tensor, losses: Tensor, alpha: float) -> Tensor:
        """Lengths are in units of their mean: LibMTL's descent depends on their unit."""
        weights = len(rows) * self.own.loss_scale.detach().softmax(0)
        unit = (weights * rows.norm(dim=1)).mean()
        self.descent.zero_grad()
        self.own.theta.grad = torch.zeros(12)
        self.own.backward(rows / unit @ self.own.theta + losses, alpha=alpha)
        self.descent.step()
        return self.own.theta.grad * unit


@pytest.fixture
def in_float64() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.compares("LibMTL", "gradnorm")
@DTYPES
@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize(("k", "alpha"), [(2, 1.5), (5, 0.5), (5, 0.0)])
def test_gradnorm_against_libmtl(k: int, alpha: float, dtype: torch.dtype) -> None:
    method = methods.create("gradnorm", alpha=alpha, lr=0.1)
    given = list(steps(k, dtype=dtype))
    peer, state = Peer(k, given[0][1].double()), method.init(given[0][0])
    for rows, losses in given:
        found, state = method.combine(rows, state, losses)
        expected = peer.direction(rows.double(), losses.double(), alpha)
        assert_direction(found, expected, dtype)
    assert state["s"].abs().max() > 0.5


@pytest.mark.compares("formula", "db_mtl", "si")
@pytest.mark.parametrize("lam", [0.0, 0.3])
def test_gradients_of_logarithms(lam: float) -> None:
    """By autograd, of losses that are linear in θ; those of DB-MTL brought to the length of the longest."""
    generator = torch.Generator().manual_seed(3)
    for rows in matrices():
        k = len(rows)
        values = torch.rand(k, generator=generator, dtype=torch.float64) + 0.01
        theta = torch.zeros(rows.shape[1], dtype=torch.float64, requires_grad=True)
        logs = (rows @ theta + values).log()
        own = torch.stack([torch.autograd.grad(log, theta, retain_graph=True)[0] for log in logs])
        weights = torch.tensor([1.0] + [lam] * (k - 1), dtype=torch.float64)
        lengths = own.norm(dim=1, keepdim=True)
        expected = {"si": weights @ own, "db_mtl": weights @ (own / lengths * lengths.max())}
        for name, direction in expected.items():
            method = methods.create(name, lam=lam)
            found, _ = method.combine(rows, method.init(rows), values)
            assert (found - direction).norm() <= 1e-9 * (weights @ lengths).max() * k
            coarse, _ = method.combine(rows.float(), method.init(rows), values.float())
            scale = lengths.max() * weights.sum()
            assert (coarse.double() - direction).norm() <= EXACT[torch.float32] * scale


def test_db_mtl_leaves_a_missing_gradient_out() -> None:
    rows, losses = torch.tensor([[3.0, 4.0], [0.0, 0.0]]), torch.tensor([2.0, 0.1])
    found, _ = methods.create("db_mtl").combine(rows, {}, losses)
    assert found.tolist() == [1.5, 2.0]


def test_what_coincides_with_the_scale_invariant_sum() -> None:
    """gls at every step, up to length; imtl_l and twice uncertainty always, and that where losses stand."""
    gls, si, imtl_l, uncertainty = (
        methods.create(n, lam=0.3) for n in ("gls", "si", "imtl_l", "uncertainty")
    )
    scales, variances = (method.init(torch.zeros(5, 1)) for method in (imtl_l, uncertainty))
    for losses in losses_over(200, 5):
        a, b = (method.loss_weights({}, losses)[0] for method in (gls, si))
        torch.testing.assert_close(a / a.norm(), b / b.norm())
        a, scales = imtl_l.loss_weights(scales, losses)
        b, variances = uncertainty.loss_weights(variances, losses)
        torch.testing.assert_close(a, 2 * b, rtol=1e-6, atol=0.0)
    scales, standing = imtl_l.init(torch.zeros(2, 1)), torch.tensor([2.0, 0.5])
    for _ in range(500):
        a, scales = imtl_l.loss_weights(scales, standing)
    torch.testing.assert_close(a, si.loss_weights({}, standing)[0], rtol=1e-2, atol=0.0)


def learned(losses: list[list[float]], **settings: float) -> Tensor:
    """‖w_k g_k‖ after GradNorm's steps, for gradients of lengths 1, 10 and 0.5."""
    rows = torch.diag(torch.tensor([1.0, 10.0, 0.5], dtype=torch.float64))
    method = methods.create("gradnorm", **settings)
    state = method.init(rows)
    for values in losses:
        found, state = method.combine(rows, state, torch.tensor(values))
    torch.testing.assert_close((found / rows.diagonal()).sum(), torch.tensor(3.0).double())
    return found


def test_gradnorm_equalises_lengths_and_favours_the_loss_that_falls_slowly() -> None:
    equal = learned([[1.0, 2.0, 3.0]] * 400, lr=0.02)
    assert equal.max() < 1.15 * equal.min()
    fallen = learned([[1.0, 2.0, 3.0]] + [[0.5, 0.5, 3.0]] * 400, lr=0.02, alpha=1.0)
    rates = torch.tensor([0.5, 0.25, 1.0], dtype=torch.float64)
    torch.testing.assert_close(fallen / fallen.mean(), rates / rates.mean(), rtol=0.15, atol=0.0)


def settled(name: str, lam: float) -> Tensor:
    """Two losses on a plane, descended from afar with a step that tends to 0."""
    method, goal = methods.create(name, lam=lam), torch.tensor([2.0, 1.0], dtype=torch.float64)
    theta = torch.tensor([3.0, -2.0], dtype=torch.float64)
    for step in range(400):
        rows = torch.stack([theta, theta - goal])
        losses = rows.square().sum(1) / 2 + 0.1
        direction, _ = method.combine(rows, {}, losses)
        theta = theta - 0.05 * (1 - step / 400) * direction
    return losses


@pytest.mark.parametrize("name", ["pbi", "cosmos"])
def test_the_more_lambda_the_less_of_the_auxiliary_loss(name: str) -> None:
    ended = [settled(name, lam) for lam in (0.2, 1.0, 3.0)]
    for less, more in pairwise(ended):
        assert more[1] < 0.9 * less[1]
        assert more[0] > 1.1 * less[0]
    if name == "pbi":
        torch.testing.assert_close(ended[2][0], 3 * ended[2][1], rtol=0.02, atol=0.0)


@pytest.mark.parametrize("dtype", list(EXACT))
def test_pbi_on_its_ray_goes_along_it(dtype: torch.dtype) -> None:
    """Rounding tells no side of the ray."""
    for lam in (0.3, 0.7, 3.0):
        losses = (7 * ray(3, lam)).to(dtype)
        weights, _ = methods.create("pbi", lam=lam).loss_weights({}, losses)
        assert (weights - ray(3, lam) / ray(3, lam).norm()).norm() < (1e-8 if dtype == torch.float64 else 0.5)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("gradnorm", {"alpha": -1.0}),
        ("gradnorm", {"lr": float("inf")}),
        ("imtl_l", {"lr": -1.0}),
        ("pbi", {"theta": -1.0}),
        ("cosmos", {"mu": float("nan")}),
    ],
)
def test_bad_settings_are_refused(name: str, settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=rf"{next(iter(settings))}.* (at least 0|a finite number), got"):
        methods.create(name, **settings)
