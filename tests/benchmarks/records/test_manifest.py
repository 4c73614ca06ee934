"""What a manifest keeps of the sweeps that wrote to its folder, one after the other and at once."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from filelock import FileLock

from scalpel_bench.benchmarks.experiments.schema import Experiment
from scalpel_bench.benchmarks.messages import UserError
from scalpel_bench.benchmarks.records import (
    Origin,
    adopt,
    adopted,
    adoption,
    load_sweep,
    locking,
    manifest,
    read_manifest,
    write_manifest,
)
from tests.benchmarks.runs import BOX, DATA, conditioning, plan, record

LOCK = ".experiment.json.lock"


def of(*labels: str, **overrides: Any) -> Experiment:
    """An experiment of some methods."""
    made = conditioning(lam=[0.1, 0.4], seeds=1, **overrides)
    return made.model_copy(update={"methods": {label: made.methods[label] for label in labels}})


def at_once(*calls: Callable[[], Any]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def slow(patch: pytest.MonkeyPatch, module: Any, name: str) -> None:
    """Let what reads a file take its time, so that another may write meanwhile."""
    read = getattr(module, name)

    def reading(*arguments: Any) -> Any:
        found = read(*arguments)
        time.sleep(0.2)
        return found

    patch.setattr(module, name, reading)


def test_methods_stay_that_ran_before_there_were_a_box_and_claims(folder) -> None:
    claim = {"id": "c", "text": "t", "paper": "p", "kind": "better", "method": "pcgrad", "than": "sum"}
    first = of("sum", title="One")
    second = of("pcgrad", title="Two", box=BOX, claims=[claim], labels={"main": "m"})
    for experiment in (first, second):
        for run in plan(experiment):
            folder.write(record(run, 1.0, 5.0))
        write_manifest(folder, experiment, DATA.fingerprint)
    found = load_sweep(folder)
    assert found.left_out == []
    assert {each.run.label for each in found.records} == {"sum", "pcgrad"}
    assert found.experiment == second.model_copy(update={"methods": {**first.methods, **second.methods}})
    assert len(found.manifest.commands) == 2
    write_manifest(folder, of("bloop", training={"epochs": 7}), DATA.fingerprint)
    assert list(read_manifest(folder).experiment.model_dump()["methods"]) == ["bloop"]


def test_one_that_cannot_be_read_is_not_written_over(folder) -> None:
    file = folder.path / manifest.FILE
    file.write_text('{"experiment": "of another version"}')
    with pytest.raises(UserError, match=r"experiment\.json is not a manifest of this version.*move it away"):
        write_manifest(folder, of("sum"), DATA.fingerprint)
    assert file.read_text() == '{"experiment": "of another version"}'


def test_a_record_that_another_sweep_has_written_meanwhile_is_not_set_aside(folder) -> None:
    good, gone = (record(run, 1.0, 1.0) for run in plan(of("sum"))[:2])
    for each in (good, gone):
        folder.file(each.id).write_text("half a rec")
    content = folder.content()
    assert len(content.bad_files) == 2
    folder.write(good)
    folder.file(gone.id).unlink()
    folder.set_aside(content)
    assert folder.find(good.id) == good
    assert list(folder.runs.glob("*.rejected")) == []


def test_sweeps_that_begin_at_once_lose_no_method(folder, monkeypatch) -> None:
    slow(monkeypatch, manifest, "read_manifest")
    labels = ("sum", "pcgrad", "bloop")
    at_once(*(partial(write_manifest, folder, of(label), DATA.fingerprint) for label in labels))
    found = read_manifest(folder)
    assert set(found.experiment.model_dump()["methods"]) == set(labels)
    assert len(found.commands) == 3


def test_replays_at_once_adopt_what_each_found(folder, monkeypatch) -> None:
    origins = [Origin("0" * 12, method, "conditioning", 1) for method in ("sum", "bloop")]
    with monkeypatch.context() as patch:
        slow(patch, adoption, "_read")
        at_once(*(partial(adopt, folder, origin, "1" * 12, [], 1, []) for origin in origins))
    assert adopted(folder) == {(origin, "1" * 12) for origin in origins}


def test_a_process_that_was_killed_while_it_wrote_keeps_nobody_out(folder, monkeypatch) -> None:
    code = (
        "import os, sys; from filelock import FileLock\n"
        "lock = FileLock(sys.argv[1]); lock.acquire(); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder.path / LOCK)], check=False)
    assert done.returncode == -9
    assert (folder.path / LOCK).exists()
    monkeypatch.setattr(locking, "PATIENCE", 1.0)
    write_manifest(folder, of("sum"), DATA.fingerprint)
    assert read_manifest(folder).experiment.name == "conditioning"


def test_one_that_does_not_end_is_told_with_what_to_do(folder, monkeypatch) -> None:
    monkeypatch.setattr(locking, "PATIENCE", 0.1)
    held = f"another command has held it for 0.1 s: .*, or remove .*{LOCK} if none runs"
    with FileLock(folder.path / LOCK), pytest.raises(UserError, match=held):
        write_manifest(folder, of("sum"), DATA.fingerprint)
    assert not (folder.path / "experiment.json").exists()


def test_a_lock_that_cannot_be_taken_is_one_line(folder) -> None:
    (folder.path / LOCK).mkdir()
    with pytest.raises(UserError, match="experiment.json cannot be locked: "):
        write_manifest(folder, of("sum"), DATA.fingerprint)


def test_a_run_that_was_computed_again_changes_the_digest(folder) -> None:
    """By which figures are drawn again."""
    run, *_ = plan(of("sum"))
    write_manifest(folder, of("sum"), DATA.fingerprint)
    folder.write(record(run, 1.0, 1.0))
    before = load_sweep(folder).digest
    assert load_sweep(folder).digest == before
    folder.write(record(run, 2.0, 1.0))
    assert load_sweep(folder).digest != before
