"""All figures of an analysis: the modules that draw them register themselves by being imported."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

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
    "exact_front",
    "fronts",
    "mixed_loss",
    "parallel",
    "paths",
    "relative",
    "simulations",
    "trajectories",
]


def draw_all(analysis: Analysis, folder: Path) -> list[Path]:
    """Draw the figures of an analysis into a folder."""
    with mpl.rc_context(panels.SETTINGS):
        named = list(panels.drawn(analysis))
    return [file for name, figure in named for file in panels.save(figure, folder / name)]
