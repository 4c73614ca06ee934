"""Figures, each as PNG and PDF, one file a figure."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

from scalpel_bench.benchmarks.analysis.analyses import Analysis
from scalpel_bench.benchmarks.figures import (
    diagnostics,
    fronts,
    mixed_loss,
    panels,
    paths,
    simulations,
    style,
    trajectories,
)
from scalpel_bench.benchmarks.figures.samples import draw_samples

__all__ = [
    "diagnostics",
    "draw",
    "draw_samples",
    "fronts",
    "mixed_loss",
    "paths",
    "simulations",
    "style",
    "trajectories",
]


def draw(analysis: Analysis, folder: Path) -> list[Path]:
    """Draw all figures of an analysis into a folder."""
    with mpl.rc_context(panels.SETTINGS):
        named = list(panels.drawn(analysis))
    return [file for name, figure in named for file in panels.save(figure, folder / name)]
