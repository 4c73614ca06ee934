"""Which code a number depends on, and records of other code that are computed again."""

import ast
import json
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import scalpel_bench
from scalpel_bench.benchmarks.commands.planning import recorded
from scalpel_bench.benchmarks.commands.replay import ROUNDING, _Seeds, replay
from scalpel_bench.benchmarks.commands.sweep import sweep
from scalpel_bench.benchmarks.execution import (
    ExecutionOptions,
    Job,
    code_of,
    describe_data,
    execute,
    get_task,
)
from scalpel_bench.benchmarks.experiments.loading import load
from scalpel_bench.benchmarks.messages import UserError
from scalpel_bench.benchmarks.records import (
    Folder,
    Record,
    code_identity,
    environment,
    fingerprint,
    write_manifest,
)
from scalpel_bench.benchmarks.records.adoption import Origin, origin_of
from scalpel_bench.benchmarks.training import train
from tests.benchmarks import runs
from tests.benchmarks.recorded import leave_figures_out
from tests.benchmarks.runs import conditioning, plan

ROOT = Path(scalpel_bench.__file__).parent


@pytest.fixture(scope="module")
def copied(tmp_path_factory) -> Path:
    copy = tmp_path_factory.mktemp("copy") / "scalpel_bench"
    return shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns("__pycache__", "assets", "*.toml"))


@pytest.fixture
def package(copied, monkeypatch) -> Iterator[Path]:
    """A copy of the package's sources, which a test may edit; it is as before afterwards."""
    monkeypatch.setattr(fingerprint, "ROOT", copied)
    yield copied
    for file in copied.rglob("*.py"):
        original = ROOT / file.relative_to(copied)
        if file.stat().st_mtime_ns != original.stat().st_mtime_ns:
            shutil.copy2(original, file)


def identity(package: Path, method: str = "bloop") -> str:
    files = ("benchmarks/training/loop.py", f"methods/{method}.py", "tasks/smooth_mlp.py")
    return code_identity(*(package / file for file in files))


def rewrite(file: Path, text: str) -> None:
    """A second later, as some clocks tell no shorter times apart."""
    later = file.stat().st_mtime_ns + 10**9
    file.write_text(text)
    os.utime(file, ns=(later, later))


def edit(file: Path, text: str) -> None:
    rewrite(file, file.read_text() + text)


@pytest.mark.parametrize(
    "file",
    [
        "methods/bloop.py",
        "methods/engine/base.py",
        "methods/engine/passes.py",
        "tasks/smooth_mlp.py",
        "tasks/models/spectral.py",
        "tasks/data/images/resident.py",
        "benchmarks/training/loop.py",
        "benchmarks/training/stepper.py",
        "benchmarks/training/models.py",
        "benchmarks/experiments/settings.py",
    ],
)
def test_an_edit_to_what_decides_numbers_changes_it(package, file) -> None:
    before = identity(package)
    edit(package / file, "\n# a comment\n")
    assert identity(package) == before
    edit(package / file, "\nEDITED = 1\n")
    assert identity(package) != before


@pytest.mark.parametrize(
    "file",
    [
        "methods/pcgrad.py",
        "methods/__init__.py",
        "methods/surgeon/surgeon.py",
        "tasks/translation.py",
        "benchmarks/figures/fronts.py",
        "benchmarks/analysis/verdicts.py",
        "benchmarks/experiments/claims.py",
        "benchmarks/experiments/common.py",
        "benchmarks/cli/app.py",
        "benchmarks/messages/errors.py",
    ],
)
def test_an_edit_elsewhere_does_not(package, file) -> None:
    before = identity(package)
    edit(package / file, "\nEDITED = 1\n")
    assert identity(package) == before


def test_each_method_and_solver_has_its_own(package) -> None:
    before = {name: identity(package, name) for name in ("sum", "bloop", "upgrad")}
    assert len(set(before.values())) == 3
    edit(package / "methods" / "engine" / "solvers.py", "\nEDITED = 1\n")
    after = {name: identity(package, name) for name in before}
    assert after["upgrad"] != before["upgrad"]


def test_docstrings_do_not_count(package) -> None:
    before, file = identity(package), package / "methods" / "bloop.py"
    text = file.read_text()
    (doc,) = {ast.get_docstring(ast.parse(text), clean=False)}
    rewrite(file, text.replace(str(doc), "Another summary."))
    assert identity(package) == before


def test_it_is_the_same_in_every_version_of_python(tmp_path) -> None:
    """A newer one knows more fields of a function or class, which are empty here (``type_params``, 3.12)."""
    file = tmp_path / "idea.py"
    file.write_text("class Idea:\n    def step(self, x=None):\n        return [f'{x!r}', ()]\n")
    assert code_identity(file) == "4190207c42f8"


