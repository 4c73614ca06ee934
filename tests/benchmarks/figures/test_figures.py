"""Figures of fronts, and of main losses relative to `sum`: what is drawn where, in which colour."""

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalpel_bench.benchmarks.analysis import analyse
from scalpel_bench.benchmarks.analysis.analyses import TrainingAnalysis
from scalpel_bench.benchmarks.execution import ExecutionOptions, execute
from scalpel_bench.benchmarks.experiments.box import Bounds, Boxes
from scalpel_bench.benchmarks.experiments.schema import Labels
from scalpel_bench.benchmarks.figures import fronts, panels, paths, relative, samples, single_column, style
from scalpel_bench.benchmarks.records import Folder, load_sweep
from scalpel_bench.benchmarks.report import write_page
from scalpel_bench.benchmarks.report.page_data import block
from tests.benchmarks.recorded import recorded
from tests.benchmarks.runs import BOX, DATA, analysed, conditioning, jobs_of, plan, record

LOG = Labels(main="main", aux="aux", log_main=True, log_aux=True)


@pytest.fixture
def analysis(tmp_path) -> TrainingAnalysis:
    made = analyse(load_sweep(Folder(recorded(tmp_path))))
    assert isinstance(made, TrainingAnalysis)
    return made


def framed(main: list[float], box: Bounds | None) -> Axes:
    axes = Figure().subplots()
    fronts.frame(axes, pd.DataFrame({"main": main, "aux": [0.1, 0.2, 0.4], "percentile": 50}), LOG, box)
    panels.plain_ticks(axes.yaxis)
    return axes


def test_a_row_of_samples_need_not_be_full(tmp_path) -> None:
    files = samples.draw(tmp_path, [(torch.zeros(4, 4, 3), "a digit")] * 3, "images")
    assert [file.name for file in files] == ["samples.png", "samples.pdf"]


@pytest.mark.parametrize("main", [[1.40, 1.41, 1.6], [0.02, 0.3, 1.9]])
@pytest.mark.parametrize("box", [None, Bounds(aux=(0.05, 0.5), main=(0.01, 2.0))])
def test_fronts_fill_the_height_and_the_axis_has_ticks(main, box) -> None:
    axes = framed(main, box)
    low, high = axes.get_ylim()
    top = box.main[1] if box else max(main)
    assert low < min(main) < top < high
    below, above = (axes.transData.transform((0.2, y))[1] for y in (min(main), top))
    assert above - below > 0.85 * axes.bbox.height
    assert sum(low <= tick <= high for tick in axes.get_yticks()) >= 3


@pytest.mark.parametrize("seeds", [3, 4])
def test_beside_a_front_is_the_band_between_what_a_quarter_and_most_of_the_seeds_attain(seeds) -> None:
    experiment = conditioning(figure="fronts", lam=[0.1, 0.2], seeds=seeds, box=BOX)
    runs = [run for run in plan(experiment) if run.label == "sum"]
    records = [record(run, 0.1 * (run.seed + 1) / run.lam, 1 + 10 * run.lam) for run in runs]
    axes = dict(fronts.draw(analysed(records, experiment, DATA.fingerprint)))["fronts"].axes[0]
    bands = [each for each in axes.collections if each.get_alpha() == 0.16]
    assert len(bands) == (seeds > 3)
    for band in bands:
        corners = {tuple(corner) for corner in band.get_paths()[0].vertices.round(9)}
        assert {(3.0, 0.5), (3.0, 1.5)} <= corners  # at λ = 0.2 the first and the third of four seeds


@pytest.mark.parametrize("scale", [4.0, 0.5])
def test_where_no_front_enters_the_box_fronts_are_shown_and_it_is_said(scale, tmp_path) -> None:
    experiment = conditioning(figure="fronts", lam=[0.1, 0.2, 0.4], seeds=1, box=BOX)
    runs = [run for run in plan(experiment) if run.label in ("sum", "bloop")]
    records = [record(run, scale / run.lam**0.1, 1 + 10 * run.lam) for run in runs]
    analysis = analysed(records, experiment, DATA.fingerprint)
    assert isinstance(analysis, TrainingAnalysis)
    outside = scale > 1
    said = "no front enters the box (train, validation, test)"
    assert (said in analysis.title, analysis.no_front) == (outside, said if outside else "")
    both = {**fronts_and_relative(analysis), **single_column.drawn(analysis, ["sum", "bloop"])}
    assert len(both) == 6
    for name, figure in both.items():
        for axes in figure.axes:
            assert ("no front enters the box" in {text.get_text() for text in axes.texts}) == outside, name
            if name.startswith("fronts") and outside:
                assert axes.get_xlim()[1] > BOX["aux"][1]
                assert axes.get_ylim()[1] > max(analysis.fronts["main"])
    write_page(tmp_path / "page.html", [analysis], [])
    page = (tmp_path / "page.html").read_text()
    assert ("No front enters the box (train, validation, test)" in page) == outside


