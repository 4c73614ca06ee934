"""Figures of fronts: what is drawn where, and a frame around what lies near the box."""

import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalpel_bench.benchmarks.analysis import analyse
from scalpel_bench.benchmarks.experiments import schema as experiment
from scalpel_bench.benchmarks.figures import fronts, panels, style
from scalpel_bench.benchmarks.records import Folder, load_sweep
from tests.benchmarks.recorded import recorded
from tests.benchmarks.runs import BOX


def framed(main: list[float], aux: list[float]) -> Axes:
    axes = Figure().subplots()
    loaded = experiment.load("fig4", "workstation", {"box": BOX})  # main up to 2; both axes logarithmic
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


def points(frame: pd.DataFrame, aux: str, main: str) -> set[tuple[float, float]]:
    return set(zip(frame[aux], frame[main], strict=True))


def test_end_points_fronts_and_paths_have_auxiliary_loss_to_the_right(tmp_path) -> None:
    analysis = analyse(load_sweep(Folder(recorded(tmp_path))))
    drawn = dict(fronts.draw(analysis))
    train, test = drawn["fronts"].axes
    assert (train.get_xlabel(), train.get_ylabel()) == ("((a − 1)² + b²) / 2", "a² / 2")
    runs, own = (
        frame[(frame["lr"] == 0.1) & (frame["method"] == "bloop")]
        for frame in (analysis.summary, analysis.fronts[analysis.fronts["protocol"] == "fixed"])
    )
    path = analysis.sweep.by_id[runs[runs["seed"] == 0].iloc[-1]["id"]].trajectory
    for axes, split in ((train, "train"), (test, "test")):
        lines = [line for line in axes.lines if line.get_color() == style.look("bloop")["color"]]
        shown = [set(zip(*line.get_data(), strict=True)) for line in lines]
        assert points(runs, f"{split}_aux", f"{split}_main") in shown
        assert {(row[split]["aux"], row[split]["main"]) for row in path} in shown
        for _, front in own[own["split"] == split].groupby("seed"):
            assert points(front, "aux", "main") in shown