PLUGIN = {
    "ours/__init__.py": "",
    "ours/idea.py": "import math\n\nfrom .parts import solve\nimport ours.numbers\nfrom other import x\n",
    "ours/parts/__init__.py": "from .solver import solve\n",
    "ours/parts/solver.py": "def solve():\n    return 1\n",
    "ours/numbers.py": "PI = 3\n",
    "ours/unused.py": "PI = 3\n",
    "other/__init__.py": "x = 1\n",
}


@pytest.mark.parametrize("file", PLUGIN)
def test_of_a_plugin_the_modules_that_it_imports_of_its_own_package_count(tmp_path, file) -> None:
    for name, text in PLUGIN.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    before = code_identity(tmp_path / "ours" / "idea.py")
    edit(tmp_path / file, "\nEDITED = 1\n")
    counts = file not in ("ours/__init__.py", "ours/unused.py", "other/__init__.py")
    assert (code_identity(tmp_path / "ours" / "idea.py") != before) == counts


@pytest.fixture(scope="module")
def recorded_once(tmp_path_factory) -> Folder:
    experiment = conditioning(lam=[0.1, 1.0], seeds=1)
    experiment = experiment.model_copy(
        update={"methods": {name: experiment.methods[name] for name in ("sum", "bloop")}}
    )
    results = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        leave_figures_out(patch)
        assert sweep([experiment], ExecutionOptions(), results, False, "disabled") == 0
    return Folder(results / "conditioning" / "smoke")


@pytest.fixture
def swept(recorded_once, tmp_path) -> Folder:
    return Folder(shutil.copytree(recorded_once.path, tmp_path / "conditioning" / "smoke"))


def of_older_code(folder: Folder, changed: str | None = None) -> None:
    for record in folder.read()[0]:
        rows = json.loads(json.dumps(record.trajectory))
        if record.run.label == changed:
            rows[1]["train"]["main"] *= 1 + 1e-15
        environment = {**record.environment, "code": "0" * 12}
        folder.write(record.model_copy(update={"environment": environment, "trajectory": rows}))


def current(folder: Folder) -> set[str]:
    return {record.run.label for record in recorded({folder: folder.content()}).values()}


def test_a_record_carries_the_code_that_made_it(swept) -> None:
    for record in swept.read()[0]:
        assert record.environment["code"] == code_of(record.run)
    assert current(swept) == {"sum", "bloop"}


def test_records_of_other_code_are_run_again_until_a_replay_adopts_them(swept, capsys) -> None:
    of_older_code(swept)
    assert current(swept) == set()
    warned = "".join(capsys.readouterr().err.split())
    assert "4recordsareofothercode" in warned
    assert f"scalpelresultsreplay{swept.path}" in warned
    assert replay(swept.path, 2, False, ExecutionOptions()) == 0
    assert "the same bits" in capsys.readouterr().out
    assert current(swept) == {"sum", "bloop"}
    (swept.path / "replays.json").write_text("damaged")
    assert current(swept) == set()


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("share", [1, 2, 5])
def test_runs_of_more_evaluations_than_steps_are_replayed_to_a_step(folder, capsys, share, whole) -> None:
    """`share` evaluations for each of four steps."""
    options, training = ExecutionOptions(), {"epochs": 4, "evaluations": 4 * share}
    experiment = conditioning(lam=[0.1], seeds=1, training=training)
    (run, *_) = experiment.plan(lambda settings: describe_data(settings, options))
    task = get_task(run.task, options)
    trajectory = train([run], task)[0].trajectory
    assert [row["step"] for row in trajectory][:2] == [0, 1]
    made = Record(
        id=run.id, run=run, status="completed", environment=environment("cpu"), trajectory=trajectory
    )
    folder.write(made)
    write_manifest(folder, experiment, run.data.fingerprint)
    assert replay(folder.path, 0, whole, options) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "the same bits" in shown


def test_a_bit_that_differs_is_found_and_its_group_is_not_adopted(swept, capsys) -> None:
    of_older_code(swept, changed="bloop")
    assert replay(swept.path, 0, True, ExecutionOptions()) == 3
    shown = " ".join(capsys.readouterr().out.split())
    assert "train.main was" in shown
    assert current(swept) == {"sum"}


def test_where_all_runs_failed_there_is_nothing_to_replay(swept) -> None:
    for record in swept.read()[0]:
        failed = {"status": "failed", "reason": "out of memory", "trajectory": []}
        swept.write(record.model_copy(update=failed))
    with pytest.raises(UserError, match="all of its runs failed; repeat the sweep"):
        replay(swept.path, 2, False, ExecutionOptions())


