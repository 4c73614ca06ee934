"""Weights & Biases with its real client: offline files are read back; a stand-in server; lost servers."""

import json
import lzma
import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from scalpel_bench.benchmarks.cli import main
from scalpel_bench.benchmarks.dashboard import tracker as tracking
from scalpel_bench.benchmarks.dashboard import wandb_process
from scalpel_bench.benchmarks.dashboard.runs import WandbRun
from scalpel_bench.benchmarks.dashboard.tracker import Tracker
from scalpel_bench.benchmarks.records import Folder
from tests.benchmarks.wandb_files import runs
from tests.benchmarks.wandb_server import KEY, serve

SWEEP = ["sweep", "conditioning", "--scale", "smoke", "--workers", "1", "--lam", "0.1,1.0"]
SWEEP += ["--methods", "sum,bloop"]
FOLDER = Path("results/conditioning/smoke")
PLANTED = {
    "HF_TOKEN": "hf_planted0token",
    "USER": "planted0user",
    "LOGNAME": "planted0login",
    "HOSTNAME": "planted0host",
    "HOME": "/nonexistent/planted0home",
}


@pytest.fixture(autouse=True)
def clean(monkeypatch) -> None:
    for key in [key for key in os.environ if key.startswith("WANDB_")]:
        monkeypatch.delenv(key)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("HOME", "/nonexistent")


