"""Translation from English to German: a large generic corpus against a small specialised one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from .bases import Batch, Model, Task
from .data import (
    BEGIN,
    END,
    PAD,
    SIDES,
    SMALLEST_VOCABULARY,
    Data,
    DataError,
    TokenisedPairs,
    load_pairs,
    on_device,
    padded,
)

POOL = 100
"""Batches that are cut from one stretch of the shuffled pairs, sorted by length."""


@dataclass
class Translation(Task):
    """Encoder-decoder transformer on two parallel corpora, as in Figure 5b of the Bloop paper.

    Main: mean cross-entropy in nats of a token of the generic corpus, given its source and what precedes it.
    Auxiliary: the same on the specialised corpus, in a forward pass of its own. Metrics at the end of a run:
    BLEU and chrF, in [0, 100], of greedy translations (``main_bleu``, ``main_chrf``, ``aux_bleu``, …). BLEU
    counts runs of four words, and says little about shorter phrases.

    Pre-norm layers, ReLU, sinusoidal positions, no dropout, one embedding for encoder, decoder and output.
    Batches hold phrases of similar length, so that little of them is padding.

    Source: Hsieh et al. 2024, arXiv 2402.02998, Section 5.4; what its text does not give is our own choice.

    Args:
        corpora: ``"tatoeba+multi30k"`` or ``"paracrawl+wmt"``; embedded data is always CLDR's.
        layers: of the encoder, and of the decoder.
        heads: attention heads of a layer.
        width: of a token's representation.
        feed_forward: width of the layers between attentions.
        vocabulary: tokens that the tokenizer knows.
        tokenizer_pairs: train pairs of each corpus, at most, that the tokenizer is trained on.
        max_length: tokens of a phrase, its end included; longer pairs are skipped.
        batch_size: pairs of each corpus per step, at most; the batches of an epoch differ by a few pairs.
        steps_per_epoch: the steps that count as one epoch in the length of training. Each corpus has a pass
            of its own, in which every pair is drawn once.
        evaluation_pairs: pairs of each corpus and split, at most, that losses are taken over.
        decoded_pairs: pairs of each corpus and split, at most, that are translated at the end of a run.
    """

    corpora: str = "tatoeba+multi30k"
    layers: int = 1
    heads: int = 4
    width: int = 64
    feed_forward: int = 128
    vocabulary: int = 1000
    tokenizer_pairs: int = 1_000_000
    max_length: int = 32
    batch_size: int = 32
    steps_per_epoch: int = 50
    evaluation_pairs: int = 256
    decoded_pairs: int = 64

    name: ClassVar[str] = "translation"

    def __post_init__(self) -> None:
        self.check_at_least(1, "layers", "heads", "width", "feed_forward", "tokenizer_pairs", "max_length")
        self.check_at_least(1, "batch_size", "steps_per_epoch", "evaluation_pairs", "decoded_pairs")
        if self.vocabulary < SMALLEST_VOCABULARY:
            raise ValueError(
                f"vocabulary must be at least {SMALLEST_VOCABULARY}, the bytes and the special tokens, "
                f"got {self.vocabulary}"
            )
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} must be a multiple of twice the {self.heads} heads")

    @cached_property
    def _pairs(self) -> TokenisedPairs:
        main, aux = self.objectives
        pairs = load_pairs(
            self.data, self.corpora, (main, aux), self.vocabulary, self.tokenizer_pairs, self.max_length
        )
        for objective in self.objectives:
            if self.batch_size > (size := _size(pairs.data, "train", objective)):
                raise DataError(
                    f"data set {pairs.data.name}, split train: batch_size {self.batch_size} is more than the "
                    f"{size} pairs of the objective {objective!r}"
                )
        return pairs

    @property
    def dataset(self) -> Data:
        """Token ids of both corpora; always on the CPU, where batches are cut from them."""
        return self._pairs.data

    def build(self) -> nn.Module:
        """A transformer with weights of standard deviation 1/√width."""
        from transformers import M2M100Config, M2M100ForConditionalGeneration

        config = M2M100Config(
            vocab_size=self._pairs.tokenizer.get_vocab_size(),
            d_model=self.width,
            encoder_layers=self.layers,
            decoder_layers=self.layers,
            encoder_attention_heads=self.heads,
            decoder_attention_heads=self.heads,
            encoder_ffn_dim=self.feed_forward,
            decoder_ffn_dim=self.feed_forward,
            encoder_layerdrop=0.0,
            decoder_layerdrop=0.0,
            dropout=0.0,
            attention_dropout=0.0,
            activation_dropout=0.0,
            max_position_embeddings=self.max_length,
            init_std=self.width**-0.5,
            pad_token_id=PAD,
            bos_token_id=BEGIN,
            eos_token_id=END,
            decoder_start_token_id=BEGIN,
        )
        module: nn.Module = M2M100ForConditionalGeneration(config)
        return module

    def losses(self, model: Model, batch: Batch) -> Iterator[Tensor]:
        """Cross-entropy on the generic batch, then on the specialised one."""
        for objective in self.objectives:
            yield self._cross_entropy(model, batch[f"{objective}_source"], batch[f"{objective}_target"])

    def batches(self, generator: torch.Generator) -> Iterator[Batch]:
        """A batch of each corpus: ``main_source``, ``main_target``, …, ``(B, longest)``, padded with 0."""
        draws = [self._draw(objective, generator) for objective in self.objectives]
        for rows in zip(*draws, strict=True):
            batch: Batch = {}
            for objective, chosen in zip(self.objectives, rows, strict=True):
                batch |= self._phrases("train", objective, chosen)
            yield batch

    def evaluate(self, model: Model, split: str) -> dict[str, float]:
        """Both losses, each the mean over all tokens of the same pairs at every call."""
        values = {}
        for objective in self.objectives:
            total, tokens = 0.0, 0
            for phrases in self._sample(split, objective, self.evaluation_pairs):
                source, target = phrases.values()
                total += self._cross_entropy(model, source, target, "sum").item()
                tokens += int((target != PAD).sum())
            values[objective] = total / tokens
        return values

    def final(self, model: Model, split: str) -> dict[str, float]:
        """BLEU and chrF of greedy translations, by sacrebleu, on both corpora."""
        import sacrebleu

        decode = self._pairs.tokenizer.decode_batch
        values = {}
        for objective in self.objectives:
            translations, references = list[str](), list[str]()
            for phrases in self._sample(split, objective, self.decoded_pairs):
                source, target = phrases.values()
                translations += decode(greedy(model, source, self.max_length).tolist())
                references += decode(target.tolist())
            values[f"{objective}_bleu"] = sacrebleu.corpus_bleu(translations, [references]).score
            values[f"{objective}_chrf"] = sacrebleu.corpus_chrf(translations, [references]).score
        return values

    def _cross_entropy(self, model: Model, source: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
        begin = target.new_full((len(target), 1), BEGIN)
        logits = model(
            input_ids=source,
            attention_mask=source != PAD,
            decoder_input_ids=torch.cat([begin, target[:, :-1]], 1),
            use_cache=False,
        ).logits
        return cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=PAD, reduction=reduction)

    def _draw(self, objective: str, generator: torch.Generator) -> Iterator[Tensor]:
        """Rows of the train split without end, in batches of similar lengths; every row once per epoch."""
        size = _size(self.dataset, "train", objective)
        while True:
            order = torch.randperm(size, generator=generator)
            for pool in order.tensor_split(math.ceil(size / (POOL * self.batch_size))):
                batches = self._alike("train", objective, pool)
                for index in torch.randperm(len(batches), generator=generator).tolist():
                    yield batches[index]

    def _sample(self, split: str, objective: str, pairs: int) -> Iterator[Batch]:
        """The same pairs of a split at every call, in batches of similar lengths."""
        size = _size(self.dataset, split, objective)
        rows = torch.tensor(Random(0).sample(range(size), min(pairs, size)))
        for chosen in self._alike(split, objective, rows):
            yield self._phrases(split, objective, chosen)

    def _alike(self, split: str, objective: str, rows: Tensor) -> tuple[Tensor, ...]:
        """The rows in batches of similar lengths: by the longer side, then the target, then the source."""
        tensors = self.dataset.splits[split]
        ends = (tensors[f"{objective}_{side}_ends"] for side in SIDES)
        source, target = (end[rows + 1] - end[rows] for end in ends)
        base = self.max_length + 1
        order = ((torch.maximum(source, target) * base + target) * base + source).argsort(stable=True)
        return rows[order].tensor_split(math.ceil(len(rows) / self.batch_size))

    def _phrases(self, split: str, objective: str, rows: Tensor) -> Batch:
        tensors = self.dataset.splits[split]
        names = [f"{objective}_{side}" for side in SIDES]
        phrases = {name: padded(tensors[name], tensors[f"{name}_ends"], rows) for name in names}
        return {name: on_device(tokens, self.device) for name, tokens in phrases.items()}


@torch.no_grad()
def greedy(model: Model, source: Tensor, max_length: int) -> Tensor:
    """The most probable next token, again and again, until every translation has ended.

    Args:
        model: the transformer.
        source: token ids ``(B, S)``, padded.
        max_length: tokens at most.

    Returns:
        token ids ``(B, T)``, padded after the end token.
    """
    mask = source != PAD
    token = source.new_full((len(source), 1), BEGIN)
    ended, tokens = torch.zeros_like(token, dtype=torch.bool), []
    seen: dict[str, Any] = {"input_ids": source}
    for _ in range(max_length):
        output = model(**seen, attention_mask=mask, decoder_input_ids=token, use_cache=True)
        seen = {
            "encoder_outputs": (output.encoder_last_hidden_state,),
            "past_key_values": output.past_key_values,
        }
        token = output.logits.argmax(-1).masked_fill(ended, PAD)
        tokens.append(token)
        ended |= token == END
        if ended.all():
            break
    return torch.cat(tokens, 1)


def _size(data: Data, split: str, objective: str) -> int:
    return len(data.splits[split][f"{objective}_source_ends"]) - 1
