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
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

from scalpel_bench import methods
from scalpel_bench.benchmarks.cli import main
from scalpel_bench.benchmarks.cli.parsing import checked
from scalpel_bench.benchmarks.messages import terminal
from tests.benchmarks.conftest import KILLER

SOURCE = str(Path(__file__).parents[2] / "src")
SMALL = ["--scale", "smoke", "--workers", "1"]


class Said(NamedTuple):
    """What a command wrote."""

    stdout: str
    stderr: str


def process(*arguments: str, cwd: Path, status: int = 0, **environment: str) -> Said:
    """The command, or other Python, as a process of its own."""
    given = arguments if arguments[0] == "-c" else ("-m", "scalpel_bench.benchmarks.cli", *arguments)
    command = [sys.executable, *given]
    variables = {**os.environ, "PYTHONPATH": SOURCE, "COLUMNS": "120", **environment}
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=variables, timeout=240)
    assert done.returncode == status, done.stdout + done.stderr
    return Said(done.stdout, done.stderr)


def scalpel(*arguments: str, cwd: Path, status: int = 0) -> Said:
    """The command in this process; its workers are processes of their own."""
    out, error = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patch, chdir(cwd), redirect_stdout(out), redirect_stderr(error):
        patch.setattr(sys, "argv", ["scalpel", *arguments])
        patch.setenv("COLUMNS", "120")
        patch.setattr(terminal.console, "_width", 120)  # which has read the variable long ago
        with pytest.raises(SystemExit) as caught:
            main()
    said = Said(out.getvalue(), error.getvalue())
    assert (caught.value.code or 0) == status, said
    return said


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
        *("front_ratio", "aux_at_par", "hypervolume", "igd_plus", "coverage", "points"),
        *("p_front_ratio", "p_aux_at_par", "p_hypervolume", "p_igd_plus"),
    }
    assert set(pd.read_csv(folder / "attainment.csv")["percentile"]) == {25, 50, 75}
    assert len(pd.read_csv(folder / "selected.csv")["method"].unique()) == 6
    for name in ("fronts", "paths"):
        for suffix in ("png", "pdf"):
            assert (folder / "figures" / f"{name}.{suffix}").stat().st_size > 5000


def test_a_sweep_on_images_shows_some_of_them(tmp_path) -> None:
    scalpel("sweep", "fig4", *SMALL, "--methods", "sum", "--lam", "1", cwd=tmp_path)
    folder = tmp_path / "results" / "fig4" / "smoke"
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
        "report",
        "dashboard",
        "check",
        "new",
        "bench",
        "simulate",
    )
    inner = ("verify", "pack", "fill")
    commands = [["--help"], ["--version"], ["results", "--help"], ["new", "method", "mine"]]
    commands += [["list"], *([command, "--help"] for command in top)]
    commands += [["results", command, "--help"] for command in inner]
    done = process("-c", STARTED.format(commands=commands), cwd=tmp_path)
    for name in ("bloop_no_ema", "smooth_mlp", "fig3a", "Figure 2", "Hsieh et al. 2024", "needs losses"):
        assert name in done.stdout
    assert re.search(r"^scalpel \d+\.\d+\.\d+, suite \d+\.\d+$", done.stdout, re.M)


