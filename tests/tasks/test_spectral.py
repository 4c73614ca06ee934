import pytest
import torch
from torch import Tensor

from scalpel_bench import methods
from scalpel_bench.benchmarks.training import FlatModel
from scalpel_bench.tasks import create
from scalpel_bench.tasks.models import spectral
from scalpel_bench.tasks.models.spectral import WIDTH, exact_log_norm, log_spectral_norm, start_basis
from tests.gradients import gradient


def exact_gradient(weight: Tensor) -> Tensor:
    u, s, vh = torch.linalg.svd(weight.double(), full_matrices=False)
    return torch.outer(u[:, 0], vh[0]) / s[0]


def estimate(weight: Tensor, basis: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    leaf = weight.clone().requires_grad_()
    log, basis = log_spectral_norm(leaf, basis)
    (gradient,) = torch.autograd.grad(log, leaf)
    return log.detach(), gradient, basis


@pytest.mark.parametrize("shape", [(10, 128), (128, 10), (64, 200), (200, 64), (WIDTH, WIDTH), (1, 5)])
def test_exact_at_the_start(shape: tuple[int, int]) -> None:
    weight = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    log, gradient, basis = estimate(weight, start_basis(weight))
    assert basis.shape == (min(*shape, WIDTH), min(shape))
    torch.testing.assert_close(
        log.double(), torch.linalg.matrix_norm(weight.double(), 2).log(), rtol=1e-5, atol=1e-6
    )
    torch.testing.assert_close(gradient.double(), exact_gradient(weight), rtol=1e-4, atol=1e-5)


def test_separates_crowded_singular_values() -> None:
    """Twenty singular values within 1e-3 of the largest, as training against the norm makes them."""
    generator = torch.Generator().manual_seed(0)
    u, _, vh = torch.linalg.svd(torch.randn(64, 100, generator=generator).double(), full_matrices=False)
    values = torch.cat([1 - 5e-5 * torch.arange(20), torch.linspace(0.9, 0.1, 44)])
    weight = (u * values @ vh).float()
    nearby = weight + 1e-3 * torch.randn(64, 100, generator=generator) / 10
    _, gradient, _ = estimate(weight, start_basis(nearby))
    error = torch.linalg.matrix_norm(gradient.double() - exact_gradient(weight))
    assert error < 1e-3 * torch.linalg.matrix_norm(exact_gradient(weight))


def test_the_rows_of_a_gpu_are_orthonormal_and_span_the_same() -> None:
    """Its Cholesky decompositions against QR, for a population of two, one with rows nearly dependent."""
    rows = torch.randn(2, WIDTH, 200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows[1] = rows[1, :1] + 1e-4 * rows[1]
    found, exact = spectral._by_cholesky(rows), torch.linalg.qr(rows.mT).Q.mT
    torch.testing.assert_close(found @ found.mT, torch.eye(WIDTH).double().expand(2, -1, -1))
    torch.testing.assert_close(found.mT @ found, exact.mT @ exact)


@pytest.mark.parametrize(
    ("name", "lam", "lr"),
    [
        pytest.param("sum", 0.1, 1e-3, marks=pytest.mark.slow),
        pytest.param("bloop", 1e-4, 3e-3, marks=pytest.mark.slow),
        pytest.param("bloop", 1.0, 3e-4, marks=pytest.mark.slow),
        pytest.param("bloop", 3.0, 3e-4, marks=pytest.mark.slow),
        ("bloop", 3.0, 3e-3),
    ],
)
def test_stays_exact_along_training(name: str, lam: float, lr: float) -> None:
    """Relative error of the auxiliary gradient under 1e-3 at every tenth step, crowding included."""
    torch.manual_seed(0)
    task = create("smooth_mlp", batch_size=64)
    flat, method = FlatModel(task.build(), "cpu"), methods.create(name, lam=lam)
    optimizer = torch.optim.Adam([flat.theta], lr=lr)
    batches, state, worst = task.batches(torch.Generator().manual_seed(0)), None, 0.0
    for step in range(250):
        gradients = torch.stack([gradient(flat, loss) for loss in task.losses(flat.model(), next(batches))])
        if step % 10 == 0:
            exact = torch.cat(
                [
                    exact_gradient(p.detach()).flatten() if p.dim() == 2 else torch.zeros_like(p).double()
                    for p in flat.model().parameters.values()
                ]
            )
            error = torch.linalg.vector_norm(gradients[1].double() - exact) / torch.linalg.vector_norm(exact)
            worst = max(worst, error.item())
        state = state or method.init(gradients)
        flat.theta.grad, state = method.combine(gradients, state)
        optimizer.step()
    assert worst < 1e-3


def test_follows_a_vector_that_comes_from_outside_of_the_basis() -> None:
    """A direction orthogonal to all that is kept, on both sides, grows until it leads."""
    generator = torch.Generator().manual_seed(0)
    u, _, vh = torch.linalg.svd(torch.randn(80, 120, generator=generator).double(), full_matrices=False)
    values = torch.cat([torch.linspace(1, 0.8, 6), torch.full((73,), 0.3), torch.zeros(1)])
    basis = start_basis((u * values @ vh).float())
    for last in torch.linspace(0, 1.5, 31):
        values[-1] = last
        weight = (u * values @ vh).float()
        _, gradient, basis = estimate(weight, basis)
        if abs(last - 1) > 0.01:
            error = torch.linalg.matrix_norm(gradient.double() - exact_gradient(weight))
            assert error < 1e-3 * torch.linalg.matrix_norm(exact_gradient(weight)), last


def drifting(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Three weights, and bases of weights nearby."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(3, 90, 70, generator=generator, dtype=torch.float64).to(dtype)
    change = 0.01 * torch.randn(weights.shape, generator=generator, dtype=torch.float64).to(dtype)
    return weights + change, torch.stack([start_basis(weight) for weight in weights])


def test_replicas_have_the_numbers_of_single_matrices() -> None:
    weights, bases = drifting()
    logs, after = torch.func.vmap(log_spectral_norm)(weights, bases)
    for weight, basis, log, new in zip(weights, bases, logs, after, strict=True):
        expected, kept = log_spectral_norm(weight, basis)
        torch.testing.assert_close(log, expected, rtol=1e-6, atol=1e-6)
        assert torch.equal(new, kept)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_does_not_wait_for_the_device_finds_the_same(dtype: torch.dtype) -> None:
    weights, bases = drifting(dtype)
    for weight, basis in zip(weights.mT, bases, strict=True):
        u, v, after = spectral._sharpened(weight, basis)
        expected = exact_gradient(weight)
        for left, right in ((u, v), spectral._adaptive(weight, basis)[:2]):
            found = torch.outer(left, right).double() / torch.linalg.matrix_norm(weight, 2)
            error = torch.linalg.matrix_norm(found - expected)
            assert error < 1e-3 * torch.linalg.matrix_norm(expected)
        assert after.shape == basis.shape


@pytest.mark.parametrize("shape", [(10, 20), (60, 40)])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_of_a_weight_that_is_not_finite_it_is_nan(shape: tuple[int, int], bad: float) -> None:
    weight = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    basis = start_basis(weight)
    weight[1, 2] = bad
    log, _, after = estimate(weight, basis)
    assert log.isnan()
    assert torch.equal(after, basis)


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (60, 40)])
def test_the_exact_norm_is_that_of_an_svd(shape: tuple[int, int]) -> None:
    weight = torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.linalg.matrix_norm(weight, 2).log()
    torch.testing.assert_close(exact_log_norm(weight), expected, rtol=1e-12, atol=1e-12)
    assert exact_log_norm(weight / 0).isnan()
