"""What every kind of experiment states."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from pydantic import Field

from .claims import Claim
from .settings import DataRecord, Name, Settings

Describe = Callable[[dict[str, Any]], DataRecord]


class Grid(Settings):
    """``count`` values, evenly spaced in the logarithm from ``low`` to ``high``, and 0 if ``zero``."""

    low: float = Field(gt=0)
    high: float = Field(gt=0)
    count: int = Field(gt=0, le=10_000)
    zero: bool = False

    def values(self) -> list[float]:
        """The grid."""
        spaced: list[float] = np.geomspace(self.low, self.high, self.count).tolist()
        return [0.0, *spaced] if self.zero else spaced


_FIGURE = re.compile(r"Figures? (\d+)(\w?)")


class Common(Settings):
    """What every experiment states."""

    name: Name
    scale: Name
    title: str
    paper: str
    seeds: int = Field(gt=0, le=10_000)
    own_question: bool = False
    """Whether it is the suite's own and none of the paper's: `reproduce` runs it where it is named."""
    real_data: bool = False
    """Whether the scale means nothing on embedded data."""
    miniature: str = ""
    """What of the paper's regime the scale lacks; nothing is said there of the paper's claims."""
    claims: tuple[Claim, ...] = Field((), max_length=0)
    """None, unless its kind knows how to answer them."""

    @property
    def place(self) -> tuple[bool, bool, int, str, str]:
        """Sorts experiments as the paper has their figures, what is no figure after them, our own last."""
        figure = _FIGURE.match(self.paper)
        number, letter = (int(figure[1]), figure[2]) if figure else (0, "")
        return self.own_question, figure is None, number, letter, self.name
