"""The box of an experiment: the losses at which its fronts are compared, and why these."""

from __future__ import annotations

import datetime
from typing import Self

from pydantic import Field, model_validator

from .settings import Settings

Range = tuple[float, float]


class Bounds(Settings):
    """The least and the largest auxiliary loss, and main loss, that count."""

    aux: Range
    main: Range

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        for loss, (low, high) in (("aux", self.aux), ("main", self.main)):
            if low >= high:
                raise ValueError(f"{loss}: {low:g} must be less than {high:g}")
        if self.main[0] <= 0:
            raise ValueError(f"main: {self.main[0]:g} must be above 0, since logarithms are taken")
        return self

    def holds(self, other: Bounds) -> bool:
        """Whether another box lies in this one."""
        pairs = ((self.aux, other.aux), (self.main, other.main))
        return all(own[0] <= its[0] and its[1] <= own[1] for own, its in pairs)


class Boxes(Bounds):
    """A box, and two alternatives that show whether an answer depends on it: one inside, one around it."""

    tighter: Bounds
    wider: Bounds

    @model_validator(mode="after")
    def _nested(self) -> Self:
        if not self.holds(self.tighter):
            raise ValueError("tighter must lie inside the box")
        if not self.wider.holds(self):
            raise ValueError("wider must hold the box")
        return self

    @property
    def alternatives(self) -> dict[str, Bounds]:
        """By name."""
        return {"tighter box": self.tighter, "wider box": self.wider}


class Box(Boxes):
    """The box of every split but those with one of their own, its reason, and the day it was chosen.

    As a rule it is chosen before any method but `sum` has run, from the runs of `sum` or the paper's axes.
    """

    reason: str = Field(min_length=1)
    date: datetime.date
    train: Boxes | None = None
    validation: Boxes | None = None
    test: Boxes | None = None

    def of(self, split: str) -> Boxes:
        """The box of a split."""
        own: Boxes | None = getattr(self, split)
        return own or self
