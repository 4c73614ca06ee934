"""The report's data and tables, and how it takes bad input; `test_page` opens it in a browser."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from scalpel_bench.benchmarks.commands.report import report
from scalpel_bench.benchmarks.experiments.command_line import sweep_command
from scalpel_bench.benchmarks.experiments.loading import load
from scalpel_bench.benchmarks.messages.errors import UserError
from scalpel_bench.benchmarks.records import Folder, Record, write_manifest
from scalpel_bench.benchmarks.report import files, page_data, page_tables
from tests.benchmarks.recorded import HOSTILE, recorded, reported
from tests.benchmarks.runs import BOX, DATA, conditioning, plan, record


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Its page is made."""
    return reported(tmp_path_factory.mktemp("recorded") / "conditioning" / "smoke")


def page(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def data(path: Path) -> list[dict]:
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page(path), re.DOTALL)
    return json.loads(text)


def test_the_page_is_whole_in_itself_and_the_same_each_time(folder) -> None:
    html = page(folder / "report.html")
    assert not re.findall(r'(?:src|href)="(?!data:|#)', html)
    assert "http://" not in html.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in html
    report([folder], folder / "again.html")
    assert page(folder / "again.html") == html


def test_a_page_is_written_over_no_other_file(folder, tmp_path) -> None:
    (tmp_path / "mine.toml").write_text("kept")
    with pytest.raises(UserError, match=r"mine\.toml: the name of a page ends in \.html"):
        report([folder], tmp_path / "mine.toml")
    assert (tmp_path / "mine.toml").read_text() == "kept"
    report([folder], tmp_path / "mine.html")
    assert {file.name for file in tmp_path.iterdir()} == {"mine.toml", "mine.html", "mine-leaderboard.csv"}


def test_two_sweeps_of_one_experiment_have_claims_of_their_own_and_one_folder_counts_once(
    folder, tmp_path, capsys
) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "conditioning" / "smoke"))
    report([folder, folder / ".." / folder.name, other], tmp_path / "two.html")
    assert len(data(tmp_path / "two.html")) == 2
    assert "no leaderboard: two of the folders hold conditioning/smoke" in capsys.readouterr().err
    claim = "Bloop &lt;b&gt;is&lt;/b&gt; better"
    once, twice = (page(file).count(claim) for file in (folder / "report.html", tmp_path / "two.html"))
    assert twice == 2 * once > 0


def test_a_figure_that_is_drawn_no_more_goes_with_the_next_drawing(folder, tmp_path, monkeypatch) -> None:
    sweep = Path(shutil.copytree(folder, tmp_path / "conditioning" / "smoke"))
    figures = sweep / "figures"
    figures.mkdir(exist_ok=True)
    for name in ("parallel.png", "parallel.pdf", "samples.pdf", "fronts.png"):
        (figures / name).write_bytes(b"")
    (sweep / "provenance.json").unlink()
    monkeypatch.setattr(files.figures, "draw", lambda analysis, into: [into / "fronts.png"])
    report([sweep], None)
    assert {file.name for file in figures.iterdir()} == {"samples.pdf", "fronts.png"}


def test_a_simulation_all_of_whose_runs_failed_is_a_page(tmp_path) -> None:
    experiment = load("fig2", "smoke")
    sweep = Folder(tmp_path / "fig2" / "smoke")
    sweep.prepare()
    write_manifest(sweep, experiment, "none")
    for run in experiment.plan(lambda settings: DATA):
        sweep.write(
            Record(id=run.id, run=run, environment={}, status="failed", reason="broke", trajectory=[])
        )
    report([sweep.path], None)
    verdict = pd.read_csv(sweep.path / "claims.csv").iloc[0]
    assert verdict["verdict"] == "inconclusive"
    assert "runs are missing" in verdict["reason"]


def test_names_in_records_are_text(folder) -> None:
    assert HOSTILE not in page(folder / "report.html")
    assert HOSTILE in {method["label"] for method in data(folder / "report.html")[0]["methods"]}


