"""Methods from outside: loose files, templates, and an installed package, through real processes."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scalpel_bench import methods, tasks
from scalpel_bench.benchmarks.commands.check import check
from scalpel_bench.benchmarks.commands.new import new
from scalpel_bench.benchmarks.execution import ExecutionOptions, Job, execute
from scalpel_bench.benchmarks.messages.errors import UserError
from scalpel_bench.benchmarks.records import Folder
from scalpel_bench.entries import of_class
from scalpel_bench.registry import catalogue
from tests.benchmarks import regression

ROOT = Path(__file__).parents[2]


ONE_AFTER_THE_OTHER = """
import json, sys
from scalpel_bench.benchmarks.cli import main
status = 0
for arguments in json.loads(sys.argv[1]):
    sys.argv[1:] = arguments
    try:
        main()
    except SystemExit as ended:
        status = status or ended.code
sys.exit(status)
"""


def scalpel(*commands: str, cwd: Path, status: int = 0, path: str = "") -> str:
    """What commands say, one after the other in one process, of which the first that fails has the status."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT / "src"), path])),
        "COLUMNS": "160",
    }
    arguments = json.dumps([command.split() for command in commands])
    done = subprocess.run(
        [sys.executable, "-c", ONE_AFTER_THE_OTHER, arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
        timeout=240,
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def test_a_file_takes_part_in_a_sweep_and_its_content_in_the_identity(tmp_path) -> None:
    new("method", "my_idea", tmp_path)
    sweep = "sweep conditioning --scale smoke --workers 1 --methods sum,my_idea.py:MyIdea"
    assert "4 runs, 0 recorded already" in scalpel(sweep, cwd=tmp_path)
    runs = [json.loads(f.read_text())["run"] for f in tmp_path.glob("results/conditioning/smoke/runs/*")]
    mine = [run for run in runs if run["label"] == "my_idea"]
    assert len(mine) == 2
    assert mine[0]["method"]["origin"].startswith("file ")
    assert ".py" not in json.dumps(mine)
    file = tmp_path / "my_idea.py"
    file.write_text(file.read_text() + "\n# changed\n")
    assert "2 recorded already, 2 to do" in scalpel(f"{sweep} --dry-run", cwd=tmp_path)


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
    assert "4 runs in" in scalpel("sweep mine.toml --workers 1", run, cwd=tmp_path)
    assert all(".py" not in f.read_text() for f in tmp_path.glob("other/run/smoke/runs/*"))
    texts = [f.read_text() for f in tmp_path.glob("results/mine/laptop/runs/*")]
    assert all('"status":"completed"' in text and ".py" not in text for text in texts)
    assert ".py" not in (tmp_path / "results/mine/laptop/experiment.json").read_text()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    report = f"report {tmp_path}/results/mine/laptop"
    assert "main loss relative to sum" in scalpel(report, cwd=elsewhere)


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


@pytest.mark.parametrize("name", ["My Idea", "class", "1st", "../up", "UPPER"])
def test_a_bad_name_is_refused(name: str, tmp_path) -> None:
    with pytest.raises(UserError, match="is no name for a method"):
        new("method", name, tmp_path)
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
    sweep = "sweep conditioning --scale smoke --methods sum,my_idea.py:MyIdea"
    output = scalpel(sweep, "check my_idea.py:MyIdea", cwd=tmp_path, status=2)
    assert "my_idea.py:MyIdea breaks the rule 'no NaN on zero" in output
    assert not (tmp_path / "results").exists()
    assert "FAIL  no NaN on zero" in output
    assert "ok    equal calls give equal directions" in output


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


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The example plugin, and one that does not import, installed into a folder of their own."""
    site = tmp_path_factory.mktemp("site")
    broken = tmp_path_factory.mktemp("broken")
    (broken / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "broken-plugin"\nversion = "1"\n'
        '[project.entry-points."scalpel.methods"]\nbroken = "broken_plugin:Broken"\n'
        '[tool.setuptools]\npy-modules = ["broken_plugin"]\n'
    )
    (broken / "broken_plugin.py").write_text("import torchh\n")
    copy = tmp_path_factory.mktemp("copy")
    for file in (ROOT / "examples" / "plugin").iterdir():
        if file.is_file():
            (copy / file.name).write_text(file.read_text())
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--target", str(site), str(copy), str(broken)], check=True, capture_output=True)
    return site


def test_no_file_of_the_suite_is_broken() -> None:
    for registry in (methods.REGISTRY, tasks.REGISTRY):
        assert list(registry.classes()) == registry.available() != []
        assert registry.broken == {}


@pytest.mark.parametrize("registry", [methods.REGISTRY, tasks.REGISTRY])
def test_the_text_of_a_file_says_what_its_import_says(registry) -> None:
    for name, cls in registry.classes().items():
        entry, imported = catalogue(registry.package)[name], of_class(cls, None)
        assert (entry.place, entry.doc) == (imported.place, imported.doc)
        assert entry.attributes.items() <= imported.attributes.items()
        looks, kinds = (
            {"title", "color", "marker"},
            {"objectives", "properties", "lam_is", "arbitrary_length"},
        )
        for attribute in (looks | kinds) & set(dir(cls)):
            base = cls.__mro__[-3]  # before ABC and object
            expected = getattr(cls, attribute)
            if isinstance(expected, property):
                continue
            assert entry.attributes.get(attribute, getattr(base, attribute)) == expected


DROPPED = """
from dataclasses import dataclass
from typing import ClassVar
from scalpel_bench.methods import Bloop

@dataclass(frozen=True)
class {cls}(Bloop):
    \"\"\"What it does.\"\"\"
    name: ClassVar[str] = "{name}"
    title: ClassVar[str] = "Dropped in"
"""


@pytest.fixture
def package(tmp_path) -> Path:
    """A copy of what the methods need, with files dropped in, of which three cannot be used."""
    source = Path(methods.__file__).parents[1]
    copy = tmp_path / "scalpel_bench"
    shutil.copytree(source / "methods", copy / "methods", ignore=shutil.ignore_patterns("__pycache__"))
    for file in source.glob("*.py"):
        shutil.copy(file, copy)
    files = {
        "another_name": DROPPED.format(name="dropped", cls="Dropped"),
        "another_sum": DROPPED.format(name="another_sum", cls="Sum"),
        "no_syntax": "def :\n",
        "no_import": "import torchh\n" + DROPPED.format(name="no_import", cls="NoImport"),
        "taken": DROPPED.format(name="sum", cls="Taken"),
    }
    for name, text in files.items():
        (copy / "methods" / f"{name}.py").write_text(text)
    return tmp_path


def python(code: str, path: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


CATALOGUE = """
import json, sys
import scalpel_bench
from scalpel_bench.registry import Registry, broken, catalogue

found = catalogue("methods")
entry = found["dropped"]
print(json.dumps([entry.place, entry.doc, dict(entry.attributes), list(found), broken("methods")]))
assert Registry("method", "methods").available() == list(found)
assert not {"torch", "numpy", "scalpel_bench.methods"} & set(sys.modules)
"""


def test_the_catalogue_costs_no_pytorch_and_knows_what_was_dropped_in(package) -> None:
    place, doc, attributes, names, broken = json.loads(python(CATALOGUE, package))
    assert (place, doc) == ("scalpel_bench.methods.another_name.Dropped", "What it does.")
    expected = {"title": "Dropped in", "color": "#D55E00", "projects": "sum", "ratio_only": None}
    assert {key: attributes[key] for key in expected} == expected
    assert set(names) == {*methods.available(), "dropped", "another_sum", "no_import"}
    assert broken == {
        "no_syntax": "methods/no_syntax.py cannot be used: SyntaxError: invalid syntax (line 1)",
        "taken": "methods/taken.py cannot be used: two methods are named 'sum': "
        "scalpel_bench.methods.sum.Sum and scalpel_bench.methods.taken.Taken",
    }


ASKED = """
import sys
from scalpel_bench import methods

def imported():
    return [m for m in sorted(sys.modules) if m.startswith("scalpel_bench.methods.") and m.count(".") == 2]

def refused(function, name):
    try:
        function(name)
    except (ValueError, AttributeError) as error:
        return str(error)

assert imported() == ["scalpel_bench.methods.engine", "scalpel_bench.methods.surgeon"], imported()
assert methods.create("dropped", rho=0.5).rho == 0.5
assert methods.Dropped is methods.get("dropped")
asked = ["scalpel_bench.methods." + name for name in ("another_name", "bloop", "engine", "surgeon")]
assert imported() == asked, imported()
for name in ("no_import", "no_syntax", "taken"):
    print(refused(methods.get, name))
for name in ("NoImport", "NoSyntax", "Sum"):
    print(refused(methods.__getattr__, name))
assert methods.create("sum").lam == 1
assert "no_import" not in methods.available()
assert list(methods.REGISTRY.classes()) == methods.available()
"""


def test_a_file_of_the_folder_is_imported_when_asked_for_and_a_broken_one_harms_no_other(package) -> None:
    no_import, no_syntax, taken, *attributes = python(ASKED, package).splitlines()
    assert no_import == "methods/no_import.py cannot be used: ModuleNotFoundError: No module named 'torchh'"
    assert no_syntax == "methods/no_syntax.py cannot be used: SyntaxError: invalid syntax (line 1)"
    assert taken.startswith("methods/taken.py cannot be used: two methods are named 'sum'")
    assert attributes[0] == no_import
    assert attributes[1].startswith("module 'scalpel_bench.methods' has no attribute 'NoSyntax'; ")
    assert no_syntax in attributes[1]
    both = "scalpel_bench.methods.another_sum.Sum and scalpel_bench.methods.sum.Sum"
    assert attributes[2] == f"two classes are called Sum: {both}; get them by name"


@pytest.mark.slow
def test_an_installed_package_adds_its_method(installed, tmp_path) -> None:
    sweep = "sweep conditioning --scale smoke --methods sum,half_step"
    output = scalpel("list methods", "check half_step", sweep, cwd=tmp_path, path=str(installed))
    assert "scalpel-example-plugin 0.1.0" in output
    assert re.search(r"half_step: (\d+) of \1 rules hold", output)
    assert "4 runs in" in output


@pytest.mark.slow
def test_an_installed_package_that_does_not_import_is_named_and_harms_nothing(installed, tmp_path) -> None:
    reason = (
        "method plugin 'broken' of broken-plugin (broken_plugin:Broken) cannot be used: ModuleNotFoundError"
    )
    listed, checked = (
        scalpel(command, cwd=tmp_path, path=str(installed), status=status)
        for command, status in (("list methods", 0), ("check broken", 2))
    )
    assert reason in " ".join(listed.split())
    assert reason in checked