def fronts_and_relative(analysis: TrainingAnalysis) -> dict[str, Figure]:
    return dict(fronts.draw(analysis)) | dict(relative.draw(analysis))


def test_where_only_few_seeds_have_a_front_in_the_box_the_figure_says_that() -> None:
    experiment = conditioning(figure="fronts", lam=[0.1, 0.2], seeds=3, box=BOX)
    runs = [run for run in plan(experiment) if run.label in ("sum", "bloop")]
    records = [record(run, 0.5 if run.seed == 0 else 4.0, 1 + 10 * run.lam) for run in runs]
    analysis = analysed(records, experiment, DATA.fingerprint)
    assert isinstance(analysis, TrainingAnalysis)
    axes = dict(fronts.draw(analysis))["fronts"].axes[0]
    assert fronts.NO_MEDIAN in {text.get_text() for text in axes.texts}
    assert not analysis.outside


def test_where_most_seeds_diverged_there_is_no_median_to_draw() -> None:
    experiment = conditioning(figure="fronts", lam=[0.1, 0.2], seeds=4, box=BOX)
    runs = [run for run in plan(experiment) if run.label == "sum"]
    records = [
        record(run, 0.5, 1 + 10 * run.lam, "completed" if run.seed == 0 else "diverged") for run in runs
    ]
    axes = dict(fronts.draw(analysed(records, experiment, DATA.fingerprint)))["fronts"].axes[0]
    assert fronts.NO_MEDIAN in {text.get_text() for text in axes.texts}


def test_a_front_is_the_median_surface_with_auxiliary_loss_to_the_right(analysis) -> None:
    train, test = dict(fronts.draw(analysis))["fronts"].axes
    assert (train.get_xlabel().split("\n")[0], train.get_ylabel()) == ("((a − 1)² + b²) / 2", "a² / 2")
    surfaces = analysis.attainment
    median = surfaces[(surfaces["protocol"] == "fixed") & (surfaces["percentile"] == 50)]
    for axes, split in ((train, "train"), (test, "test")):
        own = median[(median["method"] == "bloop") & (median["split"] == split)]
        own = own[own["aux"] <= axes.get_xlim()[1]]
        assert len(own) > 2
        shown = [
            set(zip(*line.get_data(), strict=True))
            for line in axes.lines
            if line.get_color() == style.look("bloop")["color"]
        ]
        assert set(zip(own["aux"], own["main"], strict=True)) in shown


def test_the_headline_shows_medians_and_quartiles_over_the_box(analysis) -> None:
    axes = dict(relative.draw(analysis))["relative"].axes[0]
    curves = analysis.relative_curves
    own = curves[
        (curves["protocol"] == "fixed") & (curves["method"] == "bloop") & (curves["split"] == "train")
    ]
    assert axes.get_xlim() == (1.0, 9.0)
    assert axes.get_yscale() == "log"
    (line,) = (line for line in axes.lines if line.get_label() == "Bloop")
    assert line.get_drawstyle() == "steps-post"
    np.testing.assert_array_equal(line.get_data(), own[["aux", "median"]].T)
    assert own["median"].iloc[-1] == pytest.approx(0.8)  # what the records of Bloop are made with
    assert axes.get_ylim()[0] < 0.8 < 1 < axes.get_ylim()[1]


