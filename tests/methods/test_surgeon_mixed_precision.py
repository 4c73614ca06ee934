"""Surgery under a scaler, under autocast, and on parameters in bfloat16."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from scalpel_bench import methods
from scalpel_bench.methods import Surgeon
from tests.methods.surgeons import (
    batches,
    bloop,
    losses,
    network,
    optimizer_of,
    vector,
    written,
)


def scaled_training(model: nn.Module, scaler: torch.amp.GradScaler, data) -> Surgeon:
    surgeon = Surgeon(model.parameters(), bloop(), scaler=scaler)
    optimizer = optimizer_of(model)
    for batch in data:
        surgeon.backward(*losses(model, batch))
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    return surgeon


def test_a_scale_that_moves_changes_nothing() -> None:
    plain, scaled, data = network(), network(), batches(6)
    off = scaled_training(plain, torch.amp.GradScaler("cpu", enabled=False), data)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=2)
    on = scaled_training(scaled, scaler, data)
    assert scaler.get_scale() == 2.0**13
    torch.testing.assert_close(vector(scaled), vector(plain))
    torch.testing.assert_close(on.state_dict()["state"], off.state_dict()["state"])


def overflowing(model: nn.Module) -> torch.utils.hooks.RemovableHandle:
    """From now on the gradients of what a model puts out are infinite."""
    return model.register_forward_hook(
        lambda *_: _[-1].register_hook(lambda gradient: gradient * math.inf) and None
    )


def test_under_no_grad_it_works_as_backward_does() -> None:
    nets, (batch,) = (network(), network()), batches(1)
    surgeons = [
        Surgeon(n.parameters(), bloop(), scaler=torch.amp.GradScaler("cpu", init_scale=8.0)) for n in nets
    ]
    surgeons[0].backward(*losses(nets[0], batch))
    values = losses(nets[1], batch)
    with torch.no_grad():
        surgeons[1].backward(*values)
    assert torch.equal(written(nets[0]), written(nets[1]))


def test_an_overflow_skips_the_step_and_spares_the_memory() -> None:
    model, data = network(), batches(3)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    surgeon = scaled_training(model, scaler, data[:2])
    before, memory = vector(model), copy.deepcopy(surgeon.state_dict()["state"])
    overflowing(model)
    optimizer = optimizer_of(model)
    for _ in range(2):
        surgeon.backward(*losses(model, data[2]))
        scaler.step(optimizer)
        scaler.update()
    assert torch.equal(vector(model), before)
    assert scaler.get_scale() == 2.0**8
    torch.testing.assert_close(surgeon.state_dict()["state"], memory, rtol=0, atol=0)


@pytest.mark.parametrize("memory", ["rows", "streaming"])
def test_after_an_overflow_no_hook_of_a_parameter_runs_and_those_of_other_leaves_do(memory: str) -> None:
    """These get what ``backward()`` would give them, and their optimiser steps with it if it is finite."""
    model, (batch,) = network(), batches(1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    surgeon = Surgeon(model.parameters(), bloop(), scaler=scaler, memory=memory)  # type: ignore[arg-type]
    centre, seen = nn.Parameter(torch.zeros(())), []
    for name, leaf in (("centre", centre), ("weight", model[0].weight)):
        leaf.register_hook(lambda gradient, name=name: seen.append(name))
        leaf.register_post_accumulate_grad_hook(lambda leaf, name=name: seen.append(name))
    hook = overflowing(model)
    main, aux = losses(model, batch)
    surgeon.backward(main + centre, aux)
    assert seen == ["centre", "centre"]
    assert centre.grad.item() == 2.0**10
    hook.remove()
    model.zero_grad()
    main, aux = losses(model, batch)
    surgeon.backward(main + centre, aux)
    assert sorted(seen) == ["centre"] * 4 + ["weight"] * 2


def test_another_surgeon_may_add_to_what_an_overflow_left() -> None:
    """No step will use it: the scaler skips that."""
    model, (batch,) = network(), batches(1)
    head = nn.Linear(3, 1)
    surgeon = Surgeon(model.parameters(), bloop(), scaler=torch.amp.GradScaler("cpu", init_scale=2.0**10))
    hook = overflowing(model)
    surgeon.backward(*losses(model, batch))
    hook.remove()
    assert not written(model).isfinite().all()
    outputs = head(model(batch[0]))
    Surgeon(head.parameters(), bloop()).backward(outputs.square().mean(), outputs.abs().mean())
    assert head.weight.grad.isfinite().all()


@pytest.mark.parametrize(
    ("given", "expected"), [({}, torch.float16), ({"autocast": torch.bfloat16}, torch.bfloat16)]
)
def test_with_a_scaler_gradients_are_known_to_the_digits_of_float16(
    given: dict, expected: torch.dtype
) -> None:
    """Decisions about rank go by that."""
    parameter = nn.Parameter(torch.zeros(4))
    scaler = torch.amp.GradScaler("cpu", init_scale=1.0)
    surgeon = Surgeon([parameter], methods.create("config", lam=1.0), scaler=scaler, **given)
    assert surgeon._rounding == torch.finfo(expected).eps


def test_bfloat16_parameters_are_gathered_in_float32() -> None:
    model, (first, second) = network().to(torch.bfloat16), batches(2)
    model[2].float()

    def values(batch) -> tuple[torch.Tensor, torch.Tensor]:
        outputs = model[2](model[:2](batch[0].bfloat16()).float())
        return mse_loss(outputs, batch[1]), outputs.abs().mean()

    surgeon = Surgeon(model.parameters(), bloop())
    surgeon.accumulate(*values(first))
    surgeon.backward(*values(second))
    assert [p.grad.dtype for p in model.parameters()] == [p.dtype for p in model.parameters()]
    assert surgeon.state_dict()["state"]["memory"].dtype == torch.float32


@pytest.mark.parametrize("name", ["config", "imtl_g", "aligned_mtl"])
def test_under_autocast_a_sum_of_gradients_is_known_as_one(name: str) -> None:
    """Three losses, the last of which is the sum of the others: rank two, which float32's rounding denies."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 64), nn.Tanh(), nn.Linear(64, 1))
    method = methods.create(name, lam=1.0)

    def three(precision: torch.dtype | None) -> list[torch.Tensor]:
        inputs = torch.randn(64, 20, generator=torch.Generator().manual_seed(1))
        with torch.autocast("cpu", precision, enabled=precision is not None):
            first, second = (model(part).float().square().sum() for part in inputs.chunk(2))
            return [first, second, model(inputs).float().square().sum()]

    def direction(precision: torch.dtype | None, **told: torch.dtype) -> torch.Tensor:
        model.zero_grad()
        Surgeon(model.parameters(), method, **told).backward(*three(precision))
        return written(model)

    def error(**told: torch.dtype) -> float:
        difference = direction(torch.bfloat16, **told) - expected
        return (difference.norm() / expected.norm()).item()

    expected = direction(None)
    assert error(autocast=torch.bfloat16) < 0.1
    assert error() > 0.5


def test_what_autocast_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match=r"autocast must be a dtype such as torch\.bfloat16, got True"):
        Surgeon(network().parameters(), bloop(), autocast=True)