def test_distances_are_in_deviations_over_the_other_seeds() -> None:
    runs = plan(conditioning(lam=[0.1], seeds=4))
    runs = [run for run in runs if run.label == "sum" and run.lam == 0.1]
    losses = [9.0, 1.0, 2.0, 3.0]
    records = [
        Record(id=run.id, run=run, status="completed", environment={}, trajectory=rows(loss))
        for run, loss in zip(runs, losses, strict=True)
    ]
    seeds = _Seeds(records)
    assert seeds.distance(records[0], rows(9 + 2.5)) == pytest.approx(2.5)
    assert seeds.distance(records[0], rows(9 * (1 + ROUNDING / 2))) == 0
    assert seeds.distance(records[0], [*rows(9.0), *rows(9.0)]) == math.inf
    assert _Seeds(records[:2]).distance(records[0], rows(9.0)) == math.inf


def rows(loss: float) -> list[dict[str, Any]]:
    return [{"step": 3, "train": {"main": loss, "aux": 1.0, "accuracy": loss}}]


@pytest.mark.parametrize(
    ("made_by", "factor", "status"),
    [("device", 1 + 1e-4, 0), ("device", 1 + 1e-2, 3), ("processor", 1 + 1e-4, 0)],
)
def test_a_run_of_another_device_agrees_up_to_rounding(swept, capsys, made_by, factor, status) -> None:
    for record in swept.read()[0]:
        trajectory = json.loads(json.dumps(record.trajectory))
        trajectory[1]["train"]["main"] *= factor
        environment = {**record.environment, made_by: "another"}
        swept.write(record.model_copy(update={"environment": environment, "trajectory": trajectory}))
    assert replay(swept.path, 2, False, ExecutionOptions()) == status
    assert ("the same, up to" in " ".join(capsys.readouterr().out.split())) == (status == 0)


@pytest.mark.parametrize(("processor", "status"), [("another", 0), (None, 3)])
def test_a_simulation_of_another_processor_agrees_up_to_rounding(tmp_path, capsys, processor, status) -> None:
    with pytest.MonkeyPatch.context() as patch:
        leave_figures_out(patch)
        assert (
            sweep([load("fig2", "smoke", {"draws": 50})], ExecutionOptions(), tmp_path, False, "disabled")
            == 0
        )
    folder = Folder(tmp_path / "fig2" / "smoke")
    (made,) = folder.read()[0]
    trajectory = json.loads(json.dumps(made.trajectory))
    key = next(key for key, value in trajectory[1].items() if isinstance(value, float) and value)
    trajectory[1][key] *= 1 + 1e-6
    environment = {**made.environment, **({"processor": processor} if processor else {})}
    folder.write(made.model_copy(update={"environment": environment, "trajectory": trajectory}))
    assert replay(folder.path, 0, False, ExecutionOptions()) == status


def test_a_record_of_a_plugin_that_is_not_here_is_kept(folder) -> None:
    run = plan(conditioning())[0].model_copy(update={"method": {"name": "gone"}})
    folder.write(Record(id=run.id, run=run, status="completed", environment={}, trajectory=[{"step": 0}]))
    assert set(recorded({folder: folder.content()})) == {run.id}


def test_records_of_a_file_that_is_not_here_are_left_out_of_a_replay(swept, capsys) -> None:
    record = swept.read()[0][0]
    gone = record.run.model_copy(update={"method": {"name": "gone"}, "label": "gone", "id": ""})
    swept.write(record.model_copy(update={"run": gone, "id": gone.id}))
    assert replay(swept.path, 0, True, ExecutionOptions()) == 0


def test_no_spread_over_seeds_excuses_a_bit_on_the_same_machine(tmp_path) -> None:
    experiment = conditioning(lam=[0.1], seeds=3)
    experiment = experiment.model_copy(update={"methods": {"sum": experiment.methods["sum"]}})
    folder = Folder(tmp_path / "conditioning" / "smoke")
    folder.prepare()
    data = describe_data(experiment.task, ExecutionOptions())
    write_manifest(folder, experiment, data.fingerprint)
    for run in experiment.plan(lambda settings: data):
        (done,) = execute([Job(run, folder)], ExecutionOptions())
        folder.write(done.record)
    assert len(current(folder)) == 1
    of_older_code(folder, changed="sum")
    assert replay(folder.path, 0, True, ExecutionOptions()) == 3
    assert current(folder) == set()


def test_what_trained_in_a_population_is_another_group_than_what_trained_alone() -> None:
    """They take other paths through the code: what is adopted of one says nothing of the other."""
    run = plan(conditioning(lam=[0.1], seeds=1))[0]
    for count in (1, 4):
        told = {"code": "0" * 12, "population": count}
        made = runs.record(run, 1.0, 1.0).model_copy(update={"environment": told})
        assert origin_of(made) == Origin("0" * 12, run.method["name"], "conditioning", count)
