"""What all figures share: panels per split, captions, legends, ticks, and files."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from PIL import Image

from ..analysis.analyses import Analysis, TrainingAnalysis
from ..analysis.protocols import FIXED
from ..experiments.loading import AnyExperiment
from ..experiments.schema import Experiment
from ..messages import UserError
from ..records import refuse_link, write_atomically
from . import style

SETTINGS: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "savefig.dpi": 160,
    "pdf.fonttype": 42,
}
_HEIGHT = 2.8
"""Of a panel in inches, about."""
_DECADES = 7
"""So many decades of a logarithmic axis are all labelled; of more every second, or third."""
SHOWN_SPLITS = ("train", "test")

Drawn = Iterator[tuple[str, Figure]]
"""Figures with the names of their files."""
A = TypeVar("A", bound=Analysis)
_FIGURES: list[tuple[type[Analysis], Callable[[Any], Drawn]]] = []


def figures_of(kind: type[A]) -> Callable[[Callable[[A], Drawn]], Callable[[A], Drawn]]:
    """Have a function draw figures of every analysis of a kind."""

    def register(draw: Callable[[A], Drawn]) -> Callable[[A], Drawn]:
        _FIGURES.append((kind, draw))
        return draw

    return register


def drawn(analysis: Analysis) -> Drawn:
    """The figures of an analysis."""
    for kind, draw in _FIGURES:
        if isinstance(analysis, kind):
            yield from draw(analysis)


def by_protocol(
    analysis: TrainingAnalysis,
    rows: pd.DataFrame,
    name: str,
    main: str,
    draw: Callable[[Axes, pd.DataFrame, str, str], Collection[str]],
    height: float = 3.9,
) -> Drawn:
    """A figure for each learning-rate protocol that has rows, with a panel for each split.

    Args:
        analysis: of a comparison of fronts.
        rows: with the columns ``protocol`` and ``split``.
        name: of the figure's file under the protocol ``fixed``.
        main: what the vertical axis shows.
        draw: fills a panel with its rows of a protocol and split, and returns the methods that are seen.
        height: in inches.
    """
    experiment = analysis.compared
    for protocol, own in rows.groupby("protocol", sort=False):
        splits = [split for split in SHOWN_SPLITS if split in set(own["split"])]
        figure, panels = side_by_side(len(splits), width=4.4, beside=0.4, height=height)
        for axes, split in zip(panels, splits, strict=True):
            seen = draw(axes, own[own["split"] == split], str(protocol), split)
            xlabel = f"{experiment.labels.aux}{not_seen(analysis, seen)}"
            axes.set(xlabel=xlabel, title=f"{split}, {style.seeds(analysis.summary)}")
        if splits:
            panels[0].set_ylabel(main)
            legend_below(figure, panels)
        caption(figure, experiment, f", learning rate {protocol}")
        yield name if protocol == FIXED else f"{name}_{protocol}", figure


def not_seen(analysis: TrainingAnalysis, seen: Collection[str], letters: int = 70) -> str:
    """Lines that name the methods which a panel lacks, of those with a front of two losses."""
    alone = analysis.compared.alone
    without = {*seen, *(alone.values() if len(alone) > 2 else ())}
    missing = [m for m in style.order(list(analysis.summary["method"].unique())) if m not in without]
    if not missing:
        return ""
    return "\n" + textwrap.fill(f"not in the frame: {', '.join(map(style.title, missing))}", letters)


def nearest_rate(runs: pd.DataFrame, experiment: Experiment) -> float:
    """The experiment's own learning rate, or of those in the column ``lr`` the nearest to it."""
    own = experiment.training.lr
    return float(min(runs["lr"].unique(), key=lambda each: abs(math.log(each / own))))


def side_by_side(
    count: int, width: float = 4.6, height: float = 3.9, beside: float = 1.2
) -> tuple[Figure, Sequence[Axes]]:
    """A figure of so many panels in a row, with room for a legend on the right."""
    figure = Figure(figsize=(width * max(count, 1) + beside, height), layout="constrained")
    return figure, figure.subplots(1, max(count, 1), squeeze=False)[0] if count else []


