import pytest
import torch
from torch import Tensor

from scalpel_bench import methods
from scalpel_bench.benchmarks.training import FlatModel
from scalpel_bench.tasks import create
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
    assert basis.shape == (min(shape), min(*shape, WIDTH))
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


@pytest.mark.parametrize(("name", "lam"), [("sum", 1e-3), ("sum", 0.1), ("bloop", 1.0)])
def test_stays_exact_along_training(name: str, lam: float) -> None:
    """Relative error of the auxiliary gradient under 1e-3 at every step, crowding included."""
    torch.manual_seed(0)
    task = create("smooth_mlp", batch_size=64)
    flat, method = FlatModel(task.build(), "cpu"), methods.create(name, lam=lam)
    optimizer = torch.optim.Adam([flat.theta], lr=1e-3)
    batches, state, worst = task.batches(torch.Generator().manual_seed(0)), None, 0.0
    for step in range(400):
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


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (60, 40)])
def test_the_exact_norm_is_that_of_an_svd(shape: tuple[int, int]) -> None:
    weight = torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.linalg.matrix_norm(weight, 2).log()
    torch.testing.assert_close(exact_log_norm(weight), expected, rtol=1e-12, atol=1e-12)
    assert exact_log_norm(weight / 0).isnan()