def test_the_data_are_those_of_the_tables(folder) -> None:
    (block,) = data(folder / "report.html")
    summary, fronts = (pd.read_csv(folder / f"{name}.csv") for name in ("summary", "fronts"))
    assert block["runs"]["id"] == list(summary["id"])
    assert block["ends"]["test"]["main"] == [page_data.shorten(value) for value in summary["test_main"]]
    drawn = [len(f["aux"]) for f in block["fronts"] if (f["protocol"], f["split"]) == ("fixed", "test")]
    assert sum(drawn) == len(fronts[(fronts["protocol"] == "fixed") & (fronts["split"] == "test")])
    relative = next(c for c in block["relative"] if (c["protocol"], c["split"]) == ("fixed", "test"))
    assert block["methods"][relative["method"]]["label"] == "bloop"
    assert (relative["aux"][0], relative["aux"][-1]) == BOX["aux"]
    fixed = next(p for p in block["protocols"] if p["name"] == "fixed")
    assert {block["runs"]["lr"][run] for run in fixed["runs"]} == {0.1}
    assert [p["name"] for p in block["protocols"]] == ["fixed", "main-tuned", "per-method"]
    curve = block["curves"]["test"]["main"][0]
    assert len(curve) == len(block["curves"]["grids"][block["curves"]["grid"][0]])
    assert curve[-1] == page_data.shorten(block["ends"]["test"]["main"][0], page_data.CURVE_DIGITS)


def test_a_section_states_scale_data_seeds_failures_and_the_command(folder) -> None:
    html = re.sub(r"<[^>]+>", "", page(folder / "report.html").split('id="data"')[0])
    for text in (
        "scale smoke",
        "none 0000000000000000",
        "2 seeds",
        "1 diverged",
        "a loss or a parameter was not finite at step 7",
        "1 failed",
        "out of memory",
        "scalpel sweep conditioning --scale smoke --seeds 2",
        "commit",
    ):
        assert text in " ".join(html.split()).replace("&#39;", "'"), text


def test_a_miniature_says_that_it_is_one(folder, tmp_path) -> None:
    assert "not the paper's result" not in page(folder / "report.html").replace("&#39;", "'")
    small = Path(shutil.copytree(folder, tmp_path / "conditioning" / "smoke"))
    manifest = json.loads((small / "experiment.json").read_text())
    manifest["experiment"]["miniature"] = "one epoch"
    (small / "experiment.json").write_text(json.dumps(manifest))
    report([small], None)
    html = " ".join(page(small / "report.html").replace("&#39;", "'").split())
    assert "A miniature, so not the paper's result: one epoch." in html


def test_trajectories_are_thinned_to_the_budget() -> None:
    experiment = conditioning(figure="fronts", lam=[1.0], seeds=1)
    run = plan(experiment)[0]
    long = record(run, 1.0, 1.0)
    long.trajectory = [{"step": i, "epoch": i, "test": {"main": i, "aux": 1.0}} for i in range(1000)]
    columns = 2 + len(page_data.DIAGNOSTICS)
    curves, notice = page_data._curves([long], ["test"], ["main", "aux"], budget=10 * columns)
    assert curves["test"]["main"][0] == [0, 111, 222, 333, 444, 555, 666, 777, 888, 999]
    assert notice == "trajectories show 10 of up to 1000 evaluations per run"


def test_claims_stand_side_by_side_and_a_fixed_rate_is_flagged() -> None:
    common = {"text": "", "paper": "", "split": "test", "seeds": 2, "scale": "smoke", "data": "none"}
    common |= {"reason": "", "effect": 0.8, "low": float("nan"), "high": float("nan"), "experiment": "e"}
    given = {
        "holds": {"fixed": "supported", "per-method": "supported"},
        "fixed alone": {"per-method": "contradicted", "fixed": "supported"},
        "depends": {"fixed": "inconclusive", "per-method": "supported"},
        "one rate": {"fixed": "supported"},
    }
    frame = pd.DataFrame(
        {**common, "id": name, "protocol": protocol, "verdict": verdict}
        for name, verdicts in given.items()
        for protocol, verdict in verdicts.items()
    )
    claims = page_tables.by_claim(frame.assign(sweep=0))
    assert {claim["id"]: claim["flag"] for claim in claims} == {
        "holds": "",
        "fixed alone": "only at a fixed learning rate",
        "depends": "depends on the learning rate",
        "one rate": "",
    }
    assert claims[0]["verdicts"]["fixed"]["effect"] == "0.800"
    assert page_tables.protocols(frame) == ["fixed", "per-method"]


def test_the_verdicts_of_a_sweep_are_on_top(folder) -> None:
    html = page(folder / "report.html")
    assert 0 < html.index("Bloop &lt;b&gt;is&lt;/b&gt; better") < html.index('class="experiment"')
    assert "none tells better surgery from a better step size" not in html
    shown = re.findall(r'<span class="verdict" data-verdict="([^"]+)"', html)
    assert shown == list(pd.read_csv(folder / "claims.csv")["verdict"])


