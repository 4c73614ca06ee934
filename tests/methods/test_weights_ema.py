"""The setting ``weights_ema``: coefficients that are an EMA of those that the method finds."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import Tensor
from torchjd import aggregation

from scalpel_bench import methods
from scalpel_bench.benchmarks.contract import method_rules, sampled, trajectory
from scalpel_bench.methods import Surgeon
from scalpel_bench.methods.bloop import Bloop
from scalpel_bench.methods.dwa import DWA
from tests.methods.surgeons import batches, network, optimizer_of, train
from tests.methods.test_torchjd import exact

RHO = 0.3
GIVEN_A_GRAM_MATRIX = [n for n, c in methods.REGISTRY.classes().items() if issubclass(c, methods.Method)]
WITHOUT_ROWS = [n for n in GIVEN_A_GRAM_MATRIX if not methods.create(n).memory(2) and n != "cr_mogm"]


def smoothed(rows: list[Tensor]) -> list[Tensor]:
    averages = rows[:1]
    for row in rows[1:]:
        averages.append((1 - RHO) * averages[-1] + RHO * row)
    return averages


@pytest.mark.parametrize("name", WITHOUT_ROWS)
def test_the_coefficients_are_averaged_from_the_first_on(name: str) -> None:
    steps = sampled(6, parameters=4)
    plain = trajectory(methods.create(name, lam=0.7), steps)
    weights = [torch.linalg.lstsq(g.T, d[:, None]).solution[:, 0] for g, d in zip(steps, plain, strict=True)]
    found = trajectory(methods.create(name, lam=0.7, weights_ema=RHO), steps)
    for weight, gradients, direction in zip(smoothed(weights), steps, found, strict=True):
        torch.testing.assert_close(direction, weight @ gradients, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("order", ["after", "before"])
def test_bloop_averages_its_ratio(order: str) -> None:
    steps, lam = sampled(8, parameters=4), 0.7
    ema, share = steps[0][0], None
    found = trajectory(methods.create("bloop", lam=lam, rho=0.2, order=order, weights_ema=RHO), steps)
    for (main, aux), direction in zip(steps, found, strict=True):
        moved = 0.8 * ema + 0.2 * main
        m = moved if order == "before" else ema
        now = aux @ m / (m @ m)
        share = now if share is None else (1 - RHO) * share + RHO * now
        torch.testing.assert_close(direction, main + lam * (aux - share * m))
        ema = moved


@pytest.mark.parametrize("name", GIVEN_A_GRAM_MATRIX)
def test_all_of_the_new_weights_is_no_average(name: str) -> None:
    steps = sampled(4)
    plain, whole = (trajectory(methods.create(name, lam=0.7, weights_ema=r), steps) for r in (None, 1.0))
    assert all(torch.equal(a, b) for a, b in zip(plain, whole, strict=True))


@pytest.mark.parametrize("k", [2, 3, 5])
def test_as_torchjd_does_it(k: int) -> None:
    """λ inside: it scales gradients before the weights are found, and the same after they are averaged."""
    lam = 0.3
    preferences = torch.tensor([1.0] + [lam] * (k - 1), dtype=torch.float64) / k
    theirs = aggregation.CRMOGMWeighting(aggregation.UPGradWeighting(preferences, exact()), alpha=1 - RHO)
    steps = sampled(20, parameters=24, k=k)
    for gradients, found in zip(
        steps, trajectory(methods.create("upgrad", lam=lam, weights_ema=RHO), steps), strict=True
    ):
        expected = theirs(gradients @ gradients.T) @ gradients
        assert torch.linalg.vector_norm(found - expected) <= 1e-5 * max(1.0, float(expected.norm()))


@pytest.mark.compares("TorchJD", "cr_mogm")
def test_cr_mogm_is_that_of_mgda() -> None:
    oracle = aggregation.CRMOGMWeighting(aggregation.MGDAWeighting(epsilon=1e-12, max_iters=1000))
    steps = sampled(200, parameters=6)
    for gradients, found in zip(steps, trajectory(methods.create("cr_mogm"), steps), strict=True):
        torch.testing.assert_close(found, oracle(gradients @ gradients.T) @ gradients, rtol=1e-8, atol=1e-8)
    several, mgda = sampled(20, k=5), methods.create("mgda", weights_ema=0.1)
    for a, b in zip(trajectory(methods.create("cr_mogm"), several), trajectory(mgda, several), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("parent", [Bloop, DWA])
def test_the_contract_holds_with_it(parent: type[methods.Method]) -> None:
    """Where rows are remembered, and where losses alone decide; `cr_mogm` is in the registry itself."""

    @dataclass(frozen=True)
    class Averaged(parent):  # type: ignore[misc, valid-type]
        __doc__ = parent.__doc__
        weights_ema: float | None = RHO
        name: ClassVar[str] = "averaged"

    try:
        for check in method_rules().values():
            check("averaged")
    finally:
        methods.REGISTRY.remove("averaged")


def test_a_step_of_nan_is_not_remembered() -> None:
    (gradients,) = sampled(1)
    method = methods.create("gls", weights_ema=RHO)
    state = method.init(gradients)
    for losses in ([1.0, 2.0], [0.0, 2.0], [3.0, 5.0]):
        direction, state = method.combine(gradients, state, torch.tensor(losses))
        assert bool(direction.isfinite().all()) == (losses[0] > 0)
    expected, _ = methods.create("gls").combine(gradients, {}, torch.tensor([3.0, 5.0]))
    torch.testing.assert_close(direction, expected)


def test_weights_of_losses_still_take_one_backward_pass() -> None:
    method, steps = methods.create("stch", lam=0.7, weights_ema=RHO), sampled(5)
    assert method.single_backward
    state, alone = method.init(steps[0]), method.init(steps[0])
    for step, gradients in enumerate(steps):
        losses = torch.tensor([1.0, 2.0 + step])
        direction, state = method.combine(gradients, state, losses)
        weights, alone = method.loss_weights(alone, losses)
        torch.testing.assert_close(weights @ gradients, direction)


def test_nothing_streams_with_it() -> None:
    assert methods.create("bloop").streams
    assert not methods.create("bloop", weights_ema=RHO).streams


@pytest.mark.parametrize("blocks", [None, True])
def test_a_surgeon_goes_on_from_its_state(blocks: bool | None) -> None:
    def surgeon(model: torch.nn.Module) -> Surgeon:
        return Surgeon(model.parameters(), methods.create("pcgrad", lam=0.7, weights_ema=RHO, blocks=blocks))

    data, whole = batches(8), network()
    expected = train(whole, surgeon(whole), data, optimizer_of(whole))
    halves = network()
    first, second, optimizer = surgeon(halves), surgeon(halves), optimizer_of(halves)
    train(halves, first, data[:4], optimizer)
    second.load_state_dict(first.state_dict())
    assert second.state_dict()["state"]["weights_ema"].isfinite().all()
    assert torch.equal(train(halves, second, data[4:], optimizer), expected)


@pytest.mark.parametrize("rho", [0.0, 1.5, float("nan")])
def test_a_share_outside_0_and_1_is_refused(rho: float) -> None:
    with pytest.raises(ValueError, match=r"weights_ema must (lie in \(0, 1\]|be a finite number)"):
        methods.create("sum", weights_ema=rho)
