"""What streaming surgery refuses, in one line, and what stays as it was."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss
from torch.utils.checkpoint import checkpoint

from scalpel_bench import methods
from scalpel_bench.methods import Surgeon
from tests.methods.surgeons import STREAMING, batches, losses, network, optimizer_of, pair, vector, written


def infinite(model: nn.Module, index: int) -> torch.Tensor:
    return (model[index].bias * 0).sqrt().sum()


BAD = {
    "nan main": (lambda m, b: (losses(m, b)[0] * math.nan, losses(m, b)[1]), "the main loss is nan", ()),
    "nan aux": (lambda m, b: (losses(m, b)[0], losses(m, b)[1] * math.nan), "the aux loss is nan", ()),
    "infinite aux": (
        lambda m, b: (losses(m, b)[0], losses(m, b)[1] + infinite(m, 2)),
        "the gradient of the aux loss is not finite",
        ("before",),
    ),
    "infinite main": (
        lambda m, b: (losses(m, b)[0] + infinite(m, 0), losses(m, b)[1]),
        "the gradient of the main loss is not finite",
        ("after", "rescaled"),
    ),
    "nothing": (lambda m, b: (torch.zeros(()), 0.0), "every loss is a constant 0", ()),
    "elsewhere": (
        lambda m, b: (losses(m, b)[0], losses(network(), b)[1]),
        "reaches no parameter",
        (),
    ),
}


@pytest.mark.parametrize("cleared", [True, False])
@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("name", STREAMING)
def test_what_is_refused_leaves_a_memory_to_go_on_with(name: str, case: str, cleared: bool) -> None:
    make, message, moved = BAD[case]
    (model, surgeon), _ = pair(network(), STREAMING[name])
    optimizer, data = optimizer_of(model), batches(3)
    with pytest.raises((RuntimeError, ValueError), match=message):
        surgeon.backward(*make(model, data[0]))
    assert surgeon.state_dict()["state"] is None
    surgeon.backward(*losses(model, data[0]))
    optimizer.step()
    optimizer.zero_grad(set_to_none=cleared)
    parameters, state = vector(model), copy.deepcopy(surgeon.state_dict()["state"])
    with pytest.raises((RuntimeError, ValueError), match=message):
        surgeon.backward(*make(model, data[1]))
    torch.testing.assert_close(vector(model), parameters, rtol=0, atol=0)
    assert all(p.grad is None if cleared else not p.grad.any() for p in model.parameters())
    if name in moved:
        assert not torch.equal(surgeon.state_dict()["state"]["memory"], state["memory"])
        assert torch.isfinite(surgeon.state_dict()["state"]["memory"]).all()
    else:
        torch.testing.assert_close(surgeon.state_dict()["state"], state, rtol=0, atol=0)
    surgeon.backward(*losses(model, data[2]))
    assert torch.isfinite(written(model)).all()


class OutOfMemory(Exception):
    """Of the user's."""


def failing(*_: object) -> torch.Tensor:
    raise OutOfMemory


@pytest.mark.parametrize("order", ["before", "after"])
def test_a_loss_that_fails_moves_nothing(order: str) -> None:
    """Its function, a gradient from elsewhere, a loss that is none: with two losses no row has moved."""
    (model, surgeon), (other, rows) = pair(network(), {"name": "bloop", "rho": 0.5, "order": order})
    optimizers, data = [optimizer_of(model), optimizer_of(other)], batches(4)
    for net, each, optimizer in ((model, surgeon, optimizers[0]), (other, rows, optimizers[1])):
        each.backward(*losses(net, data[0]))
        optimizer.step()
    gradients, state = written(model), copy.deepcopy(surgeon.state_dict()["state"])

    def foreign() -> torch.Tensor:
        model[2].bias.grad.add_(1)
        return losses(model, data[1])[1]

    for which in (0, 1):
        for function, error in ((failing, OutOfMemory), (foreign, RuntimeError), (lambda: 1.0, ValueError)):
            given = [lambda k=k: losses(model, data[1])[k] for k in range(2)]
            given[which] = function
            with pytest.raises(error):
                surgeon.backward(*given)
            torch.testing.assert_close(surgeon.state_dict()["state"], state, rtol=0, atol=0)
            if function is foreign:
                model[2].bias.grad.sub_(1)
            torch.testing.assert_close(written(model), gradients)
            optimizers[0].zero_grad(set_to_none=False)
            gradients = written(model)
    for net, each in ((model, surgeon), (other, rows)):
        net.zero_grad()
        each.backward(*losses(net, data[2]))
    torch.testing.assert_close(written(model), written(other))
    torch.testing.assert_close(surgeon.state_dict()["state"], rows.state_dict()["state"])


