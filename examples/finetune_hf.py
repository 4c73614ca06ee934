"""Bloop in the Hugging Face Trainer: `python examples/finetune_hf.py [FOLDER]`.

Main: English prose; auxiliary: Python code; both come with Python itself. The model is made on the spot.
"""

import argparse
import inspect
import sys
from pydoc_data.topics import topics

import torch
from torch.utils.data import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, TrainingArguments

from scalpel_bench import methods
from scalpel_bench.methods.integrations.hf import SurgeryTrainer

CONTEXT = 64


class Bytes(Dataset):
    def __init__(self, text: str) -> None:
        tokens = torch.tensor(list(text.encode()), dtype=torch.long)
        self.parts = tokens[: len(tokens) // CONTEXT * CONTEXT].view(-1, CONTEXT)

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.parts[index], "labels": self.parts[index]}


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)  # more are slower on a model this small
    prose, code = Bytes("\n".join(topics.values())[:200_000]), Bytes(inspect.getsource(argparse))
    small = {"n_positions": CONTEXT, "n_embd": 64, "n_layer": 2, "n_head": 4}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=256, bos_token_id=0, eos_token_id=0, **small))
    arguments = TrainingArguments(
        sys.argv[1] if len(sys.argv) > 1 else "finetune_hf",
        max_steps=60,
        per_device_train_batch_size=8,
        gradient_accumulation_steps=2,
        learning_rate=3e-3,
        logging_steps=10,
        save_steps=30,
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
        report_to="none",  # "wandb" to see the same there
    )
    trainer = SurgeryTrainer(
        model,
        arguments,
        train_dataset=prose,
        auxiliary_dataset=code,
        method=methods.create("bloop", lam=0.3),
    )
    trainer.train()


if __name__ == "__main__":
    main()