def legend(figure: Figure, axes: Axes, fontsize: float = 7) -> None:
    """One legend for all panels, beside them."""
    figure.legend(*axes.get_legend_handles_labels(), fontsize=fontsize, loc="outside right upper")


def legend_below(figure: Figure, panels: Sequence[Axes], letters: int = 120, size: float = 8.5) -> None:
    """One legend for all panels, in rows of so many letters below them."""
    shown = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    rows = math.ceil(sum(len(label) + 7 for label in shown) / letters)
    columns = math.ceil(len(shown) / max(rows, 1))
    figure.legend(shown.values(), shown.keys(), fontsize=size, loc="outside lower center", ncols=columns)


def say_inside(axes: Axes, words: str) -> None:
    """Write a line across a panel that would not explain itself."""
    look: Any = {"ha": "center", "color": "0.25", "backgroundcolor": "white", "zorder": 6}
    axes.text(0.5, 0.08, words, transform=axes.transAxes, **look)


def name_at_the_end(axes: Axes, ends: Mapping[str, float]) -> None:
    """Write names at the right end of lines, apart where the lines are not; an arrow says that one is off."""
    place, size = -1.0, 6.5
    line = 1.15 * size / 72 / _HEIGHT
    for name, value in sorted(ends.items(), key=lambda end: end[1]):
        height = float(axes.transAxes.inverted().transform(axes.transData.transform((0, value)))[1])
        place = max(min(max(height, 0.0), 1.0), place + line)
        text = f"{name} ↑" if height > 1 else f"{name} ↓" if height < 0 else name
        axes.text(1.01, place, text, transform=axes.transAxes, fontsize=size, color="0.45", va="center")


def caption(figure: Figure, experiment: AnyExperiment, remark: str = "") -> None:
    """Say above a figure what it is of."""
    figure.suptitle(f"{caption_of(experiment)}{remark}", fontsize=8)


def caption_of(experiment: AnyExperiment) -> str:
    """Title, place in the paper, scale."""
    return f"{experiment.caption}, scale {experiment.scale}"


def plain_ticks(axis: Axis) -> None:
    """Plain round numbers, and enough of them on a logarithmic axis, however short."""
    low, high = axis.get_view_interval()
    if axis.get_scale() == "log" and high >= 10 * low:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,), numticks=_DECADES))
    else:
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def save(figure: Figure, path: Path, suffixes: Sequence[str] = (".png", ".pdf")) -> list[Path]:
    """Write a figure as PNG and PDF, or what is asked for, the same bytes for the same figure.

    Raises:
        UserError: they cannot be written, or their folder is a symbolic link.
    """
    refuse_link(path.parent)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path.parent} cannot be written: {error.strerror}") from error
    files = [path.with_suffix(suffix) for suffix in suffixes]
    _take_words_literally(figure)
    with mpl.rc_context(SETTINGS):
        for file in files:
            drawn = io.BytesIO()
            metadata = {"CreationDate": None} if file.suffix == ".pdf" else None
            figure.savefig(drawn, format=file.suffix[1:], metadata=metadata)
            write_atomically(file, _small(drawn) if file.suffix == ".png" else drawn.getvalue())
    return files


def _small(drawn: io.BytesIO) -> bytes:
    """A PNG of 256 colours, in a third of the bytes."""
    few = Image.open(drawn).convert("RGB").quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    small = io.BytesIO()
    few.save(small, "PNG", optimize=True)
    return small.getvalue()


def _take_words_literally(figure: Figure) -> None:
    """Titles and labels are nobody's formulas, whatever dollar signs they hold; numbers at ticks may be."""
    axes = [axis for each in figure.axes for axis in (each.xaxis, each.yaxis)]
    ticks = {label for axis in axes for label in axis.get_ticklabels(which="both")}
    for text in figure.findobj(Text):
        if isinstance(text, Text) and text not in ticks:
            text.set_parse_math(False)
