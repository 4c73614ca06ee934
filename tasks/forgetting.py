"""Learning a new corpus without forgetting the old one: fine-tuning of a language model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .bases.finetuned import Finetuned


@dataclass
class Forgetting(Finetuned):
    """A model of the generic corpus is trained on a specialised one, and is to stay good at what it knew.

    Main: mean cross-entropy of the next byte in nats on the generic corpus, which alone the first training
    saw. Auxiliary: the same on the specialised corpus, the new one. Both go on drawing batches. Further
    metrics: ``main_bits_per_byte`` and ``aux_bits_per_byte``.

    The settings are those of `language_model`, and of every `Finetuned`.
    """

    name: ClassVar[str] = "forgetting"
