"""Training examples of a task, to look at."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor

from .panels import save

IN_A_ROW = 8


def draw(folder: Path, samples: list[tuple[Tensor, str]], title: str) -> list[Path]:
    """Images ``(H, W, 3)``, each with what it shows, eight in a row."""
    rows = -(-len(samples) // IN_A_ROW)
    figure = Figure(figsize=(8.0, 1.25 * rows + 0.3), layout="constrained")
    panels = list(figure.subplots(rows, IN_A_ROW).flat)
    for axes in panels:
        axes.set_axis_off()
    for axes, (pixels, words) in zip(panels, samples, strict=False):
        axes.imshow(pixels.numpy())
        axes.set_title(words, fontsize=7)
    figure.suptitle(title, fontsize=8)
    return save(figure, folder / "samples")
