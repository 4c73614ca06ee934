"""Figures, each as PNG and PDF, one file a figure. Matplotlib is imported when something is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from . import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from ..analysis import Analysis

__all__ = ["draw", "draw_samples", "drawn", "style"]


def draw(analysis: Analysis, folder: Path) -> list[Path]:
    """Draw all figures of an analysis into a folder."""
    from .drawing import draw_all

    return draw_all(analysis, folder)


def drawn(analysis: Analysis) -> dict[str, Figure]:
    """The figures of an analysis by name."""
    from .drawing import drawn as all_drawn

    return all_drawn(analysis)


def draw_samples(folder: Path, samples: list[tuple[Tensor, str]], title: str) -> list[Path]:
    """Draw training examples of a task: images ``(H, W, 3)``, each with what it shows."""
    from . import samples as images

    return images.draw(folder, samples, title)