def scalpel(*arguments: str, cwd: Path) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd)
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[3] / "src"))
        patch.setattr(sys, "argv", ["scalpel", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
    return ended.value.code or 0


def records(folder: Path) -> list[dict]:
    return [json.loads(file.read_text()) for file in sorted((folder / FOLDER / "runs").glob("*.json"))]


@pytest.fixture(scope="module")
def offline(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("offline")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_ERROR_REPORTING", "false")
        patch.setenv("WANDB_API_KEY", KEY)
        for name, value in PLANTED.items():
            patch.setenv(name, value)
        patch.setenv("WANDB_PROJECT", "surgery")
        patch.setenv("WANDB_TAGS", "mine,yours")
        assert scalpel(*SWEEP, "--wandb", "offline", cwd=folder) == 0
    return folder


def test_offline_files_hold_what_was_recorded(offline) -> None:
    read = runs(offline / "results")
    assert len(records(offline)) == 4
    for record in records(offline):
        run, rows = read[record["id"]], record["trajectory"]
        assert (run["group"], run["job_type"]) == ("conditioning/smoke", record["run"]["label"])
        assert run["project"] == "surgery"
        assert {"conditioning", "smoke", record["run"]["label"], "lr=0.1", "mine", "yours"} < set(run["tags"])
        for key in ("lam", "seed", "training", "task", "method", "data"):
            assert run["config"][key] == record["run"][key]
        assert run["config"]["environment"] == record["environment"]
        assert [h["step"] for h in run["history"]] == [row["step"] for row in rows]
        assert [h["test/main"] for h in run["history"]] == [row["test"]["main"] for row in rows]
        assert run["summary"]["status"] == "completed"
        assert run["summary"]["train/aux"] == rows[-1]["train"]["aux"]
        assert run["summary"]["timings/train"] == record["timings"]["train"]


def test_a_sweep_ends_with_its_tables_figures_and_fronts(offline) -> None:
    (analysis,) = [run for run in runs(offline / "results").values() if run["job_type"] == "analysis"]
    assert analysis["group"] == "conditioning/smoke"
    (row,) = analysis["history"]
    files = {key[:-5]: analysis["folder"] / "files" / row[key] for key in row if key.endswith("/path")}
    for name, csv in (("runs", "summary"), ("fronts", "fronts"), ("metrics", "metrics")):
        table = json.loads(files[name].read_text())
        assert len(table["data"]) == len((offline / FOLDER / f"{csv}.csv").read_text().splitlines()) - 1
    drawn = list((offline / FOLDER / "figures").glob("*.png"))
    assert {figure.stem for figure in drawn} == {"diagnostics", "fronts", "paths", "relative"}
    for figure in drawn:
        assert files[f"figures/{figure.stem}"].read_bytes() == figure.read_bytes()
    chart = json.loads(files["front_fixed_test_table"].read_text())
    assert {line[chart["columns"].index("method")] for line in chart["data"]} == {"sum", "bloop"}


def test_a_sender_that_says_nothing_is_not_waited_for(tmp_path, monkeypatch, capsys) -> None:
    silent = tmp_path / "silent.py"
    silent.write_text("import sys, time\nsys.stdin.read()\ntime.sleep(600)\n")
    monkeypatch.setattr(wandb_process, "__file__", str(silent))
    monkeypatch.setattr(tracking, "PATIENCE", 0.2)
    with Tracker("offline", tmp_path) as tracker:
        tracker.put(WandbRun({"id": "one"}), Folder(tmp_path / "conditioning" / "smoke"))
    assert "no answer for 0.2 s" in " ".join(capsys.readouterr().err.split())


def test_the_command_that_is_printed_names_all_that_was_given() -> None:
    tracker = Tracker("offline", Path("my results"), "surgery", "lab")
    command = tracker.command([Path("my results/fig3a/laptop")], "online")
    assert shlex.split(command)[:3] == ["scalpel", "dashboard", "my results/fig3a/laptop"]
    assert command.endswith(" --wandb online --project surgery --entity lab --results 'my results'")
    assert "--results" not in Tracker("offline", Path("results")).command([], "online")


def test_the_sender_imports_nothing_of_the_suite() -> None:
    code = "import runpy, sys; runpy.run_path(sys.argv[1]); print(*sys.modules)"
    file = wandb_process.__file__
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, file], capture_output=True, text=True, check=True
    )
    assert not [name for name in done.stdout.split() if name.startswith(("scalpel_bench", "torch", "pandas"))]


def test_tables_wait_beside_the_runs_to_be_sent(offline) -> None:
    """Elsewhere, `wandb sync` would drop them without a word if their folder were gone."""
    staged = list((offline / "results/wandb/data").glob("*/analysis-*/artifacts/staging/*"))
    assert len(staged) >= 3


def test_nothing_tells_the_key_the_user_or_the_host(offline) -> None:
    """In no byte of what is written; leases, which name the host, are gone."""
    Folder(offline / FOLDER).pack()
    files = [file for file in (offline / "results").rglob("*") if file.is_file()]
    held = {
        file: lzma.decompress(file.read_bytes()) if file.suffix == ".xz" else file.read_bytes()
        for file in files
    }
    assert {".json", ".xz", ".html", ".csv", ".png", ".pdf", ".wandb"} <= {file.suffix for file in files}
    host = [socket.gethostname()] if len(socket.gethostname()) > 5 else []  # of few letters: found by chance
    for word in (KEY, *PLANTED.values(), *host):
        assert [file for file, content in held.items() if word.encode() in content] == [], word
    assert list((offline / "results").rglob("*.lease")) == []
    for run in runs(offline / "results").values():
        assert run["host"] == "scalpel"
        assert str(offline) not in json.dumps(run["config"])
        assert socket.gethostname() not in run["config"].get("environment", {}).values()


def test_a_diverged_run_has_no_end_values() -> None:
    from scalpel_bench.benchmarks.dashboard import runs as jobs
    from tests.benchmarks.runs import conditioning, plan, record

    run = record(plan(conditioning())[0], 1e30, 1.0, status="diverged")
    job = jobs.of_record(run.model_copy(update={"diverged_at": 7}))
    assert job.summary == {"status": "diverged", "diverged_at": 7, "timings/train": 1.0}
    assert job.history[0]["train/main"] == 1e30


@pytest.mark.slow
def test_online_the_server_receives_every_run(tmp_path, monkeypatch, capfd) -> None:
    with serve() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("WANDB_MODE", "online")
        assert scalpel(*SWEEP, cwd=tmp_path) == 0
    assert server.unknown == []
    for record in records(tmp_path):
        run, rows = server.runs[record["id"]], record["trajectory"]
        assert (run["groupName"], run["jobType"]) == ("conditioning/smoke", record["run"]["label"])
        assert (run["host"], run["program"], run["exitcode"]) == (None, "scalpel", 0)
        assert run["config"]["lam"] == record["run"]["lam"]
        assert [run["history"][k]["test/aux"] for k in sorted(run["history"])] == [
            row["test"]["aux"] for row in rows
        ]
        assert run["summary"]["test/main"] == rows[-1]["test"]["main"]
    assert len(server.runs) == 5
    assert any(path.endswith("fronts.table.json") for path in server.uploads)
    assert "5 runs sent to" in capfd.readouterr().out


WRONG = {
    "bad project": (["--project", "a/b"], "a name cannot contain '/'"),
    "long project": (["--project", "p" * 129], "at most 128 characters"),
    "no records": ([], "results: no records in any <experiment>/<scale>/runs"),
    "no such folder": (["nowhere"], "nowhere: no records; give folders such as results/fig3a/laptop"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_gets_one_line_and_status_2(case, tmp_path, capfd) -> None:
    arguments, message = WRONG[case]
    (tmp_path / "results").mkdir()
    if arguments[:1] == ["--project"]:
        (tmp_path / FOLDER / "runs").mkdir(parents=True)
        (tmp_path / FOLDER / "runs" / "x.json").write_text("{}")
    assert scalpel("dashboard", *arguments, "--wandb", "offline", cwd=tmp_path) == 2
    error = capfd.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_without_a_login_nothing_is_run_or_written(tmp_path, capfd) -> None:
    assert scalpel(*SWEEP, "--wandb", "online", cwd=tmp_path) == 2
    assert "nobody is logged in; run `wandb login`" in capfd.readouterr().err
    assert list((tmp_path / "results").rglob("experiment.json")) == []
    assert records(tmp_path) == []


LOST = {
    "nothing listens": ({}, "http://127.0.0.1:9"),
    "the key is refused": ({"refuse": 401}, None),
    "it dies after two runs": ({"accept": 2}, None),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", LOST)
def test_losing_the_server_stops_nothing(case, tmp_path, monkeypatch, capfd) -> None:
    options, url = LOST[case]
    with serve(**options) as server:
        monkeypatch.setenv("WANDB_BASE_URL", url or server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("WANDB_INIT_TIMEOUT", "3")
        monkeypatch.setenv("WANDB_FINISH_TIMEOUT", "3")
        assert scalpel(*SWEEP, "--wandb", "online", cwd=tmp_path) == 0
    assert len(records(tmp_path)) == 4
    assert (tmp_path / FOLDER / "metrics.csv").exists()
    shown = capfd.readouterr()
    (line,) = [line for line in shown.err.splitlines() if "W&B" in line]
    assert "of 5 runs were not sent" in line
    assert line.endswith(f"scalpel dashboard {FOLDER} --wandb online --project scalpel")
    assert KEY not in shown.out + shown.err


@pytest.mark.slow
def test_wandb_sync_delivers_the_tables_of_an_offline_sweep(offline) -> None:
    folders = sorted((offline / "results/wandb").glob("offline-run-*"))
    with serve() as server:
        variables = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}
        command = [sys.executable, "-m", "wandb", "sync", *map(str, folders)]
        done = subprocess.run(command, cwd=offline, env=os.environ | variables, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(server.runs) == 5
    tables = {path.rpartition("/")[2] for path in server.uploads if path.endswith(".table.json")}
    assert {"runs.table.json", "fronts.table.json", "metrics.table.json"} <= tables
