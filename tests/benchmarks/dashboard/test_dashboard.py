"""`scalpel dashboard`: recorded runs, sent again and again, are the same runs in W&B."""

import json
import re
import shutil
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pytest
import wandb

from scalpel_bench.benchmarks.analysis import analyse
from scalpel_bench.benchmarks.analysis.leaderboard import of_analyses
from scalpel_bench.benchmarks.commands.planning import with_methods
from scalpel_bench.benchmarks.dashboard.runs import cell_of, of_record, of_sweep
from scalpel_bench.benchmarks.dashboard.saved_views import SentSweep, build, spec
from scalpel_bench.benchmarks.experiments.settings import TrainingRun
from scalpel_bench.benchmarks.figures import style
from scalpel_bench.benchmarks.records import Folder, load_sweep, manifest, write_manifest
from tests.benchmarks.dashboard.test_tracking import FOLDER, clean, scalpel  # noqa: F401
from tests.benchmarks.recorded import recorded as made
from tests.benchmarks.runs import DATA, conditioning, plan, record
from tests.benchmarks.wandb_files import runs
from tests.benchmarks.wandb_server import KEY, serve

pytestmark = [
    pytest.mark.draws,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:wandb_workspaces.*"),
]
LEVELS = {"sum": 1.0, "bloop": 0.5}


@pytest.fixture
def recorded(tmp_path) -> Path:
    """The hand-made records of a small sweep, as if they came from another machine."""
    experiment = with_methods(conditioning(seeds=2, lam=[0.1], figure="fronts"), list(LEVELS))
    folder = Folder(tmp_path / FOLDER)
    folder.prepare()
    for run in plan(experiment):
        folder.write(record(run, LEVELS[run.method["name"]] / run.lam, run.lam))
    write_manifest(folder, experiment, DATA.fingerprint)
    return tmp_path


@pytest.fixture
def server(monkeypatch):
    with serve() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield server
        wandb.teardown()


def test_a_front_is_drawn_as_the_steps_that_it_is(tmp_path) -> None:
    analysis = analyse(load_sweep(Folder(made(tmp_path))))
    surfaces = analysis.attainment
    own = (surfaces["method"] == "bloop") & (surfaces["split"] == "test") & (surfaces["percentile"] == 50)
    corners = surfaces[own & (surfaces["protocol"] == "fixed")].sort_values("aux")
    chart = of_sweep(analysis).charts["front_fixed_test"]
    drawn = [(aux, main) for method, main, aux in chart["data"] if method == "bloop"]
    assert len(corners) > 2
    assert drawn[::2] == [pytest.approx(pair) for pair in zip(corners["aux"], corners["main"], strict=True)]
    for (aux, main), (next_aux, next_main) in pairwise(drawn):
        assert (aux == next_aux) != (main == next_main)


def test_a_cell_is_all_seeds_of_one_setting_and_nothing_else() -> None:
    axes = {"training.lr": [0.1, 0.3], "method.rho": [0.01, 0.1]}
    first = plan(conditioning(seeds=3, lam=[0.1, 1.0], axes=axes))
    other = plan(conditioning(seeds=3, lam=[0.1, 1.0], axes=axes, training={"epochs": 7}))
    cells: dict[str, list[TrainingRun]] = {}
    for run in [*first, *other]:
        cells.setdefault(cell_of(run), []).append(run)
    for runs_of in cells.values():
        assert sorted(run.seed for run in runs_of) == [0, 1, 2]
        assert len({run.model_copy(update={"seed": 0}).model_dump_json() for run in runs_of}) == 1
    assert 3 * len(cells) == len(first) + len(other)
    shown = cell_of(next(run for run in first if run.method.get("rho") == 0.1 and run.lam == 1.0))
    assert re.fullmatch(r"\S+ \(rho=0.1\) λ=1 lr=0.[13] method.rho=0.1 · conditioning/smoke · \w{8}", shown)


