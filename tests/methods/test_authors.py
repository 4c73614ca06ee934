"""Trainings beside those of the paper's authors' own functions: every loss of 40 steps, to 1e-8.

`reference/authors_digits.json` says in ``what`` how it was made.
"""

import json
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn.functional import cross_entropy

from scalpel_bench import methods

CASES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "reference" / "authors_digits.json").read_text()
)["cases"]
SIZES = [64, 32, 16, 10]
STEPS, BATCH = 40, 32
SETTINGS = ("rho", "ratio_only")


def title(case: dict[str, Any]) -> str:
    settings = [f"{name}={case[name]}" for name in SETTINGS if name in case]
    return "-".join([case["method"], str(case["lam"]), case["opt"], *settings])


@cache
def digits() -> tuple[Tensor, Tensor]:
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images / 16), torch.tensor(labels)


def start() -> tuple[list[Tensor], Iterator[Tensor]]:
    """Weights ``(inputs, outputs)`` and biases in turn, and the rows of each batch."""
    generator = np.random.default_rng(0)
    parameters: list[Tensor] = []
    for inputs, outputs in pairwise(SIZES):
        weight = generator.standard_normal((inputs, outputs)) / np.sqrt(inputs)
        parameters += [torch.tensor(weight), torch.zeros(outputs, dtype=torch.float64)]
    return parameters, iter(torch.tensor(generator.integers(0, 1797, (STEPS, BATCH))))


def losses(parameters: list[Tensor], rows: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy, and the log of the product of the weights' squared spectral norms."""
    images, labels = digits()
    weights, biases = parameters[::2], parameters[1::2]
    hidden = images[rows]
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        hidden = torch.relu(hidden @ weight + bias)
    main = cross_entropy(hidden @ weights[-1] + biases[-1], labels[rows])
    aux = torch.stack([2 * torch.linalg.matrix_norm(weight, 2).log() for weight in weights]).sum()
    return main, aux


def optimizer(name: str, parameters: list[Tensor]) -> torch.optim.Optimizer:
    if name == "adam":
        return torch.optim.Adam(parameters, lr=3e-3)
    return torch.optim.SGD(parameters, lr=0.03, momentum=0.9, nesterov=True)


def train(case: dict[str, Any]) -> Tensor:
    """``(2, STEPS)``: main and auxiliary losses before each step."""
    parameters, batches = start()
    for parameter in parameters:
        parameter.requires_grad_()
    stepper = optimizer(case["opt"], parameters)
    method, state, seen = method_of(case), None, []
    for batch in batches:
        main, aux = losses(parameters, batch)
        seen.append([main.item(), aux.item()])
        rows = torch.stack([gradient(loss, parameters) for loss in (main, aux)])
        direction, state = method.combine(rows, method.init(rows) if state is None else state)
        for parameter, part in zip(parameters, direction.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = part.view_as(parameter)
        stepper.step()
    return torch.tensor(seen, dtype=torch.float64).T


def method_of(case: dict[str, Any]) -> methods.Method:
    """The authors move the EMA before they project."""
    settings = {name: case[name] for name in SETTINGS if name in case}
    if case["method"] == "bloop":
        settings["order"] = "before"
    return methods.create(case["method"], lam=case["lam"], **settings)


def gradient(loss: Tensor, parameters: list[Tensor]) -> Tensor:
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True, materialize_grads=True)
    return torch.cat([gradient.flatten() for gradient in gradients])


def test_the_reference_holds_both_optimisers_and_all_core_methods() -> None:
    assert len(CASES) == 37
    assert {case["opt"] for case in CASES} == {"adam", "sgd"}
    core = {"sum", "bloop", "bloop_no_ema", "pcgrad", "dynamic_barrier"}
    assert {case["method"] for case in CASES} == core


@pytest.mark.compares("authors' code", "sum", "bloop", "bloop_no_ema", "pcgrad", "dynamic_barrier")
@pytest.mark.parametrize("case", CASES, ids=title)
def test_every_loss_is_that_of_the_authors(case: dict[str, Any]) -> None:
    expected = torch.tensor([case["main"], case["aux"]], dtype=torch.float64)
    assert expected.shape == (2, STEPS)
    assert (train(case) - expected).abs().max() <= 1e-8