def test_records_that_do_not_belong_are_named_counted_and_left_out(folder, tmp_path, capsys) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    first, second, third, *_ = sorted((copy / "runs").iterdir())
    first.write_text(first.read_text()[:100])
    second.write_text(second.read_text().replace('"schema_version":1', '"schema_version":7'))
    whole = json.loads(third.read_text())
    del whole["sha256"]
    for change in ({"scale": "laptop"}, {"data": {"name": "other", "fingerprint": "f" * 16}}):
        settings = {**whole["run"], **change}
        run = plan(conditioning())[0].model_validate(settings)
        other = Record.model_validate({**whole, "id": run.id, "run": settings})
        (copy / "runs" / f"{run.id}.json").write_text(other.sealed())
    before = len(pd.read_csv(folder / "summary.csv"))
    report([copy, tmp_path / "missing"], tmp_path / "page.html")
    html = page(tmp_path / "page.html")
    assert "<strong>4</strong> left out" in html
    warned = capsys.readouterr().err
    for reason in (
        "not a record of schema 1 (file: Invalid JSON",
        "not a record of schema 1 (schema_version",
        "of conditioning at scale laptop",
        "data other (ffffffffffffffff) is not",
    ):
        assert reason in html
        assert reason in warned
    assert "missing/experiment.json: no such file" in html
    assert len(pd.read_csv(copy / "summary.csv")) == before - 2


def test_different_data_and_scales_are_said(folder, tmp_path) -> None:
    other = recorded(tmp_path / "conditioning" / "smoke", fingerprint="f" * 16)
    report([folder, other], tmp_path / "page.html")
    assert "sections of conditioning differ in data" in page(tmp_path / "page.html")


def test_nothing_usable_is_one_line(folder, tmp_path) -> None:
    empty = tmp_path / "empty"
    shutil.copytree(folder, empty)
    for file in (empty / "runs").iterdir():
        file.write_text("{")
    with pytest.raises(UserError, match=r"no valid records: \d+ left out, the first: .*schema 1"):
        report([empty], None)
    with pytest.raises(UserError, match="none of the 2 folders has usable records"):
        report([empty, tmp_path], None)
    with pytest.raises(UserError, match="cannot be written"):
        report([folder], Path("/proc/nowhere/report.html"))


def test_runs_that_failed_are_told_in_a_line(folder, tmp_path, capsys) -> None:
    report([folder], tmp_path / "page.html")
    words = "missing: 1 run failed (1 of sum); the same sweep tries them again"
    assert f"scalpel: {folder}: {words}" in capsys.readouterr().err.splitlines()
    kept = Folder(tmp_path / "mended" / "conditioning" / "smoke")
    kept.prepare()
    for each in Folder(folder).read()[0]:
        if each.status != "failed":
            kept.write(each)
    shutil.copy(folder / "experiment.json", kept.path)
    report([kept.path], None)
    assert "failed" not in capsys.readouterr().err


def test_a_sweep_without_a_completed_run_has_a_page(tmp_path, capsys) -> None:
    folder = recorded(tmp_path / "conditioning" / "smoke", status="failed")
    report([folder], None)
    assert "missing: 40 runs failed (20 of sum, 16 of bloop, 4 of " in capsys.readouterr().err
    assert "0</strong> completed" in page(folder / "report.html")
    assert data(folder / "report.html")[0]["splits"] == []


def test_the_command_says_what_differs_from_the_file() -> None:
    changes = {"seeds": 5, "lam": [0.1, 2.0], "training": {"epochs": 7}, "axes": {"training.lr": [0.01, 0.1]}}
    assert sweep_command(load("conditioning", "smoke", changes), {None, "folder"}) == (
        "scalpel sweep conditioning --scale smoke --seeds 5 --lam 0.1,2 --axis training.lr=0.01,0.1 "
        "--set training.epochs=7 --data PATH"
    )
    plain = load("conditioning", "smoke", {"training": {"warmup_epochs": 0.0}})
    assert sweep_command(plain, {None}) == f"scalpel sweep conditioning --scale smoke --seeds {plain.seeds}"
    swept = load("fig7", "smoke")
    assert "--axis" not in sweep_command(swept, {None})
    changed = load("conditioning", "smoke", {"methods": {"bloop": {"rho": 0.5}}})
    assert sweep_command(changed, {None}).endswith("  # with the settings of bloop in experiment.json")
    own = plain.model_copy(update={"name": "mine"})
    assert sweep_command(own, {None}).startswith("scalpel sweep mine.toml --scale smoke")
