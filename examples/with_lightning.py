"""Bloop in a LightningModule, by manual optimisation: `python examples/with_lightning.py [FOLDER]`."""

import sys

import lightning
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from scalpel_bench import methods


class Digits(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        self.surgeon = methods.Surgeon(self.model.parameters(), methods.create("bloop", lam=1e-3))

    def configure_optimizers(self):
        return torch.optim.Adam(self.model.parameters(), lr=3e-3)

    def training_step(self, batch, index):
        images, labels = batch
        main_loss = nn.functional.cross_entropy(self.model(images), labels)
        aux_loss = sum(p.square().sum() for p in self.model.parameters()) / 2
        # In place of self.manual_backward. Where the Trainer's precision is "16-mixed" the Surgeon needs
        # scaler=trainer.precision_plugin.scaler, where it is "bf16-mixed" autocast=torch.bfloat16.
        self.surgeon.backward(main_loss, aux_loss)
        optimizer = self.optimizers()
        optimizer.step()
        optimizer.zero_grad()
        self.log_dict(self.surgeon.diagnostics())

    def on_train_epoch_end(self):
        self.print(f"epoch {self.current_epoch}", flush=True)

    def on_save_checkpoint(self, checkpoint):
        checkpoint["surgeon"] = self.surgeon.state_dict()

    def on_load_checkpoint(self, checkpoint):
        self.surgeon.load_state_dict(checkpoint["surgeon"])


def main(folder: str) -> None:
    lightning.seed_everything(0)
    torch.set_num_threads(1)  # more are slower on a model this small
    data = load_digits()
    examples = TensorDataset(torch.tensor(data.data).float() / 16, torch.tensor(data.target))
    settings = {
        "default_root_dir": folder,
        "logger": False,
        "enable_progress_bar": False,
        "accelerator": "cpu",
    }
    loader = DataLoader(examples, batch_size=128, shuffle=True)
    trainer = lightning.Trainer(max_epochs=5, **settings)
    trainer.fit(Digits(), loader)
    saved = trainer.checkpoint_callback.best_model_path
    trainer = lightning.Trainer(max_epochs=10, **settings)
    trainer.fit(Digits(), loader, ckpt_path=saved)
    for name, value in trainer.logged_metrics.items():
        print(f"{name} {value:.4f}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "with_lightning")
