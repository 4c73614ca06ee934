"""Gradients with respect to flat parameters, and the backward passes that they take."""

import torch
from torch import Tensor

from scalpel_bench.benchmarks.training import FlatModel
from scalpel_bench.tasks import Loss


def gradient(flat: FlatModel, loss: Loss) -> Tensor:
    """``(P,)``; the graph of the loss is freed."""
    row = torch.empty_like(flat.theta, requires_grad=False)
    flat.gradient(loss, row, keep=False)
    return row


def watch_backward_passes(monkeypatch) -> list[int]:
    """A list that grows by one at each of them."""
    passes: list[int] = []
    grad, backward = torch.autograd.grad, Tensor.backward
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: passes.append(1) or grad(*a, **k))
    monkeypatch.setattr(Tensor, "backward", lambda *a, **k: passes.append(1) or backward(*a, **k))
    return passes
