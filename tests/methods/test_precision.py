"""Float32 and bfloat16 rows: what their rounding may decide, and what their range may lose."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torchjd import aggregation

from scalpel_bench import methods
from scalpel_bench.benchmarks.contract.inputs import sampled, trajectory
from scalpel_bench.methods.engine import passes, solvers
from scalpel_bench.methods.engine.arithmetic import rounded, rounding

BY_RANK = ["aligned_mtl", "imtl_g", "config", "nash_mtl", "fairgrad", "upgrad", "dualproj", "mgda", "cagrad"]


def error(found: Tensor, expected: Tensor, rows: Tensor) -> float:
    """Relative to the longer of the longest row and the direction."""
    scale = torch.maximum(torch.linalg.vector_norm(rows.double(), dim=-1).max(), expected.double().norm())
    return float(torch.linalg.vector_norm(found.double() - expected.double()) / scale)


def direction(name: str, rows: Tensor, **settings: object) -> Tensor:
    return trajectory(methods.create(name, **settings), [rows])[0]


@pytest.mark.parametrize("count", [100, 3 * passes.SHORT, passes.PIECE + 3])
@pytest.mark.parametrize(("dtype", "apart"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
def test_no_combination_of_rows_is_lost_in_g(count: int, dtype: torch.dtype, apart: float) -> None:
    """‖a − b‖² from G, for rows that differ in their last digits: sums in float32 miss it altogether."""
    a, h = sampled(1, parameters=count)[0]
    a = a.to(dtype)
    b = (a.double() * (1 + apart * h)).to(dtype)
    gram = passes.gram([a, b])
    expected = (a.double() - b.double()).square().sum()
    assert expected > 0
    torch.testing.assert_close(gram[0, 0] + gram[1, 1] - 2 * gram[0, 1], expected, rtol=1e-2, atol=0)


def test_g_of_pieces_in_float32_and_in_float64() -> None:
    """Rows that are equal in one piece and not in another, and one that is zero in a piece."""
    a, b, c = sampled(1, parameters=2 * passes.PIECE, k=3)[0].float()
    b[: passes.PIECE], c[passes.PIECE :] = a[: passes.PIECE], 0
    exact = torch.stack([a, b, c]).double()
    torch.testing.assert_close(passes.gram([a, b, c]), exact @ exact.mT, rtol=1e-6, atol=1.0)


LENGTHS = [(1e18, 1e-24), (1e-24, 1e18), (1e-24, 1e-24), (1e-21, 1e-21), (1e19, 1e19), (1.0, 1e-40)]


@pytest.mark.parametrize("name", methods.available())
def test_lengths_whose_squares_float32_does_not_hold(name: str) -> None:
    (pair,) = sampled(1)
    for main, aux in LENGTHS:
        rows = (pair * torch.tensor([[main], [aux]])).float()
        expected = direction(name, rows.double())
        found = direction(name, rows)
        length = torch.linalg.vector_norm(expected)
        assert torch.linalg.vector_norm(found - expected) <= 1e-6 * length + 1e-44, (main, aux)


def test_a_coefficient_that_float32_does_not_hold() -> None:
    rows = [torch.tensor([1e10, -2e10]), torch.tensor([2.0**-140, 3 * 2.0**-140])]
    coefficients = torch.tensor([1.0, 2.0**173], dtype=torch.float64)
    expected = rows[0].double() + 2.0**173 * rows[1].double()
    found = torch.empty(2)
    passes.write(coefficients, rows, found, [])
    torch.testing.assert_close(found, expected.float())
    weights, powers = (list(factor.float()[:, None]) for factor in passes._factors(coefficients))
    passes._fused_write(weights, powers, [*rows, found], 2, [])
    torch.testing.assert_close(found, expected.float())


def test_rank_does_not_depend_on_the_lengths_of_rows() -> None:
    g, h = sampled(1)[0]
    for short in (1.0, 1e-2, 1e-4):
        rows = torch.stack([g, short * h, g / 3 + short * h]).float()
        expected = aggregation.AlignedMTL()(torch.stack([g, short * h, g / 3 + short * h]))
        assert error(direction("aligned_mtl", rows), expected, torch.zeros(1, 30)) < 1e-3


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("short", [1e-3, 1e-7, 1e-8, 1e-12, 1e-20])
def test_a_short_gradient_is_no_missing_one(short: float, dtype: torch.dtype) -> None:
    """J = U diag(1, 1, r) V, whose direction is r VᵀUᵀw: with rows that are independent, and not."""
    half = 0.5**0.5
    cases = {
        "two": ([[1, 0], [0, short]], [1 / 2, 1 / 2]),
        "three": ([[1, 0, 0], [0, 1, 0], [0, 0, short]], [1 / 3, 1 / 3, 1 / 3]),
        "two at 0.6": ([[1, 0], [0.6 * short, 0.8 * short]], [0.4, 0.4]),
        "short first": ([[0, 0, short], [0, 1, 0], [1, 0, 0]], [1 / 3, 1 / 3, 1 / 3]),
        "two equal, one short": ([[1, 0], [1, 0], [0, short]], [2 * half / 3, 1 / 3]),
        "their sum, one short": (
            [[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, short]],
            [3**0.5 / 6, 3**0.5 / 6, 1 / 4],
        ),
    }
    for name, (rows, expected) in cases.items():
        found = direction("aligned_mtl", torch.tensor(rows, dtype=dtype)).double() / short
        wanted = torch.tensor(expected, dtype=torch.float64)
        torch.testing.assert_close(
            found, wanted, rtol=1e-6, atol=2 * short, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_a_short_gradient_is_no_missing_one_to_a_surgeon() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    surgeon = methods.Surgeon([parameter], methods.create("aligned_mtl"))
    surgeon.backward(parameter[0], 1e-8 * parameter[1])
    torch.testing.assert_close(parameter.grad, torch.tensor([5e-9, 5e-9]), rtol=1e-6, atol=0.0)


@pytest.mark.parametrize(("dtype", "least", "greatest"), [("float32", 1e-6, 1e-4), ("bfloat16", 1e-2, 0.1)])
def test_the_tolerance_is_between_the_rounding_and_its_root(dtype, least: float, greatest: float) -> None:
    eps = torch.finfo(getattr(torch, dtype)).eps
    gram = rounded(torch.eye(3, dtype=torch.float64), eps)
    assert rounding(gram) == eps
    assert least < solvers.lost(gram) < greatest
    assert solvers.tolerance(gram) == solvers.lost(gram) ** 2
    assert solvers.tolerance(torch.eye(3, dtype=torch.float64)) == 48 * 2.0**-52


def gradients_of_a_network(dtype: torch.dtype) -> Tensor:
    """Of two losses and their sum, from three backward passes."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(20, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2))
    network = copy.deepcopy(network).to(dtype)
    inputs = torch.randn(32, 20, generator=generator).to(dtype)
    targets = torch.randn(32, 2, generator=generator).to(dtype)

    def losses() -> tuple[Tensor, Tensor]:
        main, aux = (network(inputs) - targets).square().mean(0)
        return main, aux

    given = [losses()[0], losses()[1], sum(losses())]
    parameters = list(network.parameters())
    return torch.stack(
        [torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)]) for loss in given]
    )


