"""Weightings of losses against their formulas, losses that they refuse, and the numbers that methods draw."""

import math

import pytest
import torch
from torch import Tensor

from scalpel_bench import methods
from scalpel_bench.benchmarks.contract import sampled


def weights_over(name: str, losses: list[list[float]], **settings) -> Tensor:
    """The weights that a loss weighting gives to orthonormal gradients."""
    gradients = torch.eye(len(losses[0]), dtype=torch.float64)
    method = methods.create(name, **settings)
    state, rows = method.init(gradients), []
    for values in losses:
        direction, state = method.combine(gradients, state, torch.tensor(values, dtype=torch.float64))
        rows.append(direction)
    return torch.stack(rows)


@pytest.mark.compares("formula", "gls", "stch", "dwa")
def test_loss_weightings() -> None:
    torch.testing.assert_close(weights_over("gls", [[4.0, 9.0]])[0], torch.tensor([6 / 8, 6 / 18]).double())
    torch.testing.assert_close(
        weights_over("stch", [[1.0, 2.0]], mu=0.5)[0], torch.tensor([1.0, 2.0]).double().softmax(0) / 2
    )
    preferences, losses = torch.tensor([0.25, 0.75]).double(), torch.tensor([1.0, 2.0]).double()
    torch.testing.assert_close(
        weights_over("stch", [[1.0, 2.0]], mu=0.5, lam=3.0)[0],
        preferences * (preferences * losses / 0.5).softmax(0),
    )
    dwa = weights_over("dwa", [[1.0, 1.0], [3.0, 1.0], [1.0, 1.0], [1.0, 3.0], [9.0, 9.0]], period=2)
    torch.testing.assert_close(dwa[:4], torch.ones(4, 2).double())
    torch.testing.assert_close(dwa[4], 2 * (torch.tensor([1 / 2, 2 / 1]).double() / 2).softmax(0))


def descended(losses: list[list[float]], lr: float) -> Tensor:
    """The weights ½ exp(−s) before each step of PyTorch's Adam on s."""
    s, seen = torch.zeros(len(losses[0]), dtype=torch.float64, requires_grad=True), []
    optimizer = torch.optim.Adam([s], lr)
    for values in losses:
        seen.append(torch.exp(-s.detach()) / 2)
        optimizer.zero_grad()
        (torch.exp(-s) * torch.tensor(values, dtype=torch.float64) + s).sum().div(2).backward()
        optimizer.step()
    return torch.stack(seen)


def test_uncertainty_descends_by_adam_and_tends_to_the_inverse_of_twice_the_loss() -> None:
    varied = [[1e4, 1.0], [9e3, 0.5], [1e4, 2.0], [1e-3, 1e-6]] * 5
    torch.testing.assert_close(weights_over("uncertainty", varied, lr=0.05), descended(varied, 0.05))
    constant = weights_over("uncertainty", [[2.0, 0.5]] * 1000, lr=0.05)
    torch.testing.assert_close(constant[-1], torch.tensor([0.25, 1.0]).double(), rtol=1e-3, atol=1e-3)
    large = weights_over("uncertainty", [[1e4, 1.0]] * 1000)
    assert 1e-3 < large[-1, 0] < 1e-2  # plain descent puts it at exp(−125) after one step


@pytest.mark.parametrize("told", [True, False])
def test_famo_descends_by_adam_on_what_the_losses_fell(told: bool) -> None:
    """PyTorch's Adam, its weight decay as γ, on the Jacobian by autograd; untold, the next losses serve."""
    before = [[1.0, 1.0], [0.5, 1.0], [0.25, 0.9], [0.3, 1e-3]]
    after = [[0.6, 1.0], [0.3, 1.0], [0.2, 0.5], [0.1, 1e-3]] if told else [*before[1:], before[-1]]
    xi = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([xi], 0.1, weight_decay=0.02)
    method, rows = methods.create("famo", beta=0.1, gamma=0.02), torch.eye(2, dtype=torch.float64)
    state = method.init(rows)
    for first, second in zip(torch.tensor(before).double(), torch.tensor(after).double(), strict=True):
        found, state = method.combine(rows, state, first)
        state = method.observe(state, second) if told else state
        share = xi.detach().softmax(-1) / (first + 1e-8)
        torch.testing.assert_close(found, share / share.sum())
        fallen = (first + 1e-8).log() - (second + 1e-8).log()
        xi.grad = torch.autograd.grad(xi.softmax(-1) @ fallen, xi)[0]
        optimizer.step()


