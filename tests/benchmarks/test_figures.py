"""The frame of a figure of fronts: what lies near the region of interest is seen, the rest is counted."""

import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalpel_bench.benchmarks.experiments import schema as experiment
from scalpel_bench.benchmarks.figures import fronts, panels


def framed(main: list[float], aux: list[float]) -> Axes:
    axes = Figure().subplots()
    loaded = experiment.load("fig4", "workstation")  # region: main 2; both axes logarithmic
    fronts._frame(axes, pd.DataFrame({"train_main": main, "train_aux": aux}), "train", loaded)
    panels.plain_ticks(axes.yaxis)
    return axes


@pytest.mark.parametrize("main", [[1.40, 1.41, 1.6], [0.02, 0.3, 1.9]])
def test_fronts_fill_the_height_and_the_axis_has_ticks(main) -> None:
    axes = framed(main, [0.1, 0.2, 0.4])
    low, high = axes.get_ylim()
    assert low < min(main) < 2.0 < high
    below, above = (axes.transData.transform((0.2, y))[1] for y in (min(main), 2.0))
    assert above - below > 0.85 * axes.bbox.height
    assert sum(low <= tick <= high for tick in axes.get_yticks()) >= 3
    assert not axes.texts


def test_end_points_outside_are_counted() -> None:
    axes = framed([1.4, 1.5, 2.3, 9.0, 2.1], [0.1, 0.2, 0.2, 0.2, 50.0])
    assert axes.get_ylim()[1] > 2.3
    assert [text.get_text() for text in axes.texts] == ["2 end points outside"]
