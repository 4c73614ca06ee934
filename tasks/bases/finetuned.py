"""What the tasks share that change a language model which was trained before."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..data import DataError
from ..data.text import Text
from ..language_model import LanguageModel
from .checkpoint import Checkpoint, Weights, trained_once
from .task import Model

DECIDING = (
    *("layers", "heads", "width", "feed_forward", "context"),
    *("batch_size", "pretraining_steps", "pretraining_lr"),
)
"""The settings that decide the checkpoint."""
SEED = 0
"""Of the first training's start and batches."""


@dataclass(frozen=True, kw_only=True)
class TextAndCheckpoint(Text):
    """Text, and the weights that training starts from: name and fingerprint tell both.

    Args:
        checkpoint: the weights.
    """

    checkpoint: Checkpoint


@dataclass
class Finetuned(LanguageModel):
    """The transformer of `language_model`, trained once and then changed.

    All runs start from one checkpoint: a seed decides the batches of the second training alone. The first
    runs on one thread of the CPU, whatever the device, and its weights are kept in the cache folder under a
    hash of all that decides them (settings, data, code, versions). Their own digest is part of the name and
    of the fingerprint of a run's data. Adam's rate falls as a cosine to 0.

    Args:
        pretraining_steps: steps of the first training.
        pretraining_lr: its rate at the first step.
    """

    pretraining_steps: int = 50
    pretraining_lr: float = 3e-3

    pretrained: ClassVar[bool] = True
    corpora: ClassVar[int] = 1
    """How many corpora the first training sees, in the order of the objectives; of equal weight."""

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: one is outside its range.
        """
        super().__post_init__()
        self.check_at_least(1, "pretraining_steps")
        if not 0 < self.pretraining_lr < math.inf:
            raise ValueError(f"pretraining_lr must be > 0 and finite, got {self.pretraining_lr}")

    @cached_property
    def dataset(self) -> TextAndCheckpoint:
        """Memory-mapped bytes of both corpora, and the checkpoint."""
        given = {field.name: getattr(self, field.name) for field in fields(LanguageModel)}
        first = LanguageModel(**{**given, "device": "cpu"})
        text = first.dataset
        assert isinstance(text, Text)
        identity = {
            "settings": {name: getattr(self, name) for name in DECIDING},
            "corpora": self.corpora,
            "data": text.fingerprint,
            "code": [Path(file).read_text("utf-8") for file in (__file__, inspect.getfile(LanguageModel))],
            "versions": [torch.__version__, version("transformers")],
        }
        checkpoint = trained_once(identity, lambda: self._pretrained(first))
        parts: dict[str, Any] = {field.name: getattr(text, field.name) for field in fields(text)}
        parts["name"] = f"{text.name}, checkpoint {checkpoint.digest}"
        parts["digests"] = (*text.digests, checkpoint.digest)
        return TextAndCheckpoint(**parts, checkpoint=checkpoint)

    def build(self) -> nn.Module:
        """The network at the checkpoint."""
        module, weights = super().build(), self.dataset.checkpoint.weights
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                parameter.copy_(weights[name])
        return module

    def _pretrained(self, task: LanguageModel) -> Weights:
        """The weights after the first training.

        Raises:
            DataError: they are not finite.
        """
        with _alone():
            torch.manual_seed(SEED)
            module = task.build()
            parameters: dict[str, Tensor] = dict(module.named_parameters())
            model = Model(module, parameters, dict(module.named_buffers()))
            optimizer = torch.optim.Adam(module.parameters(), self.pretraining_lr, fused=True)
            rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.pretraining_steps)
            batches = task.batches(torch.Generator().manual_seed(SEED))
            for batch in islice(batches, self.pretraining_steps):
                for loss in islice(task.losses(model, batch), self.corpora):
                    loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                optimizer.zero_grad()
                rate.step()
        weights = {name: parameter.detach() for name, parameter in parameters.items()}
        if not all(tensor.isfinite().all() for tensor in weights.values()):
            raise DataError(
                f"{self.name}: its first training left the finite numbers: pretraining_lr "
                f"{self.pretraining_lr} is too large"
            )
        return weights


@contextmanager
def _alone() -> Iterator[None]:
    """One thread of the CPU, random numbers of its own; as before afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]), torch.device("cpu"), torch.enable_grad():
            yield
    finally:
        torch.set_num_threads(threads)
