"""Next-byte prediction on a large generic corpus and a small specialised one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from .bases import Batch, Model, Task
from .data import SPECIALISED, Data, load_text, on_device

VOCABULARY = 256
EVALUATED = 2**14
"""Bytes of a forward pass in evaluations: many, as a population is evaluated one replica after the other."""


@dataclass
class LanguageModel(Task):
    """Decoder-only transformer over bytes, from scratch, as in Figure 5a of the Bloop paper.

    Main: mean cross-entropy of the next byte in nats on the generic corpus. Auxiliary: the same on the
    specialised one. Further metrics: ``main_bits_per_byte`` and ``aux_bits_per_byte``. Batches are windows
    of ``context + 1`` bytes that start anywhere in a corpus: articles are packed, nothing is padded.

    Source: Hsieh et al. 2024, arXiv 2402.02998, Section 5.4; Touvron et al. 2023 (Llama), whose layers
    these are: the paper does not print what its own are made of.

    Args:
        layers, heads, width, feed_forward: of the transformer.
        context: bytes that a prediction can see.
        batch_size: windows of each corpus per step.
        steps_per_epoch: steps that count as an epoch, as the stream has no end.
        specialised: the small corpus of hub and folder, ``"reuters21578"`` or ``"rcv1"``.
        main_articles, aux_articles: how many of each corpus are read, validation's among them.
        validation_fraction: share of the articles kept for validation.
        aux_validation_articles: how many of the specialised corpus, after the ``aux_articles``, are
            kept for its validation instead of a share of those; None for the share.
        evaluation_windows: windows per split and corpus that are evaluated, evenly spaced.
    """

    layers: int = 2
    heads: int = 4
    width: int = 64
    feed_forward: int = 256
    context: int = 64
    batch_size: int = 8
    steps_per_epoch: int = 100
    specialised: str = "reuters21578"
    main_articles: int = 1000
    aux_articles: int = 20
    validation_fraction: float = 0.1
    evaluation_windows: int = 64
    aux_validation_articles: int | None = None

    name: ClassVar[str] = "language_model"

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: one is outside its range.
        """
        self.check_at_least(1, "layers", "heads", "width", "feed_forward", "context", "batch_size")
        self.check_at_least(1, "steps_per_epoch", "main_articles", "aux_articles", "evaluation_windows")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        if self.specialised not in SPECIALISED:
            raise ValueError(f"specialised must be {' or '.join(SPECIALISED)}, got {self.specialised!r}")
        self.check_at_least(1, "aux_validation_articles")
        self.check_share("validation_fraction")
        if self.aux_validation_articles and not self.validation_fraction:
            raise ValueError(
                "aux_validation_articles: with a validation_fraction of 0 there is no validation"
            )

    @cached_property
    def dataset(self) -> Data:
        """Memory-mapped bytes of both corpora."""
        return load_text(
            self.data,
            self.specialised,
            self.main_articles,
            self.aux_articles,
            self.validation_fraction,
            self.context + 1,
            self.aux_validation_articles,
        )

    def build(self) -> nn.Module:
        """Llama's layers (RMS norm, rotary positions, gated feed-forward); tied embeddings."""
        from transformers import LlamaConfig, LlamaForCausalLM

        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=VOCABULARY,
                hidden_size=self.width,
                intermediate_size=self.feed_forward,
                num_hidden_layers=self.layers,
                num_attention_heads=self.heads,
                max_position_embeddings=self.context,
                tie_word_embeddings=True,
                use_cache=False,
                bos_token_id=None,
                eos_token_id=None,
            )
        )

    def losses(self, model: Model, batch: Batch) -> Iterator[Tensor]:
        """Cross-entropy on the generic, then on the specialised corpus."""
        for objective in self.objectives:
            yield _loss(model, batch[objective])

    def batches(self, generator: torch.Generator) -> Iterator[Batch]:
        """Windows ``(batch_size, context + 1)`` uint8 of each corpus, drawn with replacement.

        Those of a step are a function of the generator and the step's number alone.
        """
        key = int(torch.randint(2**62, (), generator=generator))
        corpora = self.dataset.splits["train"]
        for step in itertools.count():
            random = np.random.default_rng((key, step))
            yield {
                name: self._windows(corpus, random.integers(len(corpus) - self.context, size=self.batch_size))
                for name, corpus in corpora.items()
            }

    def evaluate(self, model: Model, split: str) -> dict[str, float]:
        """Losses in nats and in bits per byte, on the same windows whatever the seed."""
        corpora = self.dataset.splits[split]
        nats = {name: self._evaluate(model, corpus) for name, corpus in corpora.items()}
        return nats | {f"{name}_bits_per_byte": value / math.log(2) for name, value in nats.items()}

    def _evaluate(self, model: Model, corpus: Tensor) -> float:
        count = min(self.evaluation_windows, len(corpus) // (self.context + 1))
        starts = np.linspace(0, len(corpus) - self.context - 1, count).astype(int)
        total = 0.0
        for some in np.array_split(starts, math.ceil(count / self._at_once)):
            total += _loss(model, self._windows(corpus, some)).item() * len(some)
        return total / count

    @property
    def _at_once(self) -> int:
        """Windows of a forward pass in evaluations."""
        return max(EVALUATED // self.context, 1)

    def _windows(self, corpus: Tensor, starts: np.ndarray) -> Tensor:
        rows = torch.from_numpy(starts)[:, None] + torch.arange(self.context + 1)
        return on_device(corpus[rows], self.device)


def _loss(model: Model, windows: Tensor) -> Tensor:
    """Mean cross-entropy in nats of each byte of ``(B, context + 1)`` but the first, given those before."""
    tokens = windows.long()
    logits = model(input_ids=tokens[:, :-1]).logits
    return cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
