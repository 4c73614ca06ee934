"""Methods from outside: loose files and templates, through real processes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scalpel_bench import methods, tasks
from scalpel_bench.benchmarks.commands.check import check
from scalpel_bench.benchmarks.commands.new import new
from scalpel_bench.benchmarks.contract import method_rules, task_rules
from scalpel_bench.benchmarks.execution import ExecutionOptions, Job, execute
from scalpel_bench.benchmarks.messages.errors import UserError
from scalpel_bench.benchmarks.records import Folder
from tests.benchmarks import regression
from tests.benchmarks.command_line import SMALL, in_turn, process, scalpel

ROOT = Path(__file__).parents[3]


def test_a_file_takes_part_in_a_sweep_and_its_content_in_the_identity(tmp_path) -> None:
    new("method", "my_idea", tmp_path)
    sweep = ["sweep", "conditioning", *SMALL, "--methods", "sum,my_idea.py:MyIdea"]
    assert "4 runs, 0 recorded already" in scalpel(*sweep, cwd=tmp_path).stdout
    methods.REGISTRY.remove("my_idea")
    runs = [json.loads(f.read_text())["run"] for f in tmp_path.glob("results/conditioning/smoke/runs/*")]
    mine = [run for run in runs if run["label"] == "my_idea"]
    assert len(mine) == 2
    assert mine[0]["method"]["origin"].startswith("file ")
    assert ".py" not in json.dumps(mine)
    file = tmp_path / "my_idea.py"
    file.write_text(file.read_text() + "\n# changed\n")
    again = process(*sweep, "--dry-run", cwd=tmp_path)
    assert "2 recorded already, 2 to do" in again.stdout


EXPERIMENT = """
title = "Mine"
paper = "none"
seeds = 1
lam = [0.1, 1.0]
task = { name = "my_task.py:MyTask", batch_size = 64 }
methods = { sum = {}, mine = { name = "my_idea.py:MyIdea" } }
training = { optimizer = "sgd", lr = 0.01, epochs = 3 }
labels = { main = "main", aux = "aux" }
[scales.laptop]
"""


def test_two_methods_may_stand_in_one_file(tmp_path) -> None:
    new("method", "my_idea", tmp_path)
    file = tmp_path / "my_idea.py"
    text = file.read_text()
    other = text[text.index("@dataclass") :].replace("MyIdea", "Other").replace('"my_idea"', '"other"')
    file.write_text(f"{text}\n\n{other}")
    one, another = (methods.get(f"{file}:{name}") for name in ("MyIdea", "Other"))
    assert methods.REGISTRY.files({"my_idea", "other"}) == {
        "my_idea": f"{file}:MyIdea",
        "other": f"{file}:Other",
    }
    assert one.__module__ == another.__module__
    with pytest.raises(ValueError, match="has no class Third"):
        methods.get(f"{file}:Third")
    assert methods.get("my_idea") is one
    for name in ("my_idea", "other"):
        methods.REGISTRY.remove(name)


@pytest.mark.slow
def test_an_experiment_file_may_name_task_and_method_files(tmp_path) -> None:
    new("method", "my_idea", tmp_path)
    new("task", "my_task", tmp_path)
    (tmp_path / "mine.toml").write_text(EXPERIMENT)
    run = "run --task conditioning --method my_idea.py:MyIdea --scale smoke --results other"
    assert "4 runs in" in in_turn("sweep mine.toml --workers 1", run, cwd=tmp_path)
    (other,) = tmp_path.glob("other/run/smoke/runs/*")
    assert ".py" not in other.read_text()
    texts = [f.read_text() for f in tmp_path.glob("results/mine/laptop/runs/*")]
    assert ['"status":"completed"' in text and ".py" not in text for text in texts] == [True] * 4
    assert ".py" not in (tmp_path / "results/mine/laptop/experiment.json").read_text()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    report = f"report {tmp_path}/results/mine/laptop"
    assert "main loss relative to sum" in in_turn(report, cwd=elsewhere)


def test_the_templates_keep_the_contract(tmp_path) -> None:
    for kind, name, rules in (("method", "my_idea", method_rules()), ("task", "my_task", task_rules())):
        new(kind, name, tmp_path)
        cls = "".join(part.capitalize() for part in name.split("_"))
        for rule in rules.values():
            rule(f"{tmp_path / name}.py:{cls}")
    for registry, name in ((methods.REGISTRY, "my_idea"), (tasks.REGISTRY, "my_task")):
        registry.remove(name)


@pytest.mark.slow
def test_the_templates_pass_their_own_tests(tmp_path) -> None:
    new("method", "my_idea", tmp_path)
    new("task", "my_task", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        cwd=tmp_path,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"\n\d+ passed in ", done.stdout)


def test_inside_the_repository_the_template_joins_the_package(tmp_path) -> None:
    (tmp_path / "methods").mkdir()
    (tmp_path / "src" / "scalpel_bench").mkdir(parents=True)
    (tmp_path / "src" / "scalpel_bench" / "registry.py").write_text("")
    lines = new("method", "my_idea", tmp_path)
    assert (tmp_path / "methods" / "my_idea.py").exists()
    assert "scalpel check my_idea" in lines


@pytest.mark.parametrize("name", ["My Idea", "class", "1st", "../up", "UPPER", "naïve", "_x"])
def test_a_bad_name_is_refused(name: str, tmp_path) -> None:
    with pytest.raises(UserError, match="is no name for a method"):
        new("method", name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_class_of_a_name_that_the_template_imports_is_refused(tmp_path) -> None:
    with pytest.raises(UserError, match="'data': its class would be Data, which the file imports"):
        new("task", "data", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_taken_names_and_files_are_refused(tmp_path) -> None:
    with pytest.raises(UserError, match="there is a method 'sum' already: scalpel_bench.methods.sum.Sum"):
        new("method", "sum", tmp_path)
    (tmp_path / "mine.py").write_text("")
    with pytest.raises(UserError, match="mine.py exists already"):
        new("method", "mine", tmp_path)


BROKEN = {
    "does not import": ("import torchh\n", "ModuleNotFoundError: No module named 'torchh'"),
    "does not parse": ("def :\n", r"SyntaxError: invalid syntax \(line 1\)"),
    "has no such class": ("x = 1\n", "it has no class Mine"),
    "is no method": ("class Mine: pass\n", "Mine is no method with a name of its own"),
    "has no name": (
        "from scalpel_bench.methods import Method\nclass Mine(Method): pass\n",
        "Mine is no method with a name",
    ),
    "takes a name": (
        "from scalpel_bench.methods import Method\nclass Mine(Method): name = 'sum'\n",
        "two methods are named 'sum': scalpel_bench.methods.sum.Sum and .*mine.py:Mine",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_refused_and_other_methods_stay_usable(case: str, tmp_path) -> None:
    text, message = BROKEN[case]
    (tmp_path / "mine.py").write_text(text)
    before = methods.available()
    with pytest.raises(ValueError, match=f"method file .*mine.py: .*{message}"):
        methods.create(f"{tmp_path}/mine.py:Mine")
    assert methods.available() == before
    assert methods.create("sum").name == "sum"


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ValueError, match="method file nowhere.py: no such file"):
        methods.create("nowhere.py:Mine")


def test_a_file_that_breaks_the_contract_is_refused_before_anything_is_run(tmp_path) -> None:
    new("method", "my_idea", tmp_path)
    file = tmp_path / "my_idea.py"
    file.write_text(
        file.read_text().replace("divide(agreement, gram[..., 0, 0])", "agreement / gram[..., 0, 0]")
    )
    sweep = ["sweep", "conditioning", *SMALL, "--methods", "sum,my_idea.py:MyIdea"]
    refused = scalpel(*sweep, cwd=tmp_path, status=2).stderr
    assert "my_idea.py:MyIdea breaks the rule 'no NaN on zero" in refused
    assert not (tmp_path / "results").exists()
    output = scalpel("check", "my_idea.py:MyIdea", cwd=tmp_path, status=2).stdout
    assert "FAIL  no NaN on zero" in output
    assert "ok    equal calls give equal directions" in output
    methods.REGISTRY.remove("my_idea")


def test_losses_that_cannot_be_vectorised_are_noted(tmp_path) -> None:
    """A sweep trains such runs one by one, in a population too, and fails none."""
    new("task", "branching", tmp_path)
    file = tmp_path / "branching.py"
    assert check(f"{file}:Branching").note == ""
    tasks.REGISTRY.remove("branching")
    (tmp_path / "value.py").write_text(
        file.read_text().replace("yield aux\n", "yield aux if aux > 0 else 0 * aux\n")
    )
    found = check(f"{tmp_path}/value.py:Branching")
    assert not any(found.problems.values())
    assert "data-dependent control flow): a sweep trains its runs one by one" in found.note
    runs = [
        regression.run_of(lam=lam).model_copy(update={"task": {"name": "branching"}}) for lam in (0.1, 1.0)
    ]
    ended = execute([Job(run, Folder(tmp_path)) for run in runs], ExecutionOptions())
    tasks.REGISTRY.remove("branching")
    assert [done.record.status for done in ended] == ["completed", "completed"]
    assert {done.record.environment["population"] for done in ended} == {1}


def test_metrics_that_are_no_numbers_are_told_by_check_and_fail_their_run_alone(tmp_path) -> None:
    new("task", "tensors", tmp_path)
    file = tmp_path / "tensors.py"
    file.write_text(file.read_text().replace(".item()", ""))
    assert "main is no float, but Tensor" in str(check(f"{file}:Tensors").problems)
    run = regression.run_of(lam=0.1).model_copy(update={"task": {"name": "tensors"}})
    (done,) = execute([Job(run, Folder(tmp_path))], ExecutionOptions())
    tasks.REGISTRY.remove("tensors")
    assert done.record.status == "failed"
    assert "Tensor" in done.record.reason


def test_a_method_without_lam_last_is_told_of_it(tmp_path) -> None:
    new("method", "balanced", tmp_path)
    file = tmp_path / "balanced.py"
    text = file.read_text()
    assert "# lam_last: ClassVar[bool] = True" in text
    text = text.replace("1 - divide(agreement, gram[..., 0, 0])", "torch.ones_like(agreement)")
    text = text.replace("torch.ones_like(main)]", "divide(gram[..., 0, 0].sqrt(), gram[..., 1, 1].sqrt())]")
    rule = "lambda is to it what it says"
    for name, remedied in (("without", False), ("with_it", True)):
        copy = text.replace('"balanced"', f'"{name}"')
        copy = copy.replace("# lam_last:", "lam_last:") if remedied else copy
        (tmp_path / f"{name}.py").write_text(copy)
        problem = check(f"{tmp_path}/{name}.py:Balanced").problems[rule]
        methods.REGISTRY.remove(name)
        assert ("set lam_last = True" in problem, problem == "") == (not remedied, remedied)
