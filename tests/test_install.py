"""Real installs, into fresh environments, beside a project that has our folders' names for its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("methods", "tasks", "benchmarks")
SWEEP = ["sweep", "conditioning", "--scale", "smoke", "--seeds", "1", "--lam", "0.1", "--wandb", "offline"]

TELL = """
import os
OWNER = "theirs"
with open(os.environ["IMPORTED"], "a") as log:
    log.write(f"{os.getpid()} {__name__}\\n")
"""
MAIN = """
import os, sys
import benchmarks, datasets, methods, tasks
import scalpel_bench as scalpel
from scalpel_bench.benchmarks.cli import main
from scalpel_bench.methods import Surgeon

if __name__ == "__main__":
    assert scalpel.Surgeon is Surgeon
    assert "smooth_mlp" in scalpel.tasks.available()
    try:
        main()
    except SystemExit as end:
        assert not end.code, end.code
    for module in (benchmarks, datasets, methods, tasks):
        assert module.OWNER == "theirs" and sys.modules[module.__name__] is module
    print("still theirs, in", os.getpid())
"""


def run(*command: str | Path, cwd: Path, status: int = 0, **environment: str) -> str:
    own = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**own, **environment},
        timeout=240,
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def copy_of_source(to: Path) -> Path:
    """What a build needs of the repository, its links as links."""
    to.mkdir()
    for name in (*FOLDERS, "src"):
        skip = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, to / name, symlinks=True, ignore=skip)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, to)
    return to


def environment(at: Path) -> Path:
    """A fresh environment that finds what ours has installed, but for the suite; its interpreter."""
    run(sys.executable, "-m", "venv", "--without-pip", at, cwd=at.parent)
    site = at / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return at / "bin" / "python"


def install(python: Path, *what: str | Path) -> None:
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps"]
    run(*pip, "--no-build-isolation", *what, cwd=python.parent)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    source = copy_of_source(folder / "source")
    code = f"from setuptools import build_meta; build_meta.build_wheel({str(folder)!r})"
    run(sys.executable, "-c", code, cwd=source)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture
def project(tmp_path) -> Path:
    """Somebody else's project."""
    folder = tmp_path / "project"
    for package in ("methods", "benchmarks", "datasets"):
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text(TELL)
    (folder / "tasks.py").write_text(TELL)
    (folder / "main.py").write_text(MAIN)
    return folder


@pytest.mark.slow
def test_the_wheel_holds_files_in_place_of_links_and_what_is_no_code(wheel) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {info.filename: info for info in archive.infolist()}
    assert all(info.external_attr >> 16 & 0o170000 in (0, 0o100000) for info in held.values())
    for folder in FOLDERS:
        for file in (ROOT / folder).rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                assert f"scalpel_bench/{file.relative_to(ROOT)}" in held
    assert "scalpel_bench/py.typed" in held
    assert {name.partition("/")[0].partition("-")[0] for name in held} == {"scalpel_bench"}


@pytest.mark.slow
def test_a_wheel_sweeps_in_a_folder_full_of_traps(wheel, project, tmp_path) -> None:
    """Neither the command nor its workers nor the sender to W&B import what lies in the working directory."""
    python = environment(tmp_path / "venv")
    install(python, wheel)
    assert not {path.name for path in (tmp_path / "venv").glob("lib/*/site-packages/*")} & set(FOLDERS)
    for name in ("torch", "wandb", "random", "scalpel_bench"):
        (project / f"{name}.py").write_text(TELL)
    imported = tmp_path / "imported"
    command = [python.parent / "scalpel", *SWEEP, "--methods", "sum,bloop"]
    assert "2 runs in" in run(*command, cwd=project, IMPORTED=str(imported))
    assert len(list(project.glob("results/conditioning/smoke/runs/*.json"))) == 2
    assert len(list(project.glob("results/wandb/offline-run-*"))) == 3
    assert not imported.exists()


