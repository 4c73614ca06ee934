"""All figures of an analysis: the modules that draw them register themselves by being imported."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from ..analysis import Analysis
from . import (
    diagnostics,
    exact_front,
    fronts,
    mixed_loss,
    panels,
    parallel,
    paths,
    relative,
    simulations,
    trajectories,
)

__all__ = [
    "diagnostics",
    "draw_all",
    "drawn",
    "exact_front",
    "fronts",
    "mixed_loss",
    "parallel",
    "paths",
    "relative",
    "simulations",
    "trajectories",
]


def drawn(analysis: Analysis) -> dict[str, Figure]:
    """The figures of an analysis by name."""
    with mpl.rc_context(panels.SETTINGS):
        return dict(panels.drawn(analysis))


def draw_all(analysis: Analysis, folder: Path) -> list[Path]:
    """Draw the figures of an analysis into a folder."""
    named = drawn(analysis)
    return [file for name, figure in named.items() for file in panels.save(figure, folder / name)]
