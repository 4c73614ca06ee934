"""A small network, its batches and two losses, for the tests of `Surgeon`."""

import copy

import torch
from torch import nn
from torch.nn.functional import mse_loss

from scalpel_bench import methods
from scalpel_bench.methods import Surgeon

PARAMETERS = 5 * 7 + 7 + 7 * 3 + 3


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))


def batches(count: int, size: int = 8) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(size, 5, generator=generator), torch.randn(size, 3, generator=generator))
        for _ in range(count)
    ]


def losses(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    inputs, targets = batch
    outputs = model(inputs)
    return mse_loss(outputs, targets), (outputs - outputs.roll(1, 0)).abs().mean()


def flat_gradients(model: nn.Module, values: tuple[torch.Tensor, ...]) -> torch.Tensor:
    parameters = list(model.parameters())
    rows = [torch.autograd.grad(v, parameters, retain_graph=True, materialize_grads=True) for v in values]
    return torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])


def written(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters()])  # type: ignore[union-attr]


def vector(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def bloop(lam: float = 0.5, **settings) -> methods.Method:
    return methods.create("bloop", lam=lam, rho=0.1, **settings)


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def train(model: nn.Module, surgeon: Surgeon, data, optimizer=None) -> torch.Tensor:
    optimizer = optimizer or optimizer_of(model)
    for batch in data:
        surgeon.backward(*losses(model, batch))
        optimizer.step()
        optimizer.zero_grad()
    return vector(model)


STREAMING = {
    "sum": {"name": "sum"},
    "after": {"name": "bloop", "rho": 0.1},
    "before": {"name": "bloop", "rho": 0.1, "order": "before"},
    "rescaled": {"name": "bloop", "rho": 0.1, "rescale": True},
}
"""Methods whose surgery can stream."""


def pair(model: nn.Module, settings: dict, lam: float | list[float] = 0.5, **given):
    """The same network with a Surgeon of each kind."""
    other = copy.deepcopy(model)
    method = methods.create(**settings, lam=torch.tensor(lam) if isinstance(lam, list) else lam)
    return (model, Surgeon(model.parameters(), method, memory="streaming", **given)), (
        other,
        Surgeon(other.parameters(), method, **given),
    )
