"""`scalpel results verify`, on folders that something happened to."""

import json
import shutil
from pathlib import Path

import pytest

from scalpel_bench.benchmarks.commands.report import report_folder
from scalpel_bench.benchmarks.commands.sweep import sweep
from scalpel_bench.benchmarks.commands.verify import findings, verify
from scalpel_bench.benchmarks.execution import ExecutionOptions, code_of
from scalpel_bench.benchmarks.messages.errors import UserError
from scalpel_bench.benchmarks.records import Folder, write_manifest
from tests.benchmarks.runs import conditioning, plan, record


@pytest.fixture
def swept(tmp_path) -> Folder:
    """Hand-made records of every cell."""
    folder = Folder(tmp_path / "results" / "conditioning" / "smoke")
    folder.prepare()
    experiment = conditioning(lam=[0.1, 1.0])
    for run in plan(experiment):
        folder.write(record(run, 0.1, 0.2))
    write_manifest(folder, experiment, "0" * 16)
    return folder


def kinds(folder: Folder) -> list[str]:
    return sorted(findings(folder, *folder.read())["what"])


def test_a_whole_folder_has_nothing_wrong(swept, capsys) -> None:
    assert kinds(swept) == []
    assert verify(swept.path, None) == 0


def test_records_of_other_code_are_told_with_what_adopts_them(swept, capsys) -> None:
    write_manifest(swept, conditioning(lam=[0.1, 1.0]), "0" * 16, "folder")
    assert verify(swept.path, None) == 0
    said = " ".join(capsys.readouterr().out.split())
    count = len(swept.read()[0])
    assert f"{count} records are of other code" in said
    assert f"`scalpel results replay {swept.path} --data PATH`" in said


def test_records_of_todays_code_are_not_told(tmp_path, capsys) -> None:
    folder = Folder(tmp_path / "conditioning" / "smoke")
    folder.prepare()
    experiment = conditioning(lam=[0.1])
    for run in plan(experiment):
        made = record(run, 0.1, 0.2)
        folder.write(made.model_copy(update={"environment": {"code": code_of(run)}}))
    write_manifest(folder, experiment, "0" * 16)
    assert verify(folder.path, None) == 0
    assert "of other code" not in capsys.readouterr().out


def test_methods_that_were_swept_without_the_axes_miss_nothing(tmp_path) -> None:
    """Some methods at the experiment's own rate, then others over several, into one folder."""
    folder = Folder(tmp_path / "conditioning" / "smoke")
    folder.prepare()
    first = conditioning(lam=[0.1], methods={"pcgrad": {}}, seeds=1)
    rates = {"training.lr": [0.05, first.training.lr]}
    second = conditioning(lam=[0.1], methods={"bloop": {"rho": 0.5}}, seeds=1, axes=rates)
    for experiment, kept in ((first, "pcgrad"), (second, "bloop")):
        swept = experiment.model_copy(update={"methods": {kept: experiment.methods[kept]}})
        for run in plan(swept):
            folder.write(record(run, 0.1, 0.2))
        write_manifest(folder, swept, "0" * 16)
    assert kinds(folder) == []
    manifest = json.loads((folder.path / "experiment.json").read_text())
    assert len(manifest["commands"]) == 2
    for run in (run for run in plan(second) if run.label == "bloop"):
        folder.file(run.id).unlink()
    missing = len(kinds(folder))
    assert set(findings(folder, *folder.read())["why"].str.split().str[0]) == {"bloop"}
    manifest["commands"][0] += " '"
    (folder.path / "experiment.json").write_text(json.dumps(manifest))
    assert len(kinds(folder)) > missing


def test_a_repair_does_not_train_records_of_other_code_again(tmp_path) -> None:
    folder = Folder(tmp_path / "conditioning" / "smoke")
    experiment = conditioning(lam=[0.1], methods={"sum": {}}, seeds=1)
    sweep([experiment], ExecutionOptions(), tmp_path, False, "disabled")
    made, *_ = folder.read()[0]
    folder.write(made.model_copy(update={"environment": {**made.environment, "code": "0" * 12}}))
    with pytest.raises(UserError, match="1 records are of other code"):
        verify(folder.path, ExecutionOptions())