def test_the_headline_is_that_of_the_page(tmp_path) -> None:
    """Its corners: between two of them the ratio is the median up to the next auxiliary loss."""
    analysis = analyse(load_sweep(Folder(made(tmp_path))))
    curves = analysis.relative_curves
    curve = curves[
        (curves["method"] == "bloop") & (curves["split"] == "test") & (curves["protocol"] == "fixed")
    ]
    chart = of_sweep(analysis).charts["relative_fixed_test"]
    assert chart["columns"] == ["method", "main", "aux"]
    drawn = [(aux, main) for method, main, aux in chart["data"] if method == "bloop"]
    aux, median = list(curve["aux"]), list(curve["median"])
    assert drawn[0] == (aux[0], median[0])
    assert drawn[1::2] == [pytest.approx(pair) for pair in zip(aux[1:], median[:-1], strict=True)]
    assert drawn[2::2] == [pytest.approx(pair) for pair in zip(aux[1:], median[1:], strict=True)]
    assert len(aux) > 2


def test_the_leaderboard_is_that_of_the_page(tmp_path) -> None:
    analysis = analyse(load_sweep(Folder(made(tmp_path))))
    table = of_sweep(analysis).tables["leaderboard"]
    board = of_analyses([analysis]).over_all
    assert table["columns"] == list(board.columns)
    assert [row[:4] for row in table["data"]] == [
        [row.rank, row.method, row.trade_off, pytest.approx(row.ratio)] for row in board.itertuples()
    ]


def test_the_views_open_with_the_headline_and_average_over_cells(tmp_path) -> None:
    analysis = analyse(load_sweep(Folder(made(tmp_path))))
    sweep = SentSweep([of_record(record) for record in analysis.records], of_sweep(analysis))
    fronts, curves = (spec(view)["spec"]["section"] for view in build(sweep, "", "scalpel"))
    headline = fronts["panelBankConfig"]["sections"][0]
    assert headline["name"] == "Main loss relative to the sum"
    assert headline["isOpen"]
    board = fronts["panelBankConfig"]["sections"][1]
    assert (board["name"], len(board["panels"])) == ("Leaderboard", 1)
    titles = [panel["config"]["userQuery"] for panel in headline["panels"]]
    assert len(titles) == 2 * len(analysis.protocols)
    assert "relative_fixed_train_table" in json.dumps(titles)
    assert curves["runSets"][0]["grouping"] == [{"section": "config", "name": "cell.value"}]
    colours = curves["customRunColors"]
    assert len(colours) == len({run.start["config"]["cell"] for run in sweep.runs})
    (bloop,) = {colour for cell, colour in colours.items() if '"bloop λ' in unquote(cell)}
    assert bloop == style.look("bloop")["color"]


def test_sent_twice_the_server_has_everything_once(recorded, server, capfd) -> None:
    for _ in range(2):
        assert scalpel("dashboard", "--project", "surgery", cwd=recorded) == 0
    assert server.unknown == []
    ids = {file.stem for file in (recorded / FOLDER / "runs").glob("*.json")}
    (analysis,) = server.runs.keys() - ids
    assert analysis.startswith("analysis-")
    assert {run["project"] for run in server.runs.values()} == {"surgery"}
    assert all(run["begun"] == 2 and len(run["history"]) == 1 for run in server.runs.values())
    assert {len(versions) for versions in server.artifacts.values()} == {1}
    cells = {json.dumps(run["config"]["cell"]) for id, run in server.runs.items() if id in ids}
    assert len(cells) == len(ids) / 2  # of two seeds each
    assert {view["displayName"] for view in server.views.values()} == {
        "conditioning/smoke: fronts",
        "conditioning/smoke: curves",
    }
    assert len(server.views) == 2
    (uploaded,) = [body for path, body in server.uploads.items() if path.endswith("/runs.table.json")]
    assert len(json.loads(uploaded)["data"]) == len(ids) == 4
    assert any(path.endswith(".png") for path in server.uploads)
    assert "4 runs to send, 0 left out" in capfd.readouterr().out


