"""The files of the suite's folders, and an installed package, through real processes."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scalpel_bench import methods, tasks
from scalpel_bench.entries import of_class
from scalpel_bench.registry import catalogue
from tests.benchmarks.command_line import in_turn

ROOT = Path(__file__).parents[3]


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
    output = in_turn("list methods", "check half_step", sweep, cwd=tmp_path, path=str(installed))
    assert "scalpel-example-plugin 0.1.0" in output
    assert re.search(r"half_step: (\d+) of \1 rules hold", output)
    assert "4 runs in" in output


@pytest.mark.slow
def test_an_installed_package_that_does_not_import_is_named_and_harms_nothing(installed, tmp_path) -> None:
    reason = (
        "method plugin 'broken' of broken-plugin (broken_plugin:Broken) cannot be used: ModuleNotFoundError"
    )
    listed, checked = (
        in_turn(command, cwd=tmp_path, path=str(installed), status=status)
        for command, status in (("list methods", 0), ("check broken", 2))
    )
    assert reason in " ".join(listed.split())
    assert reason in checked