@pytest.mark.parametrize("name", BY_RANK)
def test_three_losses_of_a_network_of_which_one_is_the_sum_of_the_others(name: str) -> None:
    rows = gradients_of_a_network(torch.float32)
    expected = direction(name, gradients_of_a_network(torch.float64))
    assert error(direction(name, rows), expected, rows) < 1e-2
    oracles = {"aligned_mtl": aggregation.AlignedMTL(), "config": aggregation.ConFIG()}
    if name in oracles:
        assert error(direction(name, rows), oracles[name](rows), rows) < 1e-3
    coarse = gradients_of_a_network(torch.bfloat16)
    assert error(direction(name, coarse), expected, rows) < 0.2


@pytest.mark.parametrize("name", ["aligned_mtl", "config"])
def test_what_was_computed_in_bfloat16_and_is_kept_in_float32_keeps_its_rounding(name: str) -> None:
    rows = gradients_of_a_network(torch.bfloat16).float()
    expected = direction(name, gradients_of_a_network(torch.float64))
    method = methods.create(name)
    coarse = torch.finfo(torch.bfloat16).eps
    told, _ = method.combine(rows, method.init(rows), rounding=coarse)
    assert error(told, expected, rows) < 0.1
    assert error(direction(name, rows), expected, rows) > 0.2


@pytest.mark.parametrize("name", BY_RANK)
def test_more_losses_than_numbers_in_a_block(name: str) -> None:
    """A bias of two numbers beside a matrix, under ``blocks``."""
    for gradients in sampled(8, parameters=12, k=3):
        rows = gradients.float()
        expected = direction(name, rows.double(), blocks=(10, 2))
        assert error(direction(name, rows, blocks=(10, 2)), expected, rows) < 1e-2


def test_auxiliary_gradients_that_cancel_leave_agem_the_main_one() -> None:
    for main, aux in sampled(10, parameters=1000):
        rows = torch.stack([main, 3 * aux, -aux, -2 * aux]).bfloat16()
        assert error(direction("agem", rows), main, rows) < 1e-2


def test_weights_of_imtl_g_whose_sum_cancels_leave_nothing() -> None:
    """The third of three independent gradients has the opposite weight, and is short enough to outweigh."""
    generator, met = torch.Generator().manual_seed(0), 0
    for _ in range(100):
        units = torch.randn(3, 4, generator=generator, dtype=torch.float64) + 1
        units /= torch.linalg.vector_norm(units, dim=-1, keepdim=True)
        x = torch.linalg.solve(units @ units.T, torch.ones(3, dtype=torch.float64))
        if x[2] < -0.1:
            met += 1
            rows = (units * torch.stack([x[0] / x[0], x[1] / x[1], -x[2] / (x[0] + x[1])])[:, None]).float()
            assert error(direction("imtl_g", rows), torch.zeros(4), rows) == 0
    assert met >= 5


def test_bloop_of_three_levels_projects_on_one_of_two_parallel_references() -> None:
    main, aux = sampled(1, parameters=1000)[0]
    rows = torch.stack([main, main / 3, aux])
    expected = direction("bloop_no_ema", rows)
    assert error(direction("bloop_no_ema", rows.float()), expected, rows) < 1e-5


def test_surgeon_goes_by_the_rounding_of_the_parameters() -> None:
    """Its rows are in float32, the gradients that it was given in bfloat16."""
    parameter = nn.Parameter(torch.zeros(500, dtype=torch.bfloat16))
    main, aux = sampled(1, parameters=500)[0]
    exact = torch.stack([main, aux, main + aux])
    rows = exact.to(torch.bfloat16)
    surgeon = methods.Surgeon([parameter], methods.create("aligned_mtl"))
    surgeon.backward(*((row * parameter).sum() for row in rows))
    assert parameter.grad is not None
    assert error(parameter.grad, direction("aligned_mtl", exact), exact) < 0.05
