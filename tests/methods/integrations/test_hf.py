"""The Trainer with surgery, against a loop by hand, and against itself after a stop."""

from itertools import chain, islice
from pathlib import Path

import pytest
import torch
import wandb
from torch.utils.data import Dataset, IterableDataset
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments, set_seed

from scalpel_bench import methods
from scalpel_bench.methods.integrations import hf
from scalpel_bench.methods.integrations.hf import SurgeryTrainer
from tests.benchmarks.wandb_files import runs

VOCABULARY, CONTEXT = 17, 8


class Sequences(Dataset):
    """``ragged``: the labels of each row end at a place of its own."""

    def __init__(self, seed: int, length: int = 40, ragged: bool = False) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.tokens = torch.randint(VOCABULARY, (length, CONTEXT), generator=generator)
        self.ends = torch.randint(2, CONTEXT, (length,), generator=generator) if ragged else None

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        labels = self.tokens[index].clone()
        labels[0] = -100  # the Trainer divides by the number of labels, and the first is never predicted
        if self.ends is not None:
            labels[self.ends[index] :] = -100
        return {"input_ids": self.tokens[index], "labels": labels}


def model(dropout: float = 0.0, cls: type[GPT2LMHeadModel] = GPT2LMHeadModel) -> GPT2LMHeadModel:
    set_seed(0)
    rates = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), dropout)
    return cls(GPT2Config(vocab_size=VOCABULARY, n_positions=CONTEXT, n_embd=8, n_layer=1, n_head=2, **rates))


OWN = (
    "method",
    "train_dataset",
    "auxiliary_dataset",
    "auxiliary_loss",
    "shared",
    "model_init",
    "compute_loss_func",
)


def trainer(folder: Path, net: torch.nn.Module | None = None, **settings) -> SurgeryTrainer:
    own = {name: settings.pop(name) for name in OWN if name in settings}
    if "model_init" not in own:
        own["model"] = net or model()
    arguments = {
        "max_steps": 6,
        "per_device_train_batch_size": 4,
        "learning_rate": 0.01,
        "logging_steps": 1,
        "save_strategy": "no",
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        **settings,
    }
    return SurgeryTrainer(
        args=TrainingArguments(str(folder), **arguments),
        **{
            "train_dataset": Sequences(1),
            "method": methods.create("bloop", lam=0.5, rho=0.1),
            "auxiliary_dataset": Sequences(2, length=30),
            **own,
        },
    )


def weights(trained: SurgeryTrainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trained.model.state_dict().items()}


def test_it_trains_as_a_loop_by_hand(tmp_path) -> None:
    net, seen = model(), []

    def auxiliary_loss(network, batch):
        seen.append(batch["input_ids"])
        return network(**batch).loss

    trained = trainer(
        tmp_path, net, auxiliary_loss=auxiliary_loss, train_sampling_strategy="sequential", max_grad_norm=0.3
    )
    trained.train()
    other, data = model(), Sequences(1).tokens
    optimizer = torch.optim.AdamW(other.parameters(), lr=0.01, weight_decay=0)
    surgeon = methods.Surgeon(other.parameters(), methods.create("bloop", lam=0.5, rho=0.1))
    assert len(torch.cat(seen).unique(dim=0)) >= 23
    for step, auxiliary in enumerate(seen):
        main = data[4 * step : 4 * step + 4]
        optimizer.param_groups[0]["lr"] = 0.01 * (1 - step / 6)
        surgeon.backward(
            *(lambda batch=batch: other(input_ids=batch, labels=batch).loss for batch in (main, auxiliary))
        )
        torch.nn.utils.clip_grad_norm_(other.parameters(), 0.3)
        optimizer.step()
        optimizer.zero_grad()
    torch.testing.assert_close(weights(trained), other.state_dict())
    logged = [row for row in trained.state.log_history if "loss" in row]
    assert len(logged) == 6
    assert logged[-1]["surgery/main_loss"] == pytest.approx(logged[-1]["loss"], rel=1e-4)
    seen_last = {f"surgery/{name}": value for name, value in surgeon.diagnostics().items()}
    assert {name: logged[-1][name] for name in seen_last} == pytest.approx(seen_last, rel=1e-3)


