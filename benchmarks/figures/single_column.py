"""Figures as wide as a column of a paper: one panel each, without a title, of chosen methods in colour."""

from __future__ import annotations

import textwrap
from collections.abc import Collection

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..analysis.analyses import TrainingAnalysis
from ..analysis.comparisons import NO_FRONT
from . import fronts, panels, relative, style

WIDTH, HEIGHT = 3.25, 2.9
"""Inches."""
_SETTINGS = {
    **panels.SETTINGS,
    "font.size": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
}


def drawn(analysis: TrainingAnalysis, labels: Collection[str]) -> dict[str, Figure]:
    """By name: main loss relative to `sum`, and fronts, a figure for each protocol and split."""
    with mpl.rc_context(_SETTINGS):
        return dict(_relative(analysis, set(labels)) if analysis.compared.box else []) | dict(
            _fronts(analysis, set(labels))
        )


def _relative(analysis: TrainingAnalysis, labels: set[str]) -> panels.Drawn:
    experiment, box = analysis.compared, analysis.compared.box
    assert box is not None
    curves, points = (
        rows[rows["method"].isin(labels)] for rows in (analysis.relative_curves, analysis.relative_points)
    )
    looks = style.lines(analysis.summary["method"])
    for (protocol, split), own in curves.groupby(["protocol", "split"], sort=False):
        if split not in panels.SHOWN_SPLITS:
            continue
        ends = relative.points_without_line(points, own, str(protocol), str(split))
        figure, axes = _panel()
        relative.limit(axes, own)
        if (protocol, split) in analysis.outside:
            panels.say_inside(axes, NO_FRONT)
        relative.draw_panel(axes, own, ends, box.of(split), looks, labels)
        _label(figure, axes, experiment.labels.aux, relative.MAIN)
        yield f"relative_{protocol}_{split}", figure


def _fronts(analysis: TrainingAnalysis, labels: set[str]) -> panels.Drawn:
    experiment, surfaces = analysis.compared, fronts.shown_surfaces(analysis)
    surfaces = surfaces[surfaces["method"].isin(labels)]
    looks = style.lines(analysis.summary["method"])
    if not experiment.compares_fronts:
        return
    for (protocol, split), own in surfaces.groupby(["protocol", "split"], sort=False):
        if split not in panels.SHOWN_SPLITS:
            continue
        figure, axes = _panel()
        fronts.frame_of(axes, analysis, own, str(protocol), str(split))
        fronts.draw_panel(axes, own, looks, labels)
        _label(figure, axes, experiment.labels.aux, experiment.labels.main)
        yield f"fronts_{protocol}_{split}", figure


def _panel() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    return figure, figure.subplots()


def _label(figure: Figure, axes: Axes, x: str, y: str) -> None:
    """Labels in lines that are no longer than their axes, and a legend below."""
    axes.set(xlabel=textwrap.fill(x, 52), ylabel=textwrap.fill(y, 30))
    panels.legend_below(figure, [axes], letters=40, size=7)