@pytest.mark.parametrize("name", [n for n in methods.available() if methods.get(n).positive_losses])
@pytest.mark.parametrize("loss", [0.0, -1.0])
def test_a_loss_that_a_method_is_not_defined_for_is_loud(name: str, loss: float) -> None:
    (gradients,) = sampled(1)
    method = methods.create(name)
    losses = torch.tensor([1.0, loss])
    direction, _ = method.combine(gradients, method.init(gradients), losses)
    assert direction.isnan().all()
    parameter = torch.nn.Parameter(torch.ones(2))
    surgeon = methods.Surgeon([parameter], methods.create(name))
    with pytest.raises(ValueError, match=f"the aux loss is {loss:g}, and {name} is defined for positive"):
        surgeon.backward(parameter.sum(), parameter[0] - 1 + loss)
    assert parameter.grad is None


def test_random_weights_are_the_softmax_of_normal_numbers() -> None:
    weights = weights_over("rlw", [[1.0, 1.0, 1.0]] * 4000)
    torch.testing.assert_close(weights.sum(1), torch.ones(4000).double())
    z = weights.log()
    difference = z[:, 0] - z[:, 1]
    assert abs(difference.mean()) < 0.1
    assert abs(difference.std() - math.sqrt(2)) < 0.1
    assert len(weights.unique(dim=0)) == 4000


def test_uniform_numbers_are_those_of_splitmix64() -> None:
    """The first of seed 0, as its authors (Steele, Lea & Flood 2014) and others publish them."""
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC]
    numbers = methods.uniform(torch.tensor(0), 4)
    assert [int(number * 2**53) for number in numbers] == [value >> 11 for value in published]
    following = methods.uniform(torch.tensor(1), 4) * 2**53  # none skipped, none drawn twice
    assert following.tolist() == [957885841028366, 2948288379523028, 1566062512695462, 6949473567187669]


def test_uniform_numbers_are_uniform() -> None:
    numbers = methods.uniform(torch.arange(2000), 5)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts = torch.histc(numbers.float(), 10, 0, 1)
    assert (counts - 1000).abs().max() < 150
    assert abs(torch.corrcoef(numbers.T)[0, 1]) < 0.1
    assert torch.equal(methods.uniform(torch.tensor([3, 7]), 5), numbers[[3, 7]])


def test_every_seed_has_a_stream_of_its_own() -> None:
    seeds = torch.cat([torch.arange(20), -torch.arange(1, 20), torch.tensor([2**62, 2**63 - 1])])
    numbers = methods.uniform(torch.zeros_like(seeds), 3000, seeds)
    assert torch.equal(numbers[0], methods.uniform(torch.tensor(0), 3000))
    assert len(numbers.unique()) == numbers.numel()  # no stream is another one, moved on
    counts = torch.histc(numbers.float(), 10, 0, 1)
    assert (counts - numbers.numel() / 10).abs().max() < 4 * math.sqrt(numbers.numel() / 10)
    correlations = torch.corrcoef(numbers) - torch.eye(len(seeds), dtype=torch.float64)
    assert correlations.abs().max() < 5 / math.sqrt(3000)


def test_seeds_are_integers_or_one_for_each_entry() -> None:
    gradients = torch.zeros(2, 3, 4, 5)
    method = methods.create("rlw")
    state = method.init(gradients, torch.arange(6).reshape(2, 3))
    assert state["seed"].tolist() == [[0, 1, 2], [3, 4, 5]]
    blocks = methods.create("rlw", blocks=(2, 3)).init(gradients, torch.arange(6).reshape(2, 3))
    assert blocks["seed"][1].tolist() == [[3, 3], [4, 4], [5, 5]]
    assert method.init(gradients, 2**64 + 7)["seed"].unique().tolist() == [7]
    with pytest.raises(ValueError, match=r"seed must have the shape \(\) or \(2, 3\), got \(3,\)"):
        method.init(gradients, torch.arange(3))


@pytest.mark.parametrize("mu", [1e-320, 1e-9])
def test_at_the_least_smoothness_the_greatest_loss_alone_counts(mu: float) -> None:
    weights, _ = methods.create("stch", mu=mu).loss_weights(
        {}, torch.tensor([[1.0, 3.0], [4.0, 2.0], [2.0, 2.0]])
    )
    assert weights.tolist() == [[0.0, 0.5], [0.5, 0.0], [0.25, 0.25]]
