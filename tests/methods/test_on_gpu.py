"""Every method on a GPU that is not there: devices and types of its results, and no wait."""

from dataclasses import fields
from typing import Any

import pytest
import torch

from scalpel_bench import methods
from scalpel_bench.methods import cagrad
from scalpel_bench.methods.engine import passes, solvers
from tests.fake_gpu import GPU, WaitedError, fake_gpu

P = 12
BLOCKS: dict[str, Any] = {"blocks": (5, P - 5)}
EMA: dict[str, Any] = {"ema": 0.1}
SETTINGS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "plain": ((), {}),
    "replicas, blocks, ema": ((4,), BLOCKS | EMA),
    "replicas": ((4,), {}),
    "blocks": ((), BLOCKS),
    "replicas, blocks": ((4,), BLOCKS),
    "ema": ((), EMA),
    "replicas of replicas, ema": ((2, 3), EMA),
}
QUICK = {(3, "plain"), (2, "replicas, blocks, ema")}
CASES = [
    pytest.param(k, *given, id=f"{k}-{name}", marks=() if (k, name) in QUICK else pytest.mark.slow)
    for name, given in SETTINGS.items()
    for k in (2, 3, 5)
]


@pytest.fixture(autouse=True)
def few_iterations(monkeypatch):
    """Shapes and devices are the same in every iteration."""
    monkeypatch.setattr(solvers, "_SWEEPS", 1)
    monkeypatch.setattr(solvers.power_balance, "__defaults__", (1,))
    monkeypatch.setattr(solvers.nonnegative_qp, "__defaults__", (1,))
    monkeypatch.setattr(
        cagrad, "nonnegative_qp", lambda matrix, linear, _: solvers.nonnegative_qp(matrix, linear)
    )
    monkeypatch.setattr(cagrad, "_ROUNDS", 1)


def made(name: str, settings: dict[str, Any], k: int) -> methods.BaseMethod:
    """The method with those of the settings that it has; an EMA only where it may have one, and has none."""
    cls = methods.get(name)
    known = {key: value for key, value in settings.items() if key in {field.name for field in fields(cls)}}
    if "ema" in known and (cls().memory(2) or (cls.projects and k > 2)):
        del known["ema"]
    return methods.create(name, lam=0.3, **known)


def stepped(gpu: GPU, method: methods.BaseMethod, gradients, state, losses):
    """A step that waits for nothing, after one that may where what the method keeps is not there yet."""
    gpu.may_wait, gpu.numbers_stay = False, True
    try:
        return method.combine(gradients, state, losses)
    except WaitedError:
        gpu.may_wait, gpu.numbers_stay = True, False
        method.combine(gradients, state, losses)
        gpu.may_wait, gpu.numbers_stay = False, True
        return method.combine(gradients, state, losses)
    finally:
        gpu.may_wait, gpu.numbers_stay = True, False


@pytest.mark.parametrize(("k", "leading", "settings"), CASES)
def test_methods_stay_on_the_gpu_and_never_wait_for_it(k, leading, settings) -> None:
    with fake_gpu() as gpu:
        gradients = torch.empty(*leading, k, P, device="cuda")
        losses = torch.empty(*leading, k, device="cuda")
        for name, cls in methods.REGISTRY.classes().items():
            if cls.objectives in (None, k):
                method = made(name, settings, k)
                state = method.init(gradients, seed=3)
                direction, after = stepped(gpu, method, gradients, state, losses)
                assert direction.is_cuda, name
                assert (direction.dtype, direction.shape) == (torch.float32, (*leading, P)), name
                assert state.keys() == after.keys(), name
                for key, value in after.items():
                    assert value.is_cuda, (name, key)
                    assert value.dtype == state[key].dtype, (name, key)


def test_loss_weights_and_what_is_observed_stay_on_the_gpu() -> None:
    with fake_gpu() as gpu:
        gradients, losses = torch.empty(2, P, device="cuda"), torch.empty(2, device="cuda")
        for name, cls in methods.REGISTRY.classes().items():
            method = methods.create(name, lam=0.3)
            if cls.weights_losses or cls.observes:
                state, _ = method.init(gradients), method.combine(gradients, method.init(gradients), losses)
                gpu.may_wait = False
                weights, state = method.loss_weights(state, losses)
                state = method.observe(state, losses)
                gpu.may_wait = True
                assert all(tensor.is_cuda for tensor in (weights, *state.values())), name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_passes_on_a_gpu_are_the_fused_ones(dtype, monkeypatch) -> None:
    called = []
    with fake_gpu(), monkeypatch.context() as within:  # put back before what `fake_gpu` has put there
        within.setattr(passes, "_compiled", lambda function: called.append(function.__name__) or function)
        method = methods.create("bloop", lam=torch.tensor([0.1, 0.2], device="cuda"))
        gradients = torch.empty(2, 2, P, dtype=dtype, device="cuda")
        direction, state = method.combine(gradients, method.init(gradients), None)
        assert direction.dtype == dtype
        assert state["memory"].dtype == torch.promote_types(dtype, torch.float32)
    assert called == ["_fused_products", "_fused_write"]


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).all()),
        lambda x: x.tolist(),
        lambda x: x.cpu(),
        lambda x: torch.ones(3).copy_(x),
        lambda x: x[x > 0],
        lambda x: x[torch.tensor([0, 2])],
        lambda x: x.nonzero(),
        lambda x: x + torch.tensor(1.0),
        lambda x: torch.tensor(1.0, device="cuda"),
        lambda x: torch.ones(3).to("cuda", non_blocking=True),
        lambda x: torch.ones(3).pin_memory().to("cuda"),
        lambda x: torch.linalg.eigh(x[:, None] @ x[None]),
        lambda x: torch.linalg.inv(x[:, None] @ x[None]),
    ],
)
def test_the_gpu_that_is_not_there_tells_what_waits(wait) -> None:
    with fake_gpu() as gpu:
        x = torch.ones(3, device="cuda")
        gpu.may_wait, gpu.numbers_stay = False, True
        torch.ones(3).pin_memory().to("cuda", non_blocking=True)
        torch.where(x > 0, 0.0, x)[None].sort(-1).values.masked_fill_(x > 0, 1.0)
        with pytest.raises(WaitedError):
            wait(x)


def test_the_gpu_that_is_not_there_refuses_two_devices() -> None:
    with fake_gpu(), pytest.raises(RuntimeError, match="same device"):
        torch.ones(3, device="cuda") + torch.ones(3)