WRONG = {
    "unknown method": (
        ["run", "--task", "quadratic", "--method", "blop"],
        "unknown method 'blop': did you mean bloop",
    ),
    "unknown task": (["run", "--task", "mlp", "--method", "sum"], "unknown task 'mlp'"),
    "unknown experiment": (["sweep", "fig99"], "unknown experiment 'fig99': did you mean fig"),
    "unknown scale": (["sweep", "fig3a", "--scale", "big"], "unknown scale 'big'"),
    "scale of none": (
        ["reproduce", "--scale", "huge"],
        "--scale huge: no such scale, choose from smoke, laptop, workstation, paper",
    ),
    "scale of one": (["reproduce", "--scale", "released"], "--scale released: not every experiment has it"),
    "no argument": (["sweep"], "Missing argument 'EXPERIMENT'; try scalpel sweep --help"),
    "unknown option": (["sweep", "fig3a", "--sed", "1"], "No such option: --sed"),
    "unknown command": (["swep"], "No such command 'swep'. Did you mean 'sweep'? Try scalpel --help"),
    "unknown inner command": (["results", "verfy"], "Did you mean 'verify'? Try scalpel results --help"),
    "word for a number": (["sweep", "fig3a", "--seeds", "x"], "Invalid value for '--seeds': "),
    "no choice": (["list", "nonsense"], "'nonsense' is not one of"),
    "option without a value": (["sweep", "fig3a", "--seeds"], "'--seeds' requires an argument"),
    "neither method nor task": (["check", "multi_digit"], "'multi_digit': did you mean multi_digits?"),
    "no such file": (["check", "nowhere.py"], "nowhere.py: no such file"),
    "unknown key": (["sweep", "fig3a", "--set", "training.speed=1"], "training.speed: unknown key"),
    "negative lam": (["run", "--task", "quadratic", "--method", "sum", "--lam", "-1"], "lam must be finite"),
    "infinite lam": (["sweep", "quadratic", "--lam", "0.1,inf"], "λ must be finite and at least 0"),
    "bad rho": (["run", "--task", "quadratic", "--method", "bloop", "--rho", "0"], "rho must lie in (0, 1]"),
    "rho without EMA": (["run", "--task", "quadratic", "--method", "sum", "--rho", "0.1"], "rho"),
    "empty grid": (["sweep", "quadratic", "--lam", ","], "--lam: the grid is empty"),
    "no methods": (["sweep", "quadratic", "--methods", ""], "--methods: the grid is empty"),
    "word in grid": (["sweep", "quadratic", "--lr", "fast"], "could not convert string to float: 'fast'"),
    "missing folder": (["sweep", "fig3a", "--data", "nowhere"], "nowhere: no such folder"),
    "name too long": (["sweep", "fig3a", "--data", "x" * 300], "xxx: File name too long"),
    "folder lacks it": (["sweep", "fig3a", "--data", "."], "ylecun/mnist could not be read"),
    "embedded at workstation": (["sweep", "fig3a", "--scale", "workstation"], "needs its real data"),
    "unwritable results": (["sweep", "fig2", "--results", "/proc/x"], "results folder /proc/x"),
    "no device": (["sweep", "fig2", "--device", "warp"], "--device warp"),
    "device of nothing": (["sweep", "fig2", "--device", "meta"], "--device meta: it holds no numbers"),
    "report of nothing": (["report", "nowhere"], "experiment.json: no such file"),
    "half a seed": (["simulate", "verdicts", "--seeds", "2.5"], "--seeds 2.5: write whole numbers"),
    "no noise": (["simulate", "verdicts", "--noise-of", "nowhere"], "results/nowhere"),
    "batch too large": (
        ["run", "--task", "smooth_mlp", "--method", "sum", "--set", "task.batch_size=99999"],
        "batch_size",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_gets_one_line_and_status_2(case, tmp_path, monkeypatch, capfd) -> None:
    arguments, message = WRONG[case]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["scalpel", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    error = capfd.readouterr().err
    assert caught.value.code == 2
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


FILES = {
    "idea.py": "class Idea: pass\n",
    "broken.py": "def :\n",
    "neither.py": "from scalpel_bench.tasks import Task\nclass Neither(Task): pass\n",
}
MEANT = {
    "check": (["check", "idea"], "unknown method or task 'idea': did you mean idea.py:Idea?"),
    "check, with its class": (["check", "idea:Idea"], "did you mean idea.py:Idea?"),
    "sweep": (["sweep", "fig3a", "--methods", "sum,idea"], "method 'idea': did you mean idea.py:Idea?"),
    "compare": (["compare", "idea", "--on", "fig3a"], "unknown method 'idea': did you mean idea.py:Idea?"),
    "method": (["run", "--task", "mlp", "--method", "idea"], "method 'idea': did you mean idea.py:Idea?"),
    "task": (["run", "--task", "idea", "--method", "sum"], "task 'idea': did you mean idea.py:Idea?"),
    "no class": (["check", "idea.py"], "idea.py is a file: say which class, idea.py:Idea"),
    "no Python": (["check", "broken.py"], "error: broken.py: SyntaxError: invalid syntax (line 1)"),
    "no Python, with a class": (["check", "broken.py:X"], "error: broken.py: SyntaxError: invalid syntax"),
    "no name": (["check", "neither.py:Neither"], "neither a method nor a task with a name of its own"),
}


@pytest.mark.parametrize("case", MEANT)
def test_a_file_that_is_meant_is_named(case, tmp_path, monkeypatch, capfd) -> None:
    arguments, message = MEANT[case]
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["scalpel", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    error = capfd.readouterr().err
    assert (caught.value.code, error.count("\n")) == (2, 1)
    assert message in error


def test_a_name_of_the_suite_is_no_file(tmp_path, monkeypatch) -> None:
    (tmp_path / "sum.py").write_text("")
    (tmp_path / "mine.py").write_text("")
    monkeypatch.chdir(tmp_path)
    assert checked("sum", "method") == "sum"
    assert checked("mine", "method", ["mine"]) == "mine"


def test_a_command_that_only_has_others_shows_its_help(capfd, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["scalpel", "results"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "Commands:" in "".join(capfd.readouterr())


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


def test_a_wrong_flag_exits_with_2_from_a_real_process(tmp_path) -> None:
    done = process("sweep", "fig3a", "--data", "nowhere", cwd=tmp_path, status=2)
    assert done.stderr.startswith("scalpel: error: --data nowhere: no such folder")
    assert "Traceback" not in done.stderr
    assert "No such option" in scalpel("sweep", "fig3a", "--colour", "red", cwd=tmp_path, status=2).stderr