@pytest.mark.slow
def test_offline_a_second_time_replaces_the_files_and_writes_the_views(recorded, capfd) -> None:
    for _ in range(2):
        assert scalpel("dashboard", str(FOLDER), "--wandb", "offline", cwd=recorded) == 0
    assert len(runs(recorded / "results")) == 5
    assert len(list((recorded / "results/wandb/data").glob("*/*/artifacts/staging/*"))) == 2 * 9
    assert "wandb sync results/wandb/offline-run-*" in capfd.readouterr().out
    views = {file.stem: json.loads(file.read_text()) for file in (recorded / "results/wandb/views").iterdir()}
    section = views["conditioning-smoke-fronts"]["spec"]["section"]
    panels = [panel for part in section["panelBankConfig"]["sections"] for panel in part["panels"]]
    kinds = {panel["viewType"] for panel in panels}
    assert {"Scatter Plot", "Vega2", "Parallel Coordinates Plot", "Run Comparer"} <= kinds
    assert set(section["customRunColors"].values()) == {"#000000", "#D55E00"}
    filters = json.dumps(section["runSets"][0]["filters"])
    assert '"value": 0.1' in filters
    assert DATA.fingerprint in filters


@pytest.mark.slow
def test_what_does_not_belong_is_named_and_left_out(recorded, capfd) -> None:
    folder = recorded / FOLDER / "runs"
    first, second, third = sorted(folder.glob("*.json"))[:3]
    first.write_text(first.read_text()[:100])
    second.write_text(second.read_text().replace('"schema_version":1', '"schema_version":9'))
    shutil.copytree(recorded / FOLDER, recorded / "copy")
    assert scalpel("dashboard", str(FOLDER), "copy", "--wandb", "offline", cwd=recorded) == 0
    shown = capfd.readouterr()
    assert f"left out: {first.name}: not a record of schema 1" in shown.err
    assert f"left out: {second.name}: not a record of schema 1" in shown.err
    assert f"left out: {third.stem}: sent from {FOLDER} already" in shown.err
    assert f"{FOLDER}: 2 runs to send, 2 left out" in shown.out
    assert "copy: 0 runs to send, 4 left out" in shown.out
    assert len(runs(recorded / "results")) == 3


@pytest.mark.slow
def test_single_runs_have_no_analysis(recorded) -> None:
    (recorded / FOLDER / manifest.FILE).unlink()
    assert scalpel("dashboard", "--wandb", "offline", cwd=recorded) == 0
    assert {run["job_type"] for run in runs(recorded / "results").values()} == set(LEVELS)


@pytest.mark.slow
def test_parts_of_one_sweep_are_not_two_sweeps(recorded, capfd) -> None:
    shutil.copytree(recorded / FOLDER, recorded / "other")
    for number, file in enumerate(sorted((recorded / FOLDER / "runs").iterdir())):
        (recorded / ("other" if number % 2 else FOLDER) / "runs" / file.name).unlink()
    assert scalpel("dashboard", str(FOLDER), "other", "--wandb", "offline", cwd=recorded) == 2
    assert f"other and {FOLDER} are parts of one sweep" in capfd.readouterr().err


@pytest.mark.slow
def test_a_lost_server_is_one_line_and_status_3(recorded, monkeypatch, capfd) -> None:
    with serve(accept=2) as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("WANDB_FINISH_TIMEOUT", "3")
        monkeypatch.setenv("WANDB_INIT_TIMEOUT", "3")
        assert scalpel("dashboard", "--entity", "team", cwd=recorded) == 3
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "W&B" in line]
    assert line.endswith(f"scalpel dashboard {FOLDER} --wandb online --project scalpel --entity team")