def test_every_fault_is_named(swept) -> None:
    truncated, gone, copied, failed, other, *_ = sorted(swept.runs.iterdir())
    truncated.write_bytes(truncated.read_bytes()[:-30])
    gone.unlink()
    shutil.copy(copied, swept.runs / "again.json")
    lost = swept.find(failed.stem)
    swept.write(lost.model_copy(update={"status": "failed", "reason": "out of memory"}))
    run = swept.find(other.stem).run
    moved = run.model_copy(update={"scale": "paper"})
    swept.write(record(moved, 0.1, 0.2))
    strange = run.model_copy(update={"data": run.data.model_copy(update={"fingerprint": "f" * 16})})
    swept.write(record(strange, 0.1, 0.2))
    assert kinds(swept) == ["bad", "bad", "failed", "foreign", "foreign", "missing", "missing"]
    assert verify(swept.path, None) == 3


def test_repair_runs_what_is_missing_and_keeps_the_rest(tmp_path, capsys) -> None:
    folder = Folder(tmp_path / "conditioning" / "smoke")
    sweep(
        [conditioning(lam=[0.1], methods={"sum": {}, "bloop": {}, "pcgrad": {}})],
        ExecutionOptions(),
        tmp_path,
        False,
        "disabled",
    )
    gone, cut, *kept = sorted(folder.runs.glob("*.json"))
    trajectories = {file: folder.find(file.stem).trajectory for file in (gone, cut)}
    written = {file: file.stat().st_mtime_ns for file in kept}
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:100])
    assert kinds(folder) == ["bad", "missing", "missing"]
    assert verify(folder.path, ExecutionOptions()) == 0
    assert {file: file.stat().st_mtime_ns for file in kept} == written
    assert {file: folder.find(file.stem).trajectory for file in trajectories} == trajectories
    (aside,) = folder.runs.glob("*.rejected")
    reason, _, content = aside.read_bytes().partition(b"\n")
    assert reason.startswith(b"not a record of schema 1")
    assert len(content) == 100


def test_repair_refuses_other_data_and_other_places(swept, tmp_path) -> None:
    with pytest.raises(UserError, match="saw other data"):
        verify(swept.path, ExecutionOptions())
    moved = shutil.copytree(swept.path, tmp_path / "moved")
    with pytest.raises(UserError, match="a sweep of it writes to conditioning/smoke"):
        verify(moved, ExecutionOptions())


def test_a_manifest_names_no_code_and_no_other_folder(swept, tmp_path) -> None:
    trap = tmp_path / "trap.py"
    trap.write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')")
    file = swept.path / "experiment.json"
    manifest = json.loads(file.read_text())
    tricks = [
        ("name", "../../elsewhere"),
        ("name", f"{tmp_path}/mine"),
        ("scale", ".."),
        ("task", {"name": f"{trap}:Trap"}),
        ("methods", {"sum": {"name": f"{trap}:Trap"}}),
        ("methods", {"sum": {"name": "trap:Trap"}}),
    ]
    for key, value in tricks:
        file.write_text(json.dumps({**manifest, "experiment": {**manifest["experiment"], key: value}}))
        for command in (lambda: verify(swept.path, None), lambda: report_folder(swept.path)):
            with pytest.raises(UserError, match="not a manifest of this version"):
                command()
    assert not (tmp_path / "sprung").exists()


def test_a_record_names_no_code(swept, tmp_path) -> None:
    file = next(iter(sorted(swept.runs.iterdir())))
    content = json.loads(file.read_text())
    del content["sha256"]
    for section in ("task", "method"):
        changed = {**content, "run": {**content["run"], section: {"name": "trap.py:Trap"}}}
        Path(file).write_text(json.dumps(changed))
        _, rejected = swept.read()
        assert len(rejected) == 1
        assert "is no name of a task or a method" in rejected[0]
