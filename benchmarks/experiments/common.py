"""What every kind of experiment states."""

from __future__ import annotations

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
