"""Runs that are of several methods: trained and stored once, and seen under each label by every reader."""

import json
from pathlib import Path
from typing import Any

from scalpel_bench.benchmarks.analysis import analyse
from scalpel_bench.benchmarks.analysis.analyses import TrainingAnalysis
from scalpel_bench.benchmarks.commands.compare import Comparison, _prepare
from scalpel_bench.benchmarks.commands.new_box import new_box
from scalpel_bench.benchmarks.commands.report import report
from scalpel_bench.benchmarks.commands.verify import findings
from scalpel_bench.benchmarks.dashboard.recorded import _read
from scalpel_bench.benchmarks.execution import ExecutionOptions
from scalpel_bench.benchmarks.experiments.loading import load
from scalpel_bench.benchmarks.experiments.schema import Experiment
from scalpel_bench.benchmarks.records import Folder, load_sweep, write_manifest
from scalpel_bench.benchmarks.report import page_data
from tests.benchmarks.runs import BOX, DATA, conditioning, plan, record

COARSE, FINE = [0.1, 0.3, 0.5], [0.1, 0.2, 0.3, 0.4, 0.5]


def experiment(**overrides: Any) -> Experiment:
    """`sum`, and `dense`, which is `sum` on a grid that has its λ too."""
    given = {"lam": COARSE, "seeds": 2, "box": BOX, "training": {"lr": 0.1}} | overrides
    made = conditioning(methods={"dense": {"name": "sum", "lam": FINE}}, **given)
    return made.model_copy(update={"methods": {label: made.methods[label] for label in ("sum", "dense")}})


def recorded(results: Path, of: Experiment, labels: tuple[str, ...] = ("sum", "dense")) -> Folder:
    """Records under the labels that the sweep of these methods gives them; one run failed."""
    folder = Folder(results / of.name / of.scale)
    folder.prepare()
    swept = of.model_copy(update={"methods": {label: of.methods[label] for label in labels}})
    for run in plan(swept):
        losses = {"main": 2 - 2 * run.lam, "aux": 10 * run.lam}
        start = {"step": 0, "epoch": 0.0, **dict.fromkeys(("train", "validation", "test"), losses)}
        made = record(run, losses["main"], losses["aux"])
        made = made.model_copy(update={"trajectory": [start, *made.trajectory]})
        if (run.seed, run.lam) == (1, 0.5):
            made = made.model_copy(update={"status": "failed", "reason": "no", "trajectory": []})
        folder.write(made)
    write_manifest(folder, of, DATA.fingerprint)
    return folder


def test_the_page_shows_both_and_counts_each_run_once(tmp_path) -> None:
    folder = recorded(tmp_path, experiment())
    assert {run.label for run in plan(experiment())} == {"dense"}
    report([folder.path], None)
    html = " ".join((folder.path / "report.html").read_text().split())
    assert "10 runs" in html
    assert json.loads((folder.path / "provenance.json").read_text())["runs"] == {"completed": 9, "failed": 1}
    analysis = analyse(load_sweep(folder))
    assert isinstance(analysis, TrainingAnalysis)
    looks = {label: {"color": "#000000", "marker": "o"} for label in ("sum", "dense")}
    block, _ = page_data.block(analysis, looks, 1000)
    runs = block["runs"]
    labels = [block["methods"][method]["label"] for method in runs["method"]]
    assert (labels.count("sum"), labels.count("dense")) == (6, 10)
    (fixed,) = block["protocols"]
    assert sorted(fixed["runs"]) == list(range(16))
    points = [labels[run] for each in block["relative_points"] for run in each["run"]]
    assert set(points) == {"sum", "dense"}


def test_what_is_stored_sent_or_listed_as_wrong_is_there_once(tmp_path) -> None:
    of = experiment()
    folder = recorded(tmp_path, of)
    sweep = load_sweep(folder)
    assert (sweep.found, len(sweep.runs), len(sweep.records)) == (10, 10, 16)
    _, sent, _ = _read(folder)
    assert len(sent) == 10
    assert list(findings(folder, *folder.read())["what"]) == ["failed"]
    copy = Folder(tmp_path / "out" / of.name / of.scale)
    _prepare(Comparison(sweep, copy, None), ExecutionOptions())
    assert len(copy.read()[0]) == 10


def test_a_box_is_proposed_from_runs_of_sum_under_another_label(tmp_path) -> None:
    recorded(tmp_path, experiment(box=None))
    assert any(
        "proposed from validation losses of sum (2 seeds)" in line
        for line in new_box("conditioning", "smoke", tmp_path)
    )


def test_runs_of_an_earlier_label_are_not_missing_under_the_later(tmp_path) -> None:
    folder = recorded(tmp_path, experiment(), ("sum",))
    missing = findings(folder, *folder.read()).query("what == 'missing'")["why"]
    assert {line.split()[1] for line in missing} == {"λ=0.2", "λ=0.4"}


def test_the_run_by_which_a_rate_is_chosen_counts_for_sum(tmp_path) -> None:
    """At λ = 0, which the grid of `sum` lacks, and under the label of the first sweep."""
    of = experiment(axes={"training.lr": [0.1, 0.2]})
    dense = {**of.methods["dense"], "lam": [0.0, *FINE]}
    of = of.model_copy(update={"methods": {**of.methods, "dense": dense}})
    folder = recorded(tmp_path, of, ("dense",))
    assert findings(folder, *folder.read()).query("what == 'missing'").empty
    assert [p.name for p in analyse(load_sweep(folder)).protocols] == ["fixed", "main-tuned", "per-method"]


def test_the_least_mixed_loss_is_of_both(tmp_path) -> None:
    recorded(tmp_path, experiment())
    (tmp_path / "least.toml").write_text(
        'title = "t"\nkind = "mixed_loss"\nsource = "conditioning"\npoints = 3\nseeds = 1\n[scales.smoke]\n'
    )
    folder = Folder(tmp_path / "least" / "smoke")
    folder.prepare()
    write_manifest(folder, load(str(tmp_path / "least.toml"), "smoke"), None)
    analysis = analyse(load_sweep(folder))
    assert (len(analysis.records), len(analysis.runs)) == (16, 10)
    assert set(analysis.summary["method"]) == {"sum", "dense"}