def test_a_front_above_the_frame_is_a_triangle_at_its_edge() -> None:
    axes = Figure().subplots()
    axes.set(xlim=(0.1, 0.5), ylim=(1.0, 2.0))
    rows = [("sum", 0.2, 1.5), ("sum", 0.3, 1.2), ("mgda", 0.05, 2.3)]
    surfaces = pd.DataFrame(rows, columns=["method", "aux", "main"]).assign(percentile=50)
    fronts.draw_panel(axes, surfaces, style.lines(surfaces["method"]), {"sum", "mgda"})
    (beyond,) = [line for line in axes.lines if line.get_gid() == fronts.OUTSIDE]
    assert beyond.get_xydata().tolist() == [[0.1, 2.0]]
    assert beyond.get_color() == style.look("mgda")["color"]


def test_fronts_of_one_colour_are_dashed_differently() -> None:
    axes = Figure().subplots()
    axes.set(xlim=(0.1, 0.5), ylim=(1.0, 2.0))
    rows = [("one_sided_bloop", 0.2, 1.5), ("bloop", 0.3, 1.2)]
    surfaces = pd.DataFrame(rows, columns=["method", "aux", "main"]).assign(percentile=50)
    fronts.draw_panel(axes, surfaces, style.lines(surfaces["method"]), {"bloop", "one_sided_bloop"})
    drawn = [line.get_linestyle() for line in axes.lines if line.get_drawstyle() == "steps-post"]
    assert drawn == ["-", "--"]
    assert [
        line.get_linestyle() for line in axes.lines if line.get_label() in ("Bloop", "Bloop, one-sided")
    ] == drawn


def test_where_methods_are_many_the_papers_and_ones_own_are_in_colour() -> None:
    few = ["sum", "bloop", "agem"]
    assert style.in_colour(few) == set(few)
    many = [*few, "mgda", "upgrad", "cagrad", "cosine", "dwa", "rlw", "my_idea", "pcgrad_ema"]
    assert style.in_colour(many) == {"sum", "bloop", "mgda", "my_idea", "pcgrad_ema"}


def test_names_at_the_end_do_not_overlap_and_say_what_is_out_of_sight() -> None:
    axes = Figure(figsize=(9, 4)).subplots()
    axes.set_ylim(0, 1)
    panels.name_at_the_end(axes, {"c": 0.501, "a": 0.5, "above": 3.0, "b": 0.5, "below": -1.0})
    places = {text.get_text(): text.get_position()[1] for text in axes.texts}
    assert list(places) == ["below ↓", "a", "b", "c", "above ↑"]
    assert np.diff(list(places.values())).min() > 0.03
    assert places["a"] == pytest.approx(0.5)


@pytest.mark.parametrize("lam", [(0.0, 0.1, 1.0), (0.0,)])
def test_paths_on_a_grid_that_begins_at_zero(lam, folder) -> None:
    jobs = jobs_of(made := conditioning(lam=lam, seeds=1), folder)
    for done in execute(jobs, ExecutionOptions()):
        folder.write(done.record)
    drawn = dict(paths.draw(analysed(folder.read()[0], made, None)))
    assert set(drawn) == ({"paths"} if len(lam) > 1 else set())
    other = made.model_copy(update={"training": made.training.model_copy(update={"lr": 0.3})})
    again = dict(paths.draw(analysed(folder.read()[0], other, None)))
    assert [len(axes.lines) for name in again for axes in again[name].axes] == [
        len(axes.lines) for name in drawn for axes in drawn[name].axes
    ]
    for figure in drawn.values():
        plane, distance = figure.axes
        assert {"Bloop", "MGDA"} <= {line.get_label() for line in plane.lines}
        assert {tuple(line.get_xdata()) for line in distance.lines} >= {(0.1, 1.0), (1.0,)}
        assert min(x for line in distance.lines for x in line.get_xdata()) > 0


def test_every_panel_has_the_box_of_its_own_split() -> None:
    inner, outer = {"aux": (2.5, 3.5), "main": (1e-5, 1.0)}, {"aux": (1.5, 5.0), "main": (1e-5, 3.0)}
    train = {"aux": (2.0, 4.0), "main": (1e-5, 2.0), "tighter": inner, "wider": outer}
    experiment = conditioning(figure="fronts", lam=[0.1, 0.2, 0.4], seeds=1, box={**BOX, "train": train})
    factors = {"sum": 1.0, "bloop": 0.8}
    runs = [run for run in plan(experiment) if run.label in factors]
    records = [record(run, factors[run.label] * (1 - run.lam), 1 + 10 * run.lam) for run in runs]
    analysis = analysed(records, experiment, DATA.fingerprint)
    wanted = [(2.0, 4.0), (1.0, 9.0)]  # train, test
    assert [axes.get_xlim() for axes in dict(relative.draw(analysis))["relative"].axes] == wanted
    frames = [axes.patches[0] for axes in dict(fronts.draw(analysis))["fronts"].axes]
    assert [(frame.get_x(), frame.get_x() + frame.get_width()) for frame in frames] == wanted
    data, _ = block(analysis, style.looks(experiment.methods), 10_000)
    assert [data["boxes"][split]["aux"] for split in ("train", "test")] == wanted