@pytest.mark.parametrize("ends", ["drop", "load"])
@pytest.mark.parametrize("order", ["before", "after"])
def test_a_memory_that_moved_in_a_step_that_failed_is_not_used_silently(order: str, ends: str) -> None:
    (model, surgeon), _ = pair(network(), {"name": "bloop", "rho": 0.5, "order": order})
    data = batches(3)
    surgeon.backward(*losses(model, data[0]))
    model.zero_grad()
    saved = surgeon.state_dict()

    def late() -> torch.Tensor:
        outputs = model[:2](data[1][0])
        outputs.register_hook(failing)  # once the last layer's gradients have arrived
        return mse_loss(model[2](outputs), data[1][1])

    values = [lambda: losses(model, data[1])[0], late] if order == "before" else [late, 0.0]
    with pytest.raises(OutOfMemory):
        surgeon.backward(*values)
    moved = surgeon.state_dict()["state"]["memory"]
    assert not torch.equal(moved, saved["state"]["memory"])
    for step in (surgeon.backward, surgeon.accumulate, surgeon.backward):
        with pytest.raises(
            RuntimeError, match=r"^a step failed once part .*: load_state_dict\(\) a copy, or drop"
        ):
            step(*losses(model, data[2]))
    surgeon.drop() if ends == "drop" else surgeon.load_state_dict(saved)
    state = surgeon.state_dict()["state"]["memory"]
    assert torch.equal(state, moved if ends == "drop" else saved["state"]["memory"])
    surgeon.backward(*losses(model, data[2]))


def test_with_three_losses_a_row_has_moved_before_the_last_pass() -> None:
    (model, surgeon), _ = pair(network(), STREAMING["before"], lam=[0.5, 2.0])
    data = batches(2)
    surgeon.backward(*losses(model, data[0]), losses(model, data[0])[0])
    model.zero_grad()
    with pytest.raises(OutOfMemory):
        surgeon.backward(*losses(model, data[1]), failing)
    with pytest.raises(RuntimeError, match="a step failed once part"):
        surgeon.backward(*losses(model, data[1]), losses(model, data[1])[0])


def test_a_refused_step_leaves_the_gradients_that_there_are() -> None:
    (model, surgeon), _ = pair(network(), STREAMING["after"])
    optimizer, data = optimizer_of(model), batches(2)
    surgeon.backward(*losses(model, data[0]))
    optimizer.step()
    before = written(model)
    with pytest.raises(RuntimeError, match="not finite: .*; what the method remembers has moved by what had"):
        surgeon.backward(losses(model, data[1])[0] + infinite(model, 0), 0.0)
    assert torch.equal(written(model), before)


def test_reentrant_checkpoints_are_refused() -> None:
    (model, surgeon), _ = pair(network(), STREAMING["after"])
    inputs, targets = batches(1)[0]
    outputs = checkpoint(model, inputs.requires_grad_(), use_reentrant=True)
    with pytest.raises(RuntimeError, match="checkpoint with use_reentrant=False"):
        surgeon.backward(mse_loss(outputs, targets), outputs.abs().mean())
    assert surgeon.state_dict()["state"] is None
    outputs = checkpoint(model, inputs, use_reentrant=False)
    surgeon.backward(mse_loss(outputs, targets), outputs.abs().mean())


REFUSED = {
    "bloop_no_ema": {"name": "bloop_no_ema"},
    "rho 1": {"name": "bloop", "rho": 1.0},
    "ratio": {"name": "bloop", "ratio_only": True},
    "blocks": {"name": "bloop", "blocks": True},
    "ema": {"name": "sum", "ema": 0.1},
    **{name: {"name": name} for name in ("pcgrad", "mgda", "dynamic_barrier", "graddrop", "dwa")},
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_methods_are_refused_and_those_that_stream_are_named(case: str) -> None:
    model = network()
    with pytest.raises(ValueError, match=r"memory='streaming' sums gradients.*: bloop, sum$"):
        Surgeon(model.parameters(), methods.create(**REFUSED[case]), memory="streaming")
    surgeon = Surgeon(model.parameters(), methods.create("sum"), memory="streaming")
    surgeon.method = methods.create(**REFUSED[case])
    with pytest.raises(ValueError, match=r"memory='streaming' sums gradients"):
        surgeon.backward(*losses(model, batches(1)[0]))


def test_other_types_and_other_words_are_refused() -> None:
    method = methods.create("sum")
    with pytest.raises(ValueError, match="make all of them float32 or all float64, not bfloat16"):
        Surgeon(network().bfloat16().parameters(), method, memory="streaming")
    with pytest.raises(ValueError, match="memory must be one of rows, streaming, got 'stream'"):
        Surgeon(network().parameters(), method, memory="stream")