def test_resuming_continues_bit_for_bit(tmp_path) -> None:
    settings = {"save_strategy": "steps", "save_steps": 3, "gradient_accumulation_steps": 3, "max_steps": 9}
    whole = trainer(tmp_path / "whole", model(dropout=0.2), **settings)
    whole.train()
    resumed = trainer(tmp_path / "resumed", model(dropout=0.2), **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-6"))
    torch.testing.assert_close(weights(resumed), weights(whole), rtol=0, atol=0)
    state, expected = resumed.surgeon.state_dict()["state"], whole.surgeon.state_dict()["state"]
    torch.testing.assert_close(state, expected, rtol=0, atol=0)


class Small(GPT2LMHeadModel):
    """Out of memory above 4 rows."""

    def forward(self, input_ids, labels, **named):
        if len(input_ids) > 4:
            raise RuntimeError("CUDA out of memory. Tried to allocate 1.0 GiB")
        return super().forward(input_ids=input_ids, labels=labels, **named)


@pytest.mark.slow
def test_a_batch_size_that_is_found_is_that_of_both_streams(tmp_path) -> None:
    found = trainer(
        tmp_path, model(cls=Small), per_device_train_batch_size=8, auto_find_batch_size=True, data_seed=1
    )
    expected = trainer(tmp_path, data_seed=1)
    for each in (found, expected):
        set_seed(0)
        each.train()
    assert found._train_batch_size == 4
    seen = [
        [row["surgery/aux_loss"] for row in t.state.log_history if "loss" in row] for t in (found, expected)
    ]
    assert seen[0] == pytest.approx(seen[1])


def test_neighbouring_seeds_draw_other_auxiliary_streams() -> None:
    """Not one that begins where the other is after an epoch."""
    epochs = [
        {tuple(chain(*islice(hf._Batches(20, 5, seed, start, 0, 1), 4))) for start in range(0, 40, 4)}
        for seed in range(3)
    ]
    assert [len(of) for of in epochs] == [10] * 3
    assert len(set.union(*epochs)) == 30


def test_each_training_draws_the_auxiliary_stream_from_its_start(tmp_path) -> None:
    drawn: list[torch.Tensor] = []

    def auxiliary_loss(network, batch):
        drawn.append(batch["input_ids"])
        return network(**batch).loss

    trained = trainer(tmp_path, model_init=lambda: model(), auxiliary_loss=auxiliary_loss, max_steps=3)
    trained.train()
    first, state = weights(trained), trained.surgeon.state_dict()["state"]
    trained.train()
    assert torch.equal(torch.stack(drawn[:3]), torch.stack(drawn[3:]))
    torch.testing.assert_close(weights(trained), first, rtol=0, atol=0)
    torch.testing.assert_close(trained.surgeon.state_dict()["state"], state, rtol=0, atol=0)


def test_reentrant_checkpoints_train_what_the_trainer_trains(tmp_path) -> None:
    moved = []
    for kind in (Trainer, SurgeryTrainer):
        net = model()
        net.transformer.wte.weight.requires_grad_(False)
        net.transformer.wpe.weight.requires_grad_(False)
        net.enable_input_require_grads()
        before = {name: value.clone() for name, value in net.state_dict().items()}
        each = trainer(
            tmp_path, net, max_steps=1, activation_checkpointing=True,
            activation_checkpointing_kwargs={"use_reentrant": True},
        )  # fmt: skip
        each = each if kind is SurgeryTrainer else Trainer(net, each.args, train_dataset=Sequences(1))
        each.train()
        moved.append(
            {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
        )
    assert len(moved[0]) > 10
    assert moved[1] == moved[0]


def test_a_trainer_whose_optimizer_and_method_were_replaced_operates_on_the_new_ones(tmp_path) -> None:
    net = model()
    net.transformer.wte.weight.requires_grad_(False)
    trained = trainer(tmp_path, net, max_steps=1)
    trained.train()
    before = trained.surgeon
    net.transformer.wte.weight.requires_grad_(True)
    trained.method = methods.create("bloop", lam=0.9, rho=0.1)
    assert before.method.lam == 0.9
    trained.optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    trained.train()
    assert trained.surgeon is not before
    size = sum(p.numel() for p in net.parameters())
    assert trained.surgeon.state_dict()["state"]["memory"].shape == (1, size)
    with pytest.raises(ValueError, match="mgda cannot go on with what bloop has remembered"):
        trained.method = methods.create("mgda")
    assert trained.method.name == "bloop"


def test_an_optimizer_of_a_subclass_is_operated_on_too(tmp_path) -> None:
    class Own(SurgeryTrainer):
        def create_optimizer(self, model=None):
            self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
            return self.optimizer

    made = trainer(tmp_path, max_steps=1)
    own = Own(
        model(), made.args, train_dataset=Sequences(1), method=made.method, auxiliary_dataset=Sequences(2)
    )
    own.train()
    assert own.surgeon.diagnostics()["aux_norm"] > 0


def test_bfloat16_and_a_subset_of_the_parameters(tmp_path) -> None:
    net = model()
    trained = trainer(tmp_path, net, bf16=True, shared=net.transformer.h.parameters(), max_steps=2)
    before = weights(trained)
    trained.train()
    moved = {name for name, value in weights(trained).items() if not torch.equal(value, before[name])}
    assert {"transformer.wte.weight", "transformer.h.0.mlp.c_fc.weight"} <= moved
    size = sum(p.numel() for p in net.transformer.h.parameters())
    assert trained.surgeon.state_dict()["state"]["memory"].shape == (1, size)


def test_a_checkpoint_of_another_trainer_is_refused(tmp_path) -> None:
    settings = {"save_strategy": "steps", "save_steps": 1, "max_steps": 2}
    surgery = trainer(tmp_path / "new", **settings)
    plain = Trainer(
        model(), TrainingArguments(str(tmp_path / "old"), **settings, use_cpu=True, report_to="none"),
        train_dataset=Sequences(1),
    )  # fmt: skip
    plain.train()
    with pytest.raises(ValueError, match=r"checkpoint-1 has no surgery\.pt.*from_pretrained"):
        surgery.train(resume_from_checkpoint=str(tmp_path / "old" / "checkpoint-1"))


def test_bad_auxiliary_data_are_refused(tmp_path) -> None:
    class Stream(IterableDataset):
        def __iter__(self):
            yield Sequences(1)[0]

    for data in (Stream(), Sequences(1, length=0)):
        with pytest.raises(ValueError, match="auxiliary_dataset must have a length of at least 1"):
            trainer(tmp_path, auxiliary_dataset=data)


@pytest.mark.parametrize("name", ["lomo", "adalomo"])
def test_optimisers_that_step_within_the_backward_pass_are_refused(tmp_path, name: str) -> None:
    with pytest.raises(ValueError, match=rf"^optim='{name}' steps within backward\(\)"):
        trainer(tmp_path, optim=name)


@pytest.mark.parametrize("engine", ["is_fsdp_enabled", "is_deepspeed_enabled"])
def test_engines_that_keep_the_gradients_are_refused(tmp_path, monkeypatch, engine: str) -> None:
    create = Trainer.create_accelerator_and_postprocess

    def with_engine(self: Trainer) -> None:  # a real one starts in several processes alone
        create(self)
        setattr(self, engine, True)

    monkeypatch.setattr(Trainer, "create_accelerator_and_postprocess", with_engine)
    with pytest.raises(ValueError, match="use fully_shard and methods.Surgeon in a loop of your own"):
        trainer(tmp_path)


def test_several_gpus_in_one_process_are_refused(tmp_path, monkeypatch) -> None:
    """The Trainer would spread one batch over them, and a loss that is summed would count once for each."""
    monkeypatch.setattr(TrainingArguments, "n_gpu", property(lambda self: 2))
    with pytest.raises(ValueError, match="one GPU a process: torchrun, or CUDA_VISIBLE_DEVICES=0"):
        trainer(tmp_path)


class Drawn(Sequences):
    """Each item is drawn when it is read, as an augmented image is."""

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": torch.randint(10**6, (1,))}


def test_workers_of_each_process_draw_numbers_of_their_own(tmp_path, monkeypatch) -> None:
    drawn = []
    for rank in (0, 0, 1):
        monkeypatch.setattr(TrainingArguments, "process_index", property(lambda self, rank=rank: rank))
        trained = trainer(tmp_path, auxiliary_dataset=Drawn(2), dataloader_num_workers=1)
        drawn.append(next(iter(trained._auxiliary_loader()))["input_ids"].flatten().tolist())
    assert drawn[0] == drawn[1]
    assert not set(drawn[0]) & set(drawn[2])


def test_wandb_shows_the_diagnostics(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    trained = trainer(tmp_path, report_to="wandb", max_steps=2)
    trained.train()
    wandb.finish()
    wandb.teardown()  # ends the process that writes the file, which finish() does not wait for
    (run,) = runs(tmp_path).values()
    shown = [row["train/surgery/main_aux_cosine"] for row in run["history"] if "train/loss" in row]
    assert shown == [r["surgery/main_aux_cosine"] for r in trained.state.log_history if "loss" in r]
    assert len(shown) == 2
