"""What losses are divided by, over micro-batches and processes, against whole batches and the Trainer."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import Trainer

from scalpel_bench import methods
from tests.methods.integrations.test_hf import CONTEXT, VOCABULARY, Sequences, trainer, weights


def summed(outputs, labels, num_items_in_batch=None) -> torch.Tensor:
    """A `compute_loss_func`."""
    logits = outputs["logits"][:, :-1].flatten(0, 1)
    total = torch.nn.functional.cross_entropy(logits, labels[:, 1:].flatten(), reduction="sum")
    return total / num_items_in_batch


def auxiliary_sum(network, batch, num_items_in_batch) -> torch.Tensor:
    labels = batch.pop("labels")
    return summed(network(**batch), labels, num_items_in_batch)


@pytest.mark.parametrize(
    "loss",
    [{}, {"compute_loss_func": summed}, {"auxiliary_loss": auxiliary_sum}],
    ids=["its own", "compute_loss_func", "auxiliary_loss"],
)
def test_accumulated_micro_batches_of_ragged_rows_equal_whole_batches(tmp_path, loss: dict) -> None:
    settings = {
        "max_steps": 3,
        "train_sampling_strategy": "sequential",
        **ragged(),
        "optim": "sgd",
        **loss,
    }
    whole = trainer(tmp_path, per_device_train_batch_size=8, **settings)
    parts = trainer(tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=4, **settings)
    for each in (whole, parts):
        each.train()
    torch.testing.assert_close(weights(parts), weights(whole), rtol=0, atol=1e-7)
    assert parts.state.log_history[1] == pytest.approx(whole.state.log_history[1], rel=1e-4)


class Mean(torch.nn.Module):
    """A model that takes no number of labels, so that the Trainer divides its loss."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(CONTEXT, 1)

    def forward(self, input_ids, labels) -> dict[str, torch.Tensor]:
        return {"loss": self.layer(input_ids / VOCABULARY).square().mean()}


def test_accumulation_divides_the_mean_of_a_model_as_the_trainer_does(tmp_path) -> None:
    settings = {"gradient_accumulation_steps": 3, "per_device_train_batch_size": 2, "optim": "sgd"}
    # of 20 rows, an epoch makes steps of 6, 6, 6 and 2
    settings |= {"max_steps": 8, "train_dataset": Sequences(1, length=20), "max_grad_norm": 0}
    surgery = trainer(tmp_path, Mean(), method=methods.create("sum", lam=0.0), **settings)
    plain = Trainer(Mean(), surgery.args, train_dataset=Sequences(1, length=20))
    for each in (surgery, plain):
        each.train()
    torch.testing.assert_close(weights(surgery), weights(plain), rtol=1e-6, atol=1e-7)


def test_the_mean_of_an_auxiliary_loss_is_divided_by_the_micro_batches(tmp_path) -> None:
    def auxiliary_loss(network, batch) -> torch.Tensor:
        return network.layer(batch["input_ids"] / VOCABULARY).mean()

    settings = {"auxiliary_loss": auxiliary_loss, "max_steps": 3, "optim": "sgd"}
    settings["train_sampling_strategy"] = "sequential"
    parts = trainer(
        tmp_path, Mean(), per_device_train_batch_size=2, gradient_accumulation_steps=3, **settings
    )
    whole = trainer(tmp_path, Mean(), per_device_train_batch_size=6, **settings)
    for each in (parts, whole):
        each.train()
    torch.testing.assert_close(weights(parts), weights(whole), rtol=1e-5, atol=1e-6)


def ragged() -> dict[str, Sequences]:
    return {"train_dataset": Sequences(1, ragged=True), "auxiliary_dataset": Sequences(2, ragged=True)}


DIVIDED: list[dict] = [{}, {"auxiliary_loss": auxiliary_sum}]
"""Losses whose labels the Trainer counts over all processes."""


REPLICA = """
import sys
import torch
from tests.methods.integrations.test_hf import trainer, weights
from tests.methods.integrations.test_hf_division import DIVIDED, ragged
for number, losses in enumerate(DIVIDED):
    trained = trainer(sys.argv[1], per_device_train_batch_size=2, max_steps=3, **ragged(), **losses)
    trained.train()
    if trained.args.process_index == 0:
        torch.save(weights(trained), f"{sys.argv[1]}/{number}.pt")
"""


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path) -> None:
    script = tmp_path / "replica.py"
    script.write_text(REPLICA)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    root = str(Path(__file__).parents[3])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, *sys.path]), "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, str(script), str(tmp_path)], env=environment, cwd=root, check=True)
    for number, losses in enumerate(DIVIDED):
        whole = trainer(tmp_path, per_device_train_batch_size=4, max_steps=3, **ragged(), **losses)
        whole.train()
        parts = torch.load(tmp_path / f"{number}.pt", weights_only=True)
        torch.testing.assert_close(parts, weights(whole), rtol=1e-4, atol=1e-5)
