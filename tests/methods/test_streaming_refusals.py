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
        ("before", "after", "rescaled"),
    ),
    "nothing": (lambda m, b: (torch.zeros(()), 0.0), "every loss is a constant 0", ()),
    "elsewhere": (
        lambda m, b: (losses(m, b)[0], losses(network(), b)[1]),
        "reaches no parameter",
        ("before",),
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
        assert torch.isfinite(surgeon.state_dict()["state"]["memory"]).all()
    else:
        torch.testing.assert_close(surgeon.state_dict()["state"], state, rtol=0, atol=0)
    surgeon.backward(*losses(model, data[2]))
    assert torch.isfinite(written(model)).all()


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
