"""The direction of one objective alone."""

import pytest
import torch

from scalpel_bench import methods
from scalpel_bench.benchmarks.contract import sampled


@pytest.mark.compares("formula", "single")
@pytest.mark.parametrize("objective", [0, 1, 2])
@pytest.mark.parametrize("lam", [0.0, 0.3])
def test_the_direction_is_the_gradient_of_one_objective(objective: int, lam: float) -> None:
    (gradients,) = sampled(1, k=3)
    method = methods.create("single", lam=lam, objective=objective)
    direction, _ = method.combine(gradients, method.init(gradients))
    assert torch.equal(direction, gradients[objective])


def test_an_objective_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="objective must be at least 0, got -1"):
        methods.create("single", objective=-1)
    with pytest.raises(ValueError, match="single: objective 2 of 2, which count from 0, is none"):
        methods.create("single", objective=2).init(torch.zeros(2, 5))
