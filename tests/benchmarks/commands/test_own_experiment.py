"""The user's own task and experiment: from templates to a page, and the command that is pasted."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from scalpel_bench import methods, tasks
from scalpel_bench.benchmarks.cli import parsing
from scalpel_bench.benchmarks.commands.new import new
from scalpel_bench.benchmarks.commands.new_box import new_box
from scalpel_bench.benchmarks.commands.new_experiment import new_experiment
from scalpel_bench.benchmarks.commands.sweep import _propose_box
from scalpel_bench.benchmarks.experiments.command_line import sweep_command
from scalpel_bench.benchmarks.experiments.loading import load
from scalpel_bench.benchmarks.experiments.schema import Experiment
from scalpel_bench.benchmarks.messages import UserError
from scalpel_bench.benchmarks.records import Folder, load_sweep, read_manifest
from tests.benchmarks.command_line import SOURCE, scalpel
from tests.benchmarks.recorded import recorded

DOCUMENT = (Path(__file__).parents[3] / "docs" / "experiments.md").read_text()
CLAIM = """
[[claims]]
id = "mine"
text = "Bloop's front is better"
kind = "better"
method = "bloop"
than = ["sum"]
"""


@pytest.fixture(autouse=True)
def _forget():
    yield
    for registry, name in ((tasks.REGISTRY, "my_task"), (methods.REGISTRY, "my_idea")):
        registry.remove(name)
        registry._files.clear()


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder with a task, a method in a folder below, and an experiment, in which the command is."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ideas").mkdir()
    new("task", "my_task", Path())
    new("method", "my_idea", Path("ideas"))
    new_experiment("my_task.py:MyTask", Path())
    return tmp_path


def pasted(command: str, folder: Path) -> str:
    """What a shell says that runs the command elsewhere."""
    tool = folder / "bin" / "scalpel"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m scalpel_bench.benchmarks.cli "$@"\n')
    tool.chmod(0o755)
    path = os.pathsep.join([str(tool.parent), os.environ["PATH"]])
    variables = {**os.environ, "PATH": path, "PYTHONPATH": SOURCE, "COLUMNS": "120"}
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, cwd="/", env=variables, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_documents_way_to_a_page(tmp_path) -> None:
    block = re.search(r"## Your own experiment\n\n```sh\n(.*?)```", DOCUMENT, re.S)
    assert block
    said = []
    for line in block[1].splitlines():
        command, _, target = line.partition("#")[0].partition(">>")
        short = re.sub(r"(sweep|box) my_experiment.toml", r"\1 my_experiment.toml --scale smoke", command)
        workers = ["--workers", "1"] if "sweep" in short else []
        said.append(scalpel(*shlex.split(short)[1:], *workers, cwd=tmp_path).stdout)
        if target:
            with (tmp_path / target.strip()).open("a") as out:
                out.write(said[-1] + CLAIM)
    proposal = "scalpel new box my_experiment.toml --scale smoke >> my_experiment.toml"
    assert f"no fronts are compared; next: {proposal}" in said[2]
    assert "2 recorded already, 6 to do" in said[4]
    assert "has no box" not in said[4]
    page = (tmp_path / "results/my_experiment/smoke/report.html").read_text()
    assert "Bloop&#39;s front is better" in page
    assert "our own question" in page
    assert "smaller than" not in page
    assert 'class="kicker"' not in page
    assert "With 1 seed, intervals say little." in page


@pytest.mark.slow
def test_the_command_of_a_record_can_be_pasted_and_finds_nothing_to_do(folder) -> None:
    words = "sweep my_experiment.toml --scale smoke --lam 0.5 --methods sum,ideas/my_idea.py:MyIdea --seeds 1"
    words += " --axis training.lr=0.01,0.02 --set training.epochs=1 --set task.width=2 --data ideas"
    scalpel(*words.split(), "--results", "other results", "--workers", "1", cwd=folder)
    provenance = json.loads((folder / "other results/my_experiment/smoke/provenance.json").read_text())
    (command,) = provenance["commands"]
    assert "6 runs, 6 recorded already, 0 to do" in pasted(command, folder)


def test_the_command_begins_in_the_folder_and_names_no_user(folder, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    own = load("my_experiment.toml", "smoke")
    command = sweep_command(own, {"folder"}, str(folder / "data"), folder / "results")
    assert command == (
        f"cd ~/{folder.name} && scalpel sweep my_experiment.toml --scale smoke --seeds 1 --data data"
    )
    of_the_suite = sweep_command(load("fig2", "smoke"), {"folder"}, str(folder), folder / "elsewhere")
    assert of_the_suite == "scalpel sweep fig2 --scale smoke --seeds 1 --data PATH"


def test_settings_of_the_command_are_read_as_they_were(folder) -> None:
    changes = {
        "task": {"width": 3},
        "training": {"step_of": {"name": "bloop", "rho": 0.5}, "optimizer": "sgd", "bf16": True},
    }
    changed = load("my_experiment.toml", "smoke", changes)
    words = shlex.split(sweep_command(changed, {None}))
    given = [words[at + 1] for at, word in enumerate(words) if word == "--set"]
    assert len(given) == 4
    assert load("my_experiment.toml", "smoke", parsing.settings(given)) == changed


def test_the_experiment_of_a_task_runs_as_it_is_and_compares_what_its_losses_allow(folder) -> None:
    own = load("my_experiment.toml", "laptop")
    assert isinstance(own, Experiment)
    assert list(own.methods) == ["sum", "pcgrad", "dynamic_barrier", "bloop"]
    assert (own.seeds, len(own.lam), own.task["width"]) == (3, 8, 1)
    assert own.caption == "My task"
    text = Path("my_experiment.toml").read_text()
    claimed = text[text.index("# [[claims]]") : text.index("# A scale")].replace("\n# ", "\n")[2:]
    Path("claimed.toml").write_text(text.replace("# A scale", claimed + "\n# A scale"))
    assert [claim.paper for claim in load("claimed.toml", "smoke").claims] == ["our own question"]
    new_experiment("pinn", Path())  # of four losses
    flow = load("pinn_experiment.toml", "smoke")
    assert isinstance(flow, Experiment)
    assert list(flow.methods) == ["sum", "pcgrad", "bloop"]
    with pytest.raises(UserError, match="my_experiment.toml exists already"):
        new_experiment("my_task.py:MyTask", Path())
    with pytest.raises(UserError, match="unknown task 'my_tsk': did you mean my_task"):
        new_experiment("my_tsk", Path())


def test_loose_files_are_found_from_the_folder_of_the_file(folder, monkeypatch) -> None:
    text = Path("my_experiment.toml").read_text()
    Path("my_experiment.toml").write_text(
        text.replace("# mine = {", "mine = {").replace('"my_idea.py', '"ideas/my_idea.py')
    )
    monkeypatch.chdir("/")
    own = load(f"{folder}/my_experiment.toml", "laptop")
    assert isinstance(own, Experiment)
    assert (own.task["name"], own.methods["mine"]["name"]) == ("my_task", "my_idea")


def test_a_file_needs_neither_title_nor_labels_nor_scales(tmp_path) -> None:
    (tmp_path / "a_try.toml").write_text(
        "seeds = 1\nlam = [1.0]\n[task]\nname = 'quadratic'\n[methods]\nsum = {}\n"
        "[training]\noptimizer = 'sgd'\nlr = 0.1\nepochs = 1\n"
    )
    own = load(str(tmp_path / "a_try.toml"), "laptop")
    assert isinstance(own, Experiment)
    assert (own.caption, own.labels.main, own.labels.aux) == ("A try", "main loss", "auxiliary loss")
    assert not own.of_a_paper
    with pytest.raises(UserError, match="unknown scale 'paper'; known: laptop"):
        load(str(tmp_path / "a_try.toml"), "paper")


def test_a_single_run_of_a_loose_task_needs_no_experiment(folder) -> None:
    words = "run --task my_task.py:MyTask --method bloop --lam 0.5 --set task.width=3 --dry-run"
    said = scalpel(*words.split(), "--set", "training.epochs=2", cwd=folder).stdout
    assert "no experiment of the suite uses my_task: 2 epochs of adam at lr 0.01" in said
    assert "bloop" in said
    wrong = scalpel(*words.split(), "--set", "training.epoch=2", cwd=folder, status=2).stderr
    assert "training.epoch: unknown key" in wrong


def test_a_box_of_ones_own_is_proposed_once(folder, capsys) -> None:
    with pytest.raises(UserError, match="has no runs; .* scalpel sweep my_experiment.toml --scale smoke"):
        new_box("my_experiment.toml", "smoke", Path("results"))
    sweep = load_sweep(Folder(recorded(folder / "conditioning" / "smoke")))
    own = load("my_experiment.toml", "smoke")
    _propose_box(own, sweep, Path("my results"))
    assert (
        "scalpel new box my_experiment.toml --scale smoke --results 'my results' >> my"
        in capsys.readouterr().out
    )
    _propose_box(load("conditioning", "smoke"), sweep, Path("results"))
    assert capsys.readouterr().out == ""
    manifest = sweep.folder.path / "experiment.json"
    assert read_manifest(sweep.folder).experiment.file is None
    manifest.write_text(manifest.read_text().replace('"seeds"', '"file": "my_experiment.toml", "seeds"', 1))
    with pytest.raises(UserError, match="not a manifest of this version"):
        read_manifest(sweep.folder)
    with Path("my_experiment.toml").open("a") as file:
        file.write(BOX)
    _propose_box(load("my_experiment.toml", "smoke"), sweep, Path("results"))
    assert capsys.readouterr().out == ""
    with pytest.raises(UserError, match="has a box at scale smoke already"):
        new_box("my_experiment.toml", "smoke", Path("results"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("sweep my_experiment", "unknown experiment 'my_experiment': did you mean my_experiment.toml?"),
        ("sweep my_task.py:MyTask", "is a task: `scalpel new experiment my_task.py:MyTask` writes"),
        ("new experiment my_task.py", "my_task.py is a file: say which class, my_task.py:MyTask"),
        ("run --task my_task.py --method sum", "my_task.py is a file: say which class, my_task.py:MyTask"),
        ("check ideas/my_idea.py", "say which class, ideas/my_idea.py:MyIdea"),
        ("new box fig99", "unknown experiment 'fig99': did you mean fig"),
        ("new experiment bloop", "unknown task 'bloop'; known: "),
        ("sweep my_experiment.toml --set task.widht=1", "unknown setting 'widht': did you mean width?"),
        ("run --task my_task.py:MyTask --method sum --set training.lrr=1", "did you mean lr?"),
        ("run --task my_task.py:MyTask --method bloop --set method.rhoo=1", "did you mean rho?"),
    ],
)
def test_what_a_newcomer_gets_wrong_is_told_with_what_was_meant(words: str, told: str, folder) -> None:
    said = scalpel(*words.split(), cwd=folder, status=2).stderr
    assert told in said
    assert said.count("\n") == 1
    assert not (folder / "results").exists()


BOX = """
[scales.smoke.box]
aux = [0.2, 0.5]
main = [0.1, 0.3]
reason = "a test"
date = 2026-11-25
tighter = { aux = [0.3, 0.4], main = [0.1, 0.2] }
wider = { aux = [0.1, 0.6], main = [0.05, 0.4] }
"""
