"""Simulations by the kind that an experiment names; each module registers its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class SimulatedFigure:
    """What a kind computes.

    Attributes:
        simulate: a run to its rows, one per point of the figure.
        quantities: the rows of a seed to the numbers that claims are about.
        overview: the rows of all seeds, with a column ``seed``, to a short table.
    """

    simulate: Callable[[Any], list[dict[str, Any]]]
    quantities: Callable[[pd.DataFrame], dict[str, float]]
    overview: Callable[[pd.DataFrame], pd.DataFrame]


SIMULATIONS: dict[str, SimulatedFigure] = {}


def register(kind: str, figure: SimulatedFigure) -> None:
    """Add a kind.

    Raises:
        ValueError: there is one of that name.
    """
    if kind in SIMULATIONS:
        raise ValueError(f"two simulations are of kind {kind!r}")
    SIMULATIONS[kind] = figure
