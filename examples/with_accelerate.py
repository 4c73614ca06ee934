"""Bloop under Hugging Face Accelerate, with accumulation: `accelerate launch examples/with_accelerate.py`."""

import torch
from accelerate import Accelerator
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from scalpel_bench import methods

ACCUMULATE = 2


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)  # more are slower on a model this small
    data = load_digits()
    examples = TensorDataset(torch.tensor(data.data).float() / 16, torch.tensor(data.target))
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    accelerator = Accelerator(gradient_accumulation_steps=ACCUMULATE)
    model, optimizer, loader = accelerator.prepare(
        model,
        torch.optim.Adam(model.parameters(), lr=3e-3),
        DataLoader(examples, 64, shuffle=True, drop_last=True),
    )
    method = methods.create("bloop", lam=1e-3)
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(accelerator.mixed_precision)
    surgeon = methods.Surgeon(optimizer, method, scaler=accelerator.scaler, autocast=dtype)
    for epoch in range(10):
        for images, labels in loader:
            with accelerator.accumulate(model):
                main_loss = nn.functional.cross_entropy(model(images), labels)
                aux_loss = sum(p.square().sum() for p in model.parameters()) / 2
                step = surgeon.backward if accelerator.sync_gradients else surgeon.accumulate
                step(main_loss / ACCUMULATE, aux_loss / ACCUMULATE)  # in place of accelerator.backward
                optimizer.step()  # does nothing until the gradients are whole
                optimizer.zero_grad()
        seen = surgeon.diagnostics()
        accelerator.print(epoch, *(f"{name} {value:.4f}" for name, value in seen.items()), sep="  ")


if __name__ == "__main__":
    main()
