"""The command line: what it starts, says and leaves."""

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from scalpel_bench import methods
from tests.benchmarks.command_line import SMALL, SOURCE, process, scalpel
from tests.benchmarks.conftest import KILLER


def test_a_signal_that_comes_after_the_end_changes_nothing(tmp_path) -> None:
    code = """
import atexit, os, signal, sys
signals = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
atexit.register(lambda: [os.kill(os.getpid(), number) for number in signals])
from scalpel_bench.benchmarks.cli import command
sys.argv = ["scalpel", "list", "experiments"]
command()
"""
    assert process("-c", code, cwd=tmp_path).stderr == ""


def test_the_end_of_a_terminal_is_still_ignored_where_nohup_said_so(tmp_path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        scalpel("list", "experiments", cwd=tmp_path)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("swept")
    scalpel("sweep", "conditioning", *SMALL, "--seeds", "2", cwd=folder)
    return folder


def test_sweep_writes_records_tables_and_figures(swept) -> None:
    folder = swept / "results" / "conditioning" / "smoke"
    assert len(list((folder / "runs").glob("*.json"))) == 22
    summary, fronts, metrics = (pd.read_csv(folder / f"{n}.csv") for n in ("summary", "fronts", "metrics"))
    assert len(summary) == 22
    assert set(fronts["split"]) == {"train", "validation", "test"}
    assert set(metrics["statistic"]) == {
        *("front_ratio", "line_ratio", "aux_at_par", "hypervolume", "igd_plus", "coverage", "points"),
        *("p_front_ratio", "p_line_ratio", "p_aux_at_par", "p_hypervolume", "p_igd_plus"),
    }
    assert set(pd.read_csv(folder / "attainment.csv")["percentile"]) == {25, 50, 75}
    assert len(pd.read_csv(folder / "selected.csv")["method"].unique()) == 6
    for name in ("fronts", "paths"):
        for suffix in ("png", "pdf"):
            assert (folder / "figures" / f"{name}.{suffix}").stat().st_size > 5000


@pytest.mark.draws
def test_a_sweep_on_images_shows_some_of_them(tmp_path) -> None:
    scalpel("sweep", "multi_digits", *SMALL, "--methods", "sum", "--lam", "1", cwd=tmp_path)
    folder = tmp_path / "results" / "multi_digits" / "smoke"
    assert {f.name for f in (folder / "figures").glob("*.png")} == {
        "fronts.png",
        "diagnostics.png",
        "samples.png",
    }
    assert len(pd.read_csv(folder / "summary.csv")) == 1


def test_one_learning_rate_is_the_fixed_one(tmp_path) -> None:
    scalpel("sweep", "conditioning", *SMALL, "--methods", "sum", "--lr", "0.01", cwd=tmp_path)
    fronts = pd.read_csv(tmp_path / "results" / "conditioning" / "smoke" / "fronts.csv")
    assert set(fronts["protocol"]) == {"fixed"}
    assert set(fronts["lr"]) == {0.01}


def test_one_learning_rate_takes_the_place_of_an_axis_of_them(tmp_path) -> None:
    dry = ("sweep", "text_conflict", "--scale", "smoke", "--methods", "sum,bloop", "--dry-run")
    assert "text_conflict: 2 runs" in scalpel(*dry, "--lr", "0.01", cwd=tmp_path).stdout
    assert "text_conflict: 6 runs" in scalpel(*dry, "--lr", "0.01,0.1", cwd=tmp_path).stdout  # two at λ = 0


def test_a_second_sweep_runs_nothing_and_keeps_everything(swept) -> None:
    runs = swept / "results" / "conditioning" / "smoke" / "runs"
    before = {f.name: f.stat().st_mtime_ns for f in runs.iterdir()}
    done = scalpel("sweep", "conditioning", *SMALL, "--seeds", "2", cwd=swept)
    assert "22 runs, 22 recorded already, 0 to do" in done.stdout
    assert {f.name: f.stat().st_mtime_ns for f in runs.iterdir()} == before


def test_a_sweep_that_was_cut_short_runs_what_is_missing(swept, tmp_path) -> None:
    shutil.copytree(swept / "results", tmp_path / "results")
    runs = tmp_path / "results" / "conditioning" / "smoke" / "runs"
    lost = sorted(runs.iterdir())[:5]
    whole = [f.read_text() for f in lost]
    for file in lost[:3]:
        file.unlink()
    for file in lost[3:]:
        file.write_text(file.read_text()[:200])
    done = scalpel("sweep", "conditioning", *SMALL, "--seeds", "2", cwd=tmp_path)
    assert "17 recorded already, 5 to do" in done.stdout

    def numbers(text: str) -> dict[str, object]:
        record = json.loads(text)
        del record["timings"], record["sha256"], record["environment"]["commit"]
        return record

    assert [numbers(f.read_text()) for f in lost] == [numbers(text) for text in whole]


@pytest.mark.slow
def test_ctrl_c_keeps_finished_runs_and_the_same_command_continues(tmp_path) -> None:
    arguments = [
        "sweep",
        "conditioning",
        "--scale",
        "smoke",
        "--workers",
        "2",
        "--set",
        "training.epochs=3000",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "scalpel_bench.benchmarks.cli", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": SOURCE},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    runs = tmp_path / "results" / "conditioning" / "smoke" / "runs"
    deadline = time.monotonic() + 120
    while not list(runs.glob("*.json")) and time.monotonic() < deadline:
        select.select([], [], [], 0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in error
    kept = len(list(runs.glob("*.json")))
    assert 1 <= kept < 11
    assert not list(runs.glob("*.tmp"))
    done = scalpel(*arguments, "--dry-run", cwd=tmp_path)
    assert f"11 runs, {kept} recorded already, {11 - kept} to do" in done.stdout
    assert f"{kept} recorded in all; the same command continues with the rest" in error


def test_report_makes_the_tables_again(swept, tmp_path) -> None:
    shutil.copytree(swept / "results" / "conditioning" / "smoke", tmp_path / "copy")
    metrics = (tmp_path / "copy" / "metrics.csv").read_text()
    for file in (*tmp_path.glob("copy/*.csv"), *tmp_path.glob("copy/figures/*")):
        file.unlink()
    done = scalpel("report", "copy", cwd=tmp_path)
    assert "main loss relative to sum" in done.stdout
    assert (tmp_path / "copy" / "metrics.csv").read_text() == metrics
    assert done.stdout.endswith("report: copy/report.html\n")
    assert (tmp_path / "copy" / "report.html").exists()


def test_run_is_a_sweep_of_one_run_which_is_kept(tmp_path) -> None:
    arguments = ["run", "--task", "conditioning", "--method", "bloop", "--lam", "0.5", "--rho", "0.1"]
    arguments += ["--set", "training.epochs=30", "--scale", "smoke"]
    done = scalpel(*arguments, cwd=tmp_path)
    assert "validation" in done.stdout
    (file,) = (tmp_path / "results" / "run" / "smoke" / "runs").glob("*.json")
    record = json.loads(file.read_text())
    assert record["run"]["experiment"] == "run"
    assert record["run"]["method"]["rho"] == 0.1
    written = file.stat().st_mtime_ns
    again = scalpel(*arguments, cwd=tmp_path)
    assert "recorded already" in again.stdout
    assert again.stdout[again.stdout.index("end values") :] == done.stdout[done.stdout.index("end values") :]
    assert file.stat().st_mtime_ns == written


def test_a_run_whose_worker_dies_is_tried_again_or_fails_with_status_3(tmp_path) -> None:
    (tmp_path / "killer.py").write_text(KILLER)
    (tmp_path / "marks").mkdir()
    arguments = ["run", "--task", "conditioning", "--method", "killer.py:Killer", "--scale", "smoke"]
    arguments += ["--set", f"method.marks={tmp_path}/marks", "--set", "method.times=1"]
    try:
        failed = scalpel(*arguments, "--retries", "0", cwd=tmp_path, status=3)
        assert "its worker was killed by SIGKILL" in failed.stdout
        for mark in (tmp_path / "marks").iterdir():
            mark.unlink()
        assert "validation" in scalpel(*arguments, cwd=tmp_path).stdout
    finally:
        methods.REGISTRY.remove("killer")
        methods.REGISTRY._files.clear()
    (file,) = (tmp_path / "results" / "run" / "smoke" / "runs").glob("*.json")
    assert json.loads(file.read_text())["lost"] == ["its worker was killed by SIGKILL (out of memory?)"]


def test_dry_run_writes_nothing(tmp_path) -> None:
    done = scalpel("reproduce", "--scale", "smoke", "--dry-run", cwd=tmp_path)
    assert "fig3a: 11 runs, 0 recorded already, 11 to do" in done.stdout
    assert "why: " not in done.stdout  # the suite's own question
    assert list(tmp_path.iterdir()) == []


STARTED = """
import sys
from scalpel_bench.benchmarks.cli import main
for arguments in {commands!r}:
    sys.argv = ["scalpel", *arguments]
    try:
        main()
    except SystemExit as end:
        assert not end.code, arguments
    heavy = {{"torch", "numpy", "pandas", "scipy", "matplotlib", "transformers"}} & sys.modules.keys()
    assert not heavy, (arguments, heavy)
"""


def test_help_lists_and_templates_import_nothing_heavy(tmp_path) -> None:
    top = (
        "list",
        "run",
        "sweep",
        "reproduce",
        "plan",
        "compare",
        "report",
        "leaderboard",
        "dashboard",
        "check",
        "new",
        "bench",
        "simulate",
    )
    inner = ("verify", "replay", "pack", "fill")
    commands = [["--help"], ["--version"], ["results", "--help"], ["new", "method", "mine"]]
    commands += [["list"], *([command, "--help"] for command in top)]
    commands += [["results", command, "--help"] for command in inner]
    done = process("-c", STARTED.format(commands=commands), cwd=tmp_path)
    for name in ("bloop_no_ema", "smooth_mlp", "fig3a", "Figure 2", "Hsieh et al. 2024", "needs losses"):
        assert name in done.stdout
    assert re.search(r"^scalpel \d+\.\d+\.\d+, suite \d+\.\d+$", done.stdout, re.M)


def test_a_terminal_that_lacks_letters_is_shown_their_numbers(tmp_path) -> None:
    done = process("list", "methods", cwd=tmp_path, PYTHONIOENCODING="ascii", LC_ALL="C")
    assert r"\u03bb" in done.stdout


def test_standard_output_may_be_closed(tmp_path) -> None:
    command = [sys.executable, "-m", "scalpel_bench.benchmarks.cli", "list"]
    variables = {**os.environ, "PYTHONPATH": SOURCE}
    listing = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=variables
    )
    assert listing.stdout is not None
    listing.stdout.close()
    assert listing.stderr is not None
    errors = listing.stderr.read()
    assert listing.wait() in (0, 1)
    assert "Traceback" not in errors
    assert "BrokenPipe" not in errors