@pytest.mark.slow
@pytest.mark.parametrize("editable", [False, True])
def test_a_project_with_our_names_sweeps_and_keeps_its_own_modules(
    editable, wheel, project, tmp_path
) -> None:
    python = environment(tmp_path / "venv")
    source = copy_of_source(tmp_path / "source")
    install(python, *(["--editable", source] if editable else [wheel]))
    assert not {path.name for path in (tmp_path / "venv").glob("lib/*/site-packages/*")} & set(FOLDERS)
    method = "bloop"
    if editable:
        method = "dropped"
        run(python.parent / "scalpel", "new", "method", method, "--folder", source, cwd=tmp_path)
    imported = tmp_path / "imported"
    command = [python, "main.py", *SWEEP, "--methods", f"sum,{method}"]
    output = run(*command, cwd=project, IMPORTED=str(imported))
    assert "2 runs in" in output
    assert len(list(project.glob("results/wandb/offline-run-*"))) == 3
    own = [f"{output.split()[-1]} {name}" for name in ("benchmarks", "datasets", "methods", "tasks")]
    assert imported.read_text().splitlines() == own


@pytest.mark.slow
def test_a_wheel_from_the_source_distribution_is_the_same(wheel, tmp_path) -> None:
    source = copy_of_source(tmp_path / "source")
    build = "from setuptools import build_meta; build_meta.build_{}({!r})"
    run(sys.executable, "-c", build.format("sdist", str(tmp_path)), cwd=source)
    (archive,) = tmp_path.glob("*.tar.gz")
    shutil.unpack_archive(archive, tmp_path / "unpacked", filter="data")
    (inner,) = (tmp_path / "unpacked").iterdir()
    run(sys.executable, "-c", build.format("wheel", str(tmp_path)), cwd=inner)
    (again,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())


WITH_TORCH_ALONE = """
import importlib.metadata as metadata, re, sys

def required(name, found):
    if name not in found:
        found.add(name)
        for line in metadata.requires(name) or ():
            if "extra ==" not in line:
                try:
                    required(re.match(r"[\\w.-]+", line)[0].lower().replace("_", "-"), found)
                except metadata.PackageNotFoundError:
                    pass
    return found

allowed = required("torch", set())

class Nothing:
    def find_spec(self, name, path=None, target=None):
        owners = {each.lower().replace("_", "-") for each in owned.get(name, ())}
        if owners and not owners & allowed:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

owned = metadata.packages_distributions()
owned.pop("scalpel_bench", None)
sys.meta_path.insert(0, Nothing())
"""


def test_methods_and_surgeon_need_torch_and_nothing_else(tmp_path) -> None:
    code = WITH_TORCH_ALONE + (
        "import torch\n"
        "import scalpel_bench as scalpel\n"
        "names = scalpel.methods.available()\n"
        "assert 'pcgrad' in names and not scalpel.methods.REGISTRY.broken\n"
        "for name in names: scalpel.methods.create(name)\n"
        "model = torch.nn.Linear(3, 1)\n"
        "surgeon = scalpel.Surgeon(model.parameters(), scalpel.methods.create('bloop'))\n"
        "out = model(torch.ones(2, 3))\n"
        "surgeon.backward(out.square().mean(), out.abs().mean())\n"
        "assert model.weight.grad is not None\n"
        "heavy = {'transformers', 'scalpel_bench.tasks', 'scalpel_bench.benchmarks'}\n"
        "assert not {'numpy', 'pandas', 'typer', 'pydantic', *heavy} & sys.modules.keys()\n"
    )
    run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(ROOT / "src"), PYTHONSAFEPATH="1")


def test_the_command_without_the_suite_says_what_to_install(tmp_path) -> None:
    code = WITH_TORCH_ALONE + "from scalpel_bench.benchmarks.cli import main\nmain()\n"
    said = run(sys.executable, "-c", code, "list", cwd=tmp_path, status=2, PYTHONPATH=str(ROOT / "src"))
    assert said == "scalpel: error: typer is not installed: pip install 'scalpel-bench[suite]'\n"


def test_torch_is_all_that_is_required() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert [line.partition(">")[0] for line in project["dependencies"]] == ["torch"]
    assert {"suite", "hf", "labels", "ray", "docs", "dev", "peers"} == project["optional-dependencies"].keys()


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-docs.lock"])
def test_what_is_installed_is_pinned_with_hashes(lock: str) -> None:
    pinned = (ROOT / lock).read_text().replace("\\\n", " ").splitlines()
    assert pinned
    assert [line for line in pinned if "==" not in line or "--hash=sha256:" not in line] == []
