"""The batched solvers, by the conditions that their answers must satisfy."""

import pytest
import torch
from torch import Tensor

from scalpel_bench import methods
from scalpel_bench.benchmarks.contract import sampled
from scalpel_bench.methods.cagrad import CAGrad
from scalpel_bench.methods.engine import solvers
from tests.methods.test_torchjd import direction, longest, matrices, unit


def symmetric(k: int) -> Tensor:
    values = torch.randn(50, k, k, generator=torch.Generator().manual_seed(k), dtype=torch.float64)
    return values + values.mT


@pytest.mark.parametrize("k", [2, 3, 5, 10])
def test_eigh(k: int) -> None:
    matrix = symmetric(k)
    values, vectors = solvers.eigh(matrix)
    torch.testing.assert_close(values.sort().values, torch.linalg.eigvalsh(matrix), rtol=0, atol=1e-12)
    torch.testing.assert_close(vectors @ torch.diag_embed(values) @ vectors.mT, matrix, rtol=0, atol=1e-12)


@pytest.mark.parametrize("spread", [0, 6, 12])
def test_dual_cone_projections_of_rows_of_very_unequal_length(spread: int) -> None:
    """The projection p of x is feasible, and ⟨x − p, p⟩ = 0 with x − p in the polar cone."""
    for gradients in map(unit, matrices()):
        exponents = torch.linspace(-spread, 0, len(gradients), dtype=torch.float64)
        rows = gradients * 10 ** exponents[:, None]
        p, x = direction("dualproj", rows), rows.mean(0)
        lengths = torch.linalg.vector_norm(rows, dim=-1)
        assert ((rows @ p) / lengths).min() >= -1e-6 * longest(rows)
        assert ((x - p) @ p).abs() <= 1e-6 * longest(rows) ** 2


@pytest.mark.parametrize("name", ["upgrad", "dualproj", "mgda", "nash_mtl", "fairgrad", "cagrad"])
def test_gradients_in_float32_leave_no_nan(name: str) -> None:
    """Their Gram matrix has eigenvalues down to −1e-7."""
    for gradients in matrices()[::2]:
        assert direction(name, unit(gradients).float()).isfinite().all()


@pytest.mark.parametrize("c", [0.1, 0.5, 0.9])
def test_two_objectives_of_cagrad_in_closed_form_solve_the_general_programme(c: float) -> None:
    generator = torch.Generator().manual_seed(3)
    gradients = torch.randn(200, 2, 4, generator=generator, dtype=torch.float64)
    gradients[:, 1] *= 10 ** torch.linspace(-0.2, 0.2, 200, dtype=torch.float64)[:, None]
    method = CAGrad(c=c)
    of_two = method.combine(gradients, method.init(gradients))[0]
    unit, lengths = solvers.cosines(gradients @ gradients.mT)
    mean = gradients.mean(-2)
    length = torch.linalg.vector_norm(mean, dim=-1, keepdim=True)
    slope = (gradients @ mean[..., None]).squeeze(-1) / length / lengths
    z = method._of_more(unit, slope, lengths.amin(-1, keepdim=True) / lengths, 1e-14)
    expected = mean + ((length * z / lengths)[..., None] * gradients).sum(-2)
    assert (torch.linalg.vector_norm(of_two - expected, dim=-1) <= 1e-6 * length.squeeze(-1)).all()
    alone = (z > 1e-9).sum(-1) == 1
    assert 10 <= alone.sum() <= 190  # both kinds of end are compared


@pytest.mark.parametrize("k", [2, 3, 10])
def test_simplex_projection(k: int) -> None:
    points = 3 * torch.randn(200, k, generator=torch.Generator().manual_seed(k), dtype=torch.float64)
    found = solvers.simplex_projection(points)
    assert (found >= 0).all()
    torch.testing.assert_close(found.sum(-1), torch.ones(200, dtype=torch.float64))
    towards = torch.eye(k, dtype=torch.float64) - found[:, None]
    assert (((points - found)[:, None] * towards).sum(-1) <= 1e-12).all()


def test_moco_follows_algorithm_1() -> None:
    method = methods.create("moco", lam=0.7, rho=0.3, gamma=0.5)
    steps = sampled(6)
    state, tracked, weights = method.init(steps[0]), None, torch.full((2,), 0.5, dtype=torch.float64)
    for gradients in steps:
        found, state = method.combine(gradients, state)
        rows = gradients
        tracked = rows if tracked is None else 0.7 * tracked + 0.3 * rows
        squared = max(longest(rows), longest(tracked)) ** 2
        weights = solvers.simplex_projection(weights - 0.5 * tracked @ tracked.T @ weights / squared)
        torch.testing.assert_close(found, weights @ tracked)


def test_graddrop_keeps_one_sign_and_its_mean_is_the_purity_weighted_one() -> None:
    (gradients,) = sampled(1)
    many = gradients.repeat_interleave(4000, -1)
    kept = direction("graddrop", many, lam=0.5).reshape(30, 4000)
    rows = torch.stack([gradients[0], 0.5 * gradients[1]])
    plus, minus = rows.clamp(min=0).sum(0), rows.clamp(max=0).sum(0)
    assert ((kept == plus[:, None]) | (kept == minus[:, None])).all()
    purity = plus / (plus - minus)
    assert ((kept == plus[:, None]).double().mean(-1) - purity).abs().max() <= 0.04