def test_a_ratio_that_leaves_the_headline_runs_along_its_edge_under_a_triangle() -> None:
    axes = Figure().subplots()
    ends = {"low": [0.6, 7.0, 0.1], "median": [0.8, 9.0, 0.01], "high": [1.1, 10.0, 0.2]}
    curves = pd.DataFrame({"method": "bloop", "aux": [1.0, 4.0, 9.0], **ends})
    box = Boxes.model_validate({key: BOX[key] for key in ("aux", "main", "tighter", "wider")})
    points = pd.DataFrame({"method": ["mgda"], "aux": [2.0], "ratio": [15.0]})
    relative.limit(axes, curves)
    relative.draw_panel(axes, curves, points, box, style.lines(["bloop", "mgda"]), {"bloop", "mgda"})
    low, high = axes.get_ylim()
    assert (low, high) == pytest.approx((1 / 4 / 1.01, 4 * 1.01))
    (line,) = (line for line in axes.lines if line.get_label() == "Bloop")
    assert list(line.get_ydata()) == pytest.approx([0.8, high, low])
    beyond = [line.get_xydata().tolist()[0] for line in axes.lines if line.get_gid() == fronts.OUTSIDE]
    assert beyond == [[4.0, high], [9.0, low], [2.0, high]]


def test_a_method_that_no_panel_shows_is_named_under_it() -> None:
    experiment = conditioning(figure="fronts", lam=[0.1, 0.2, 0.4], seeds=1, box=BOX)
    runs = [run for run in plan(experiment) if run.label in ("sum", "bloop", "mgda")]
    far = {"sum": 0, "bloop": 0, "mgda": 90}
    records = [record(run, 1 - run.lam, 1 + 10 * run.lam + far[run.label]) for run in runs]
    analysis = analysed(records, experiment, DATA.fingerprint)
    for name, draw in (("relative", relative.draw), ("fronts", fronts.draw)):
        for axes in dict(draw(analysis))[name].axes:
            assert axes.get_xlabel().endswith("not in the frame: MGDA")


def test_beside_the_headline_is_the_band_of_its_quartiles() -> None:
    axes = Figure().subplots()
    ends = {"low": [0.6, 0.7, 0.7], "median": [0.8, 0.85, 0.85], "high": [1.1, 1.2, 1.2]}
    curves = pd.DataFrame({"method": "bloop", "aux": [1.0, 4.0, 9.0], **ends})
    box = Boxes.model_validate({key: BOX[key] for key in ("aux", "main", "tighter", "wider")})
    nothing = pd.DataFrame(columns=["method", "aux", "ratio"])
    relative.draw_panel(axes, curves, nothing, box, style.lines(["bloop"]), {"bloop"})
    (band,) = [each for each in axes.collections if each.get_alpha() == 0.16]
    corners = {tuple(corner) for corner in band.get_paths()[0].vertices.round(9)}
    assert {(1.0, 0.6), (4.0, 0.7), (1.0, 1.1), (4.0, 1.2)} <= corners


@pytest.mark.parametrize("coloured", [{"sum"}, set()])
def test_a_front_is_a_staircase_from_the_upper_edge_to_the_right_one(coloured: set[str]) -> None:
    axes = Figure().subplots()
    axes.set(xlim=(0.1, 0.5), ylim=(1.0, 2.0))
    rows = [("sum", 0.2, 1.5), ("sum", 0.3, 1.2)]
    surfaces = pd.DataFrame(rows, columns=["method", "aux", "main"]).assign(percentile=50)
    fronts.draw_panel(axes, surfaces, style.lines(["sum"]), coloured)
    (steps,) = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    assert steps.get_xydata().tolist() == [[0.2, 2.0], [0.2, 1.5], [0.3, 1.2], [0.5, 1.2]]
