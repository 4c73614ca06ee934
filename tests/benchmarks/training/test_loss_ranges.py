"""Methods that read the losses: which losses they are defined for, and what they are told after a step."""

import pytest
import torch
from torch import nn

from scalpel_bench import methods
from scalpel_bench.benchmarks.experiments.loading import load
from scalpel_bench.benchmarks.messages import UserError
from scalpel_bench.benchmarks.training import Stepper, train
from tests.benchmarks.regression import Regression, run_of

DEFINED_FOR_POSITIVE = ["cosmos", "db_mtl", "dwa", "famo", "gls", "gradnorm"]
DEFINED_FOR_POSITIVE += ["imtl_l", "pbi", "si", "uncertainty"]


class Falling(Regression):
    """Its auxiliary loss crosses 0 on the way."""

    def losses(self, model, batch):
        main, aux = super().losses(model, batch)
        yield main
        yield aux - 1.5


class Normalised(Regression):
    """With buffers that every forward pass moves."""

    def build(self) -> nn.Module:
        return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(self.dropout), nn.Linear(8, 2))


def test_these_methods_and_no_others_are_for_positive_losses() -> None:
    assert [n for n in methods.available() if methods.get(n).positive_losses] == DEFINED_FOR_POSITIVE


@pytest.mark.parametrize("name", DEFINED_FOR_POSITIVE)
def test_a_sweep_with_losses_of_either_sign_is_refused_when_it_is_planned(name: str) -> None:
    message = f"{name} is defined for positive losses only, and the aux loss of smooth_mlp may be 0 or less"
    with pytest.raises(UserError, match=message):
        load("fig3a", "smoke", {"methods": {"sum": {}, name: {}}})
    load("conditioning", "smoke", {"methods": {name: {}}})


@pytest.mark.parametrize("name", DEFINED_FOR_POSITIVE)
def test_a_run_whose_loss_leaves_the_range_ends_in_words(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is defined for positive losses only, and the aux loss was"):
        train([run_of(name)], Falling())
    (outcome,) = train([run_of("sum")], Falling())
    assert outcome.diverged_at is None
    assert outcome.trajectory[-1]["train"]["aux"] < 0


@pytest.mark.parametrize("lams", [[0.5], [0.5, 2.0]])
def test_famo_is_told_the_losses_of_the_same_batch_after_the_step(lams: list[float], monkeypatch) -> None:
    told: list[torch.Tensor] = []
    monkeypatch.setattr(methods.get("famo"), "observe", lambda _, state, losses: told.append(losses) or state)
    stepper, task = Stepper([run_of("famo", lam) for lam in lams], Regression()), Regression()
    batches = stepper.batches()
    for _ in range(3):
        batch = next(batches)
        stepper.step(batch)
        for replica in range(len(lams)):
            expected = torch.stack(list(task.losses(stepper.models.model(replica), batch)))
            torch.testing.assert_close(told[-1].reshape(-1, 2)[replica], expected.detach())
            assert not torch.allclose(expected, stepper.losses.reshape(-1, 2)[replica])
    assert len(told) == 3


def test_being_told_moves_no_buffer_and_draws_no_number(monkeypatch) -> None:
    def after_three_steps() -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
        with torch.random.fork_rng():
            stepper = Stepper([run_of("famo")], Normalised(dropout=0.5))
            torch.manual_seed(0)
            for _, batch in zip(range(3), stepper.batches(), strict=False):
                stepper.step(batch)
            return stepper.losses, stepper.models.buffers, torch.get_rng_state()

    _, buffers, generator = after_three_steps()
    monkeypatch.setattr(methods.get("famo"), "observes", False)
    losses, others, unobserved = after_three_steps()
    assert torch.equal(generator, unobserved)
    assert buffers.keys() == others.keys()
    assert others["1.num_batches_tracked"] == buffers["1.num_batches_tracked"] == 3 * len(losses)
