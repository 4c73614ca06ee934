"""Figures 6 and 7, on hand-made records and on runs of seconds."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from scalpel_bench.benchmarks import figures
from scalpel_bench.benchmarks.analysis import mixed_loss
from scalpel_bench.benchmarks.analysis.summary import summarise
from scalpel_bench.benchmarks.commands.planning import with_methods
from scalpel_bench.benchmarks.commands.sweep import sweep
from scalpel_bench.benchmarks.execution import ExecutionOptions
from scalpel_bench.benchmarks.experiments.loading import load
from scalpel_bench.benchmarks.experiments.simulated import MixedLossExperiment
from scalpel_bench.benchmarks.figures import mixed_loss as figure_6
from scalpel_bench.benchmarks.figures import trajectories
from scalpel_bench.benchmarks.messages.errors import UserError
from scalpel_bench.benchmarks.records import Folder, load_sweep, write_manifest
from tests.benchmarks.runs import DATA, analysed, conditioning, plan, record, written

LAMS = [0.0, 0.1, 1.0]


def derived(tmp_path: Path, source: str = "conditioning") -> MixedLossExperiment:
    file = tmp_path / "least.toml"
    file.write_text(
        f'kind = "mixed_loss"\ntitle = "t"\npaper = "p"\nsource = "{source}"\npoints = 5\n[scales.smoke]\n'
    )
    loaded = load(str(file), "smoke")
    assert isinstance(loaded, MixedLossExperiment)
    return loaded


def handmade():
    """Random end points of two methods at two seeds; one run has diverged, whose loss would be the least."""
    rng = np.random.default_rng(0)
    records = []
    for run in plan(conditioning(lam=LAMS, seeds=2)):
        if run.label not in ("sum", "bloop"):
            continue
        lost = (run.label, run.lam, run.seed) == ("bloop", 1.0, 0)
        values = {
            split: dict(zip(("main", "aux"), rng.random(2), strict=True)) for split in ("train", "test")
        }
        status = "diverged" if lost else "completed"
        records.append(record(run, *([-9.0, -9.0] if lost else [1.0, 1.0]), status, **values))
    return records


def test_the_least_mixed_loss_is_the_brute_force_minimum() -> None:
    records = handmade()
    frame = mixed_loss.tabulate(summarise(records), 11)
    assert len(frame) == 3 * 2 * 2 * 11
    for row in frame[frame["split"] != "validation"].itertuples():
        candidates = [
            ((1 - row.t) * last["main"] + row.t * last["aux"], r.run.lam)
            for r in records
            for last in [r.trajectory[-1][row.split]]
            if (r.run.label, r.run.seed, r.status) == (row.method, row.seed, "completed")
        ]
        assert (row.mixed_loss, row.lam) == pytest.approx(min(candidates))
    assert sorted(frame["t"].unique()) == pytest.approx(np.linspace(0, 1, 11))


def test_the_overview_has_the_means_over_seeds() -> None:
    frame = mixed_loss.tabulate(summarise(handmade()), 101)
    row = mixed_loss.overview(frame).set_index(["split", "method"]).loc[("test", "bloop")]
    chosen = frame[(frame["split"] == "test") & (frame["method"] == "bloop") & np.isclose(frame["t"], 0.1)]
    assert row["t = 0.1"] == pytest.approx(chosen["mixed_loss"].mean())


def test_a_method_whose_runs_all_diverged_has_no_row() -> None:
    runs = [run for run in plan(conditioning(lam=LAMS)) if run.label in ("sum", "bloop")]
    records = [record(r, 1.0, 1.0, "diverged" if r.label == "sum" else "completed") for r in runs]
    assert set(mixed_loss.tabulate(summarise(records), 3)["method"]) == {"bloop"}
    empty = mixed_loss.tabulate(summarise(records)[lambda f: f["method"] == "sum"], 3)
    assert empty.empty
    assert mixed_loss.overview(empty).empty


@pytest.mark.draws
def test_runs_at_another_rate_take_no_part(tmp_path) -> None:
    source, target = (Folder(tmp_path / name / "smoke") for name in ("conditioning", "least"))
    experiment = conditioning(lam=LAMS, axes={"training.lr": [0.1, 0.5]})
    for folder in (source, target):
        folder.prepare()
    for run in plan(experiment):
        value = 1.0 if run.training.lr == 0.1 else 0.5
        source.write(record(run, value, value))
    write_manifest(source, experiment, DATA.fingerprint)
    write_manifest(target, derived(tmp_path), None)
    written(target)
    assert set(pd.read_csv(target.path / "summary.csv")["mixed_loss"]) == {1.0}
    assert (target.path / "figures" / "mixed_loss.png").stat().st_size > 5000
    for file in source.runs.iterdir():
        if json.loads(file.read_bytes())["run"]["training"]["lr"] == 0.1:
            file.unlink()
    with pytest.raises(UserError, match=r"has no runs at lr 0\.1: sweep it at that rate"):
        written(target)


def test_a_sweep_without_the_runs_says_what_to_do_first(tmp_path) -> None:
    message = "least is computed from the runs of fig5a, .*first run `scalpel sweep fig5a --scale smoke`"
    with pytest.raises(UserError, match=message):
        sweep([derived(tmp_path, "fig5a")], ExecutionOptions(), tmp_path / "results", False, "disabled")
    assert not (tmp_path / "results").exists()


def test_it_follows_its_source_whatever_the_order(tmp_path) -> None:
    experiments = [derived(tmp_path), with_methods(conditioning(), ["sum", "bloop"])]
    assert sweep(experiments, ExecutionOptions(), tmp_path / "results", False, "disabled") == 0
    summary = pd.read_csv(tmp_path / "results" / "least" / "smoke" / "summary.csv")
    assert set(summary["method"]) == {"sum", "bloop"}


def test_a_source_without_methods_is_refused(tmp_path) -> None:
    experiments = [load("fig2", "smoke"), derived(tmp_path, "fig2")]
    with pytest.raises(UserError, match="fig2 compares no methods"):
        sweep(experiments, ExecutionOptions(), tmp_path / "results", False, "disabled")


def test_a_folder_that_is_computed_from_itself_is_refused(tmp_path) -> None:
    folder = Folder(tmp_path / "results" / "least" / "smoke")
    folder.prepare()
    write_manifest(folder, derived(tmp_path).model_copy(update={"source": "least"}), None)
    (run,) = plan(with_methods(conditioning(lam=[0.1], seeds=1), ["sum"]))
    folder.write(record(run, 1.0, 1.0))
    with pytest.raises(UserError, match="least compares no methods"):
        load_sweep(folder)


@pytest.mark.draws
def test_figure_7_draws_a_path_for_every_rho(tmp_path) -> None:
    overrides = {"lam": [0.2], "axes": {"method.rho": [0.9, 0.001]}, "figure": "trajectories"}
    experiment = with_methods(conditioning(**overrides), ["sum", "bloop"])
    records = [record(run, 1.0 + i, 2.0) for i, run in enumerate(plan(experiment))]
    analysis = analysed(records, experiment, DATA.fingerprint)
    ((name, figure),) = trajectories.draw(analysis)
    assert name == "trajectories"
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["Mixed (sum)", "bloop (rho=0.001)", "bloop (rho=0.9)"]
    assert len({handle.get_color() for handle in legend.legend_handles}) == 3
    summary = summarise(records).set_index("method")
    overview = analysis.overview.set_index("method")
    assert overview.loc["sum", "train_main"] == summary.loc["sum", "train_main"]
    assert [file.name for file in figures.draw(analysis, tmp_path)] == [
        "trajectories.png",
        "trajectories.pdf",
    ]


def test_where_all_runs_diverged_there_are_no_paths_to_draw() -> None:
    experiment = with_methods(conditioning(lam=[0.2], figure="trajectories"), ["sum", "bloop"])
    records = [record(run, 1.0, 2.0, "diverged") for run in plan(experiment)]
    assert list(trajectories.draw(analysed(records, experiment, DATA.fingerprint))) == []


def test_means_of_end_values_say_how_many_runs_have_none() -> None:
    experiment = with_methods(conditioning(lam=[0.2], figure="trajectories"), ["sum", "bloop"])
    runs = plan(experiment)
    for lost, told in ((0, "mean over seeds"), (1, "mean over seeds, without 1 that diverged")):
        records = [
            record(run, 1.0, 2.0, "diverged" if i < lost else "completed") for i, run in enumerate(runs)
        ]
        assert analysed(records, experiment, DATA.fingerprint).title.endswith(told)


def test_the_papers_settings_of_figures_5a_and_7() -> None:
    for name, lam in (("fig5a", 17), ("fig7", 1)):
        paper = load(name, "paper")
        shape = {"layers": 12, "heads": 8, "width": 256, "feed_forward": 1024, "batch_size": 128}
        assert shape.items() <= paper.task.items()
        assert paper.training.epochs * paper.task["steps_per_epoch"] == 300_000
        assert (paper.training.optimizer, paper.training.lr, len(paper.lam)) == ("adam", 2e-3, lam)
    assert load("fig5a", "paper").lam == pytest.approx([0.0, *np.geomspace(1e-4, 10, 16)])
    runs = plan(load("fig7", "paper"))
    rhos = {run.method.get("rho") for run in runs}
    assert rhos == {None, 0.001, 0.01, 0.1, 0.9}


def test_figure_6_draws_means_over_seeds_and_their_range(tmp_path) -> None:
    rows = [("test", "sum", seed, t, 1.0 + seed + t) for seed in (0, 1, 5) for t in (0.0, 1.0)]
    frame = pd.DataFrame(rows, columns=["split", "method", "seed", "t", "mixed_loss"])
    ((_, figure),) = figure_6.draw(SimpleNamespace(summary=frame, experiment=derived(tmp_path)))
    (axes,) = figure.axes
    (line,), (band,) = axes.lines, axes.collections
    assert line.get_xydata().tolist() == [[0.0, 3.0], [1.0, 4.0]]
    assert {(0, 1), (0, 6), (1, 2), (1, 7)} <= {tuple(corner) for corner in band.get_paths()[0].vertices}


def test_figure_7_draws_main_over_auxiliary_loss_of_each_split_and_marks_the_end() -> None:
    experiment = with_methods(conditioning(lam=[0.2], figure="trajectories"), ["sum"])
    (run,) = plan(experiment)
    rows = [
        {
            "step": step,
            "epoch": step,
            "train": {"main": 4.0 - step, "aux": 10.0 + step},
            "test": {"main": 40.0 - step, "aux": 100.0 + step},
        }
        for step in range(4)
    ]
    made = record(run, 1.0, 1.0).model_copy(update={"trajectory": rows})
    ((_, figure),) = trajectories.draw(analysed([made], experiment, DATA.fingerprint))
    for axes, split in zip(figure.axes, ("train", "test"), strict=True):
        path, end, _ = axes.lines
        assert path.get_xydata().tolist() == [[row[split]["aux"], row[split]["main"]] for row in rows]
        assert end.get_xydata().tolist() == path.get_xydata().tolist()[-1:]
        assert axes.get_xlabel() == experiment.labels.aux
