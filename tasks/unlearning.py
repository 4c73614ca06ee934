"""Forgetting a corpus on purpose while another is kept: unlearning of a language model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid

from .bases import Batch, Model
from .bases.finetuned import Finetuned
from .language_model import VOCABULARY

FORGET = ("npo", "ascent")


@dataclass
class Unlearning(Finetuned):
    """A model of two corpora is to forget the specialised one, and to stay good at the generic one.

    Main: mean cross-entropy of the next byte in nats on the generic corpus, to be retained. Auxiliary, on
    the specialised corpus, in nats per byte:

    - ``npo``, negative preference optimisation: the mean over windows of −(2/β) log σ(−β log(π / π₀)), by the
      number of bytes, where π is the probability of a window's bytes given its first, and π₀ the
      checkpoint's. Per byte, so that for β → 0 its gradient is that of ``ascent``. It is above 0.
    - ``ascent``: the mean of −min(c, log 256), c the cross-entropy of a byte. Plain gradient ascent on c has
      no bound; here a byte that is predicted no better than by a uniform guess is left alone. (Yao et al.
      2023, arXiv 2310.10683, end the training at a greatest loss instead, in their code.)

    Further metrics: ``forget``, the mean cross-entropy on the specialised corpus in nats, the greater the
    more is forgotten; ``main_bits_per_byte`` and ``forget_bits_per_byte``. The first training saw both
    corpora.

    Source: Zhang et al. 2024, arXiv 2404.05868, Equation 3 (NPO) and Equation 1 (ascent); the setting, with
    the retained corpus as main objective, is that of Wang et al. 2025, arXiv 2503.09117 (GRU). Differs: they
    unlearn answers to questions in models of billions of parameters; here are bytes of windows of text.

    The settings are those of `language_model`, of every `Finetuned`, and these:

    Args:
        forget: ``npo`` or ``ascent``.
        beta: β of ``npo``, above 0.
    """

    forget: str = "npo"
    beta: float = 0.1

    name: ClassVar[str] = "unlearning"
    nonpositive: ClassVar[frozenset[str]] = frozenset({"aux"})
    corpora: ClassVar[int] = 2

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: one is outside its range.
        """
        super().__post_init__()
        if self.forget not in FORGET:
            raise ValueError(f"forget must be {' or '.join(FORGET)}, got {self.forget!r}")
        if not 0 < self.beta < math.inf:
            raise ValueError(f"beta must be > 0 and finite, got {self.beta}")

    def losses(self, model: Model, batch: Batch) -> Iterator[Tensor]:
        """Cross-entropy on the corpus to retain, then what is to make the model forget the other."""
        yield next(super().losses(model, batch))
        nats = byte_losses(model, batch["aux"])
        yield self._auxiliary(nats, batch.get("reference"))

    def batches(self, generator: torch.Generator) -> Iterator[Batch]:
        """As of `language_model`; for ``npo`` also ``reference`` ``(B,)``, the checkpoint's log π₀."""
        for batch in super().batches(generator):
            if self.forget == "npo":
                batch["reference"] = self._reference(batch["aux"])
            yield batch

    def evaluate(self, model: Model, split: str) -> dict[str, float]:
        """Losses in nats and in bits per byte, on the same windows whatever the seed."""
        corpora = self.dataset.splits[split]
        main = self._evaluate(model, corpora["main"])
        windows = self._evaluated(corpora["aux"])
        nats = torch.cat([byte_losses(model, some) for some in torch.split(windows, self._at_once)])
        if self.forget == "npo" and split not in self._references:
            self._references[split] = self._reference(windows)
        forget = nats.mean().item()
        return {
            "main": main,
            "aux": self._auxiliary(nats, self._references.get(split)).item(),
            "forget": forget,
            "main_bits_per_byte": main / math.log(2),
            "forget_bits_per_byte": forget / math.log(2),
        }

    def _auxiliary(self, nats: Tensor, reference: Tensor | None) -> Tensor:
        return ascent(nats) if reference is None else npo(nats, reference, self.beta)

    def _evaluated(self, corpus: Tensor) -> Tensor:
        """The windows ``(N, context + 1)`` of which `language_model` takes the loss."""
        count = min(self.evaluation_windows, len(corpus) // (self.context + 1))
        return self._windows(corpus, np.linspace(0, len(corpus) - self.context - 1, count).astype(int))

    @torch.no_grad()
    def _reference(self, windows: Tensor) -> Tensor:
        """The checkpoint's log-probabilities ``(N,)`` of windows."""
        parts = [byte_losses(self._start, some) for some in torch.split(windows, self._at_once)]
        return -torch.cat(parts).sum(-1)

    @cached_property
    def _start(self) -> Model:
        with torch.random.fork_rng():
            module = self.build().to(self.device).eval()
        return Model(module, dict(module.named_parameters()), dict(module.named_buffers()))

    @cached_property
    def _references(self) -> dict[str, Tensor]:
        """Of the windows that are evaluated, by split."""
        return {}


def byte_losses(model: Model, windows: Tensor) -> Tensor:
    """Cross-entropy ``(B, context)`` in nats of each byte of ``(B, context + 1)`` but the first."""
    tokens = windows.long()
    logits = model(input_ids=tokens[:, :-1]).logits
    return cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")


def npo(nats: Tensor, reference: Tensor, beta: float) -> Tensor:
    """The mean over windows of −(2/β) log σ(−β (log π − log π₀)), per byte.

    Args:
        nats: cross-entropies ``(B, context)`` of bytes; their sum is −log π.
        reference: log π₀ ``(B,)``.
        beta: β.
    """
    ratio = -nats.sum(-1) - reference
    return -2 / beta * logsigmoid(-beta * ratio).mean() / nats.shape[-1]


def ascent(nats: Tensor) -> Tensor:
    """The mean of −min(c, log 256) over cross-entropies c ``(B, context)`` of bytes."""
    return -nats.clamp(max=math.log(VOCABULARY)).mean()
