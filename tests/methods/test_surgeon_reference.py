"""Trainings with `Surgeon` in a plain loop against those with the functions that Bloop's authors released."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from scalpel_bench import methods

REFERENCE = json.loads((Path(__file__).parent / "reference" / "authors_digits.json").read_text())
STEPS, BATCH = 40, 32


def name_of(case: dict) -> str:
    return "-".join(str(value) for value in case.values() if not isinstance(value, list))


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images) / 16, torch.tensor(labels)


def start() -> tuple[nn.Sequential, Tensor]:
    """The network and the batches that the reference describes."""
    generator = np.random.default_rng(0)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((64, 32, 16, 10)):
        layer = nn.Linear(inputs, outputs, dtype=torch.float64)
        weights = generator.standard_normal((inputs, outputs)) / np.sqrt(inputs)
        layer.weight.data.copy_(torch.tensor(weights.T))
        layer.bias.data.zero_()
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1]), torch.tensor(generator.integers(0, 1797, (STEPS, BATCH)))


CASES = [
    pytest.param(case, marks=[pytest.mark.slow] if case["lam"] == 0.03 else [], id=name_of(case))
    for case in REFERENCE["cases"]
]


@pytest.mark.parametrize("case", CASES)
def test_the_losses_are_the_authors(case: dict, digits: tuple[Tensor, Tensor]) -> None:
    images, labels = digits
    net, batches = start()
    if case["opt"] == "adam":
        optimizer: torch.optim.Optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    else:
        optimizer = torch.optim.SGD(net.parameters(), lr=0.03, momentum=0.9, nesterov=True)
    settings = {key: case[key] for key in ("lam", "rho", "ratio_only") if key in case}
    if case["method"] == "bloop":
        settings["order"] = "before"
    surgeon = methods.Surgeon(optimizer, methods.create(case["method"], **settings))
    weights = [parameter for parameter in net.parameters() if parameter.dim() == 2]
    seen = []
    for batch in batches:
        main = nn.functional.cross_entropy(net(images[batch]), labels[batch])
        aux = sum(2 * torch.linalg.matrix_norm(weight, 2).log() for weight in weights)
        surgeon.backward(main, aux)
        optimizer.step()
        optimizer.zero_grad()
        seen.append((main.item(), aux.item()))
    error = np.abs(np.array(seen).T - [case["main"], case["aux"]]).max()
    assert error < 1e-8
