"""What is written beside records and shown of them, from hand-made records."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from scalpel_bench.benchmarks.analysis.verdicts import COLUMNS
from scalpel_bench.benchmarks.commands.report import report_folder
from scalpel_bench.benchmarks.commands.sweep import sweep
from scalpel_bench.benchmarks.execution import ExecutionOptions
from scalpel_bench.benchmarks.experiments.loading import load
from scalpel_bench.benchmarks.experiments.schema import Experiment
from scalpel_bench.benchmarks.messages.errors import UserError
from scalpel_bench.benchmarks.records import Folder, load_sweep, read_manifest, write_manifest
from tests.benchmarks.runs import BOX, DATA, conditioning, plan, record

STATED = {
    "id": "bloop-better",
    "text": "Bloop's front is better",
    "paper": "claim 0",
    "kind": "better",
    "method": "bloop",
    "than": "sum",
}


@pytest.fixture
def folder(tmp_path) -> Folder:
    """Three seeds in which Bloop's main loss is 0.8 of the others' at equal auxiliary loss."""
    experiment = conditioning(seeds=6, lam=[0.1, 0.4], claims=[STATED], box=BOX)
    folder = Folder(tmp_path / "sweep")
    folder.prepare()
    for run in plan(experiment):
        factor = 0.8 + 0.001 * run.seed if run.label == "bloop" else 1.0
        made = record(run, factor * np.exp(10 * run.lam - 5), 5 - 10 * run.lam)
        row = {
            k: {**v, "a": 0.0, "b": 0.0, "distance": 1.0}
            for k, v in made.trajectory[0].items()
            if k in ("train", "validation", "test")
        }
        folder.write(made.model_copy(update={"trajectory": [{**made.trajectory[0], **row}]}))
    write_manifest(folder, experiment, DATA.fingerprint)
    return folder


def test_report_writes_the_tables_and_shows_the_verdicts(folder, capsys) -> None:
    report_folder(folder.path)
    claims = pd.read_csv(folder.path / "claims.csv")
    assert list(claims.columns) == COLUMNS
    assert list(claims["verdict"]) == ["supported"]
    assert len(pd.read_csv(folder.path / "selected.csv")["method"].unique()) == 6
    assert set(pd.read_csv(folder.path / "attainment.csv")["percentile"]) == {25, 50, 75}
    shown = capsys.readouterr().out
    assert "verdicts" in shown
    assert "bloop-better: Bloop's front is better" in shown


def test_records_that_do_not_count_are_named_and_counted(folder, capsys) -> None:
    first, second, third, fourth, *_ = sorted(folder.runs.iterdir())
    first.write_text(first.read_text()[:100])
    second.write_text(second.read_text().replace('"schema_version":1', '"schema_version":2'))
    shutil.copy(third, third.with_name("again.json"))
    other = Folder.read(folder)[0][1].run.model_copy(update={"data": {"name": "x", "fingerprint": "f" * 16}})
    other = type(other).model_validate(other.model_dump(warnings=False))
    folder.write(record(other, 1e-9, 1e-9))
    report_folder(folder.path)
    error = capsys.readouterr().err
    assert f"{first.name}: not a record of schema 1" in error
    assert f"{second.name}: not a record of schema 1 (schema_version" in error
    assert f"again.json: a copy of the record of run {third.stem}" in error
    assert f"{other.id}: data x ({'f' * 16}) is not the sweep's" in error
    assert "4 of 68 records left out" in error
    assert json.loads((folder.path / "provenance.json").read_text())["left_out"] == 4
    assert len(pd.read_csv(folder.path / "summary.csv")) == 64
    assert fourth.exists()


def test_an_old_manifest_is_asked_the_claims_of_the_suite(folder, tmp_path) -> None:
    fig2 = Folder(tmp_path / "fig2")
    write_manifest(Folder(folder.path), load("fig2", "smoke"), None)
    manifest = json.loads((folder.path / "experiment.json").read_text())
    assert manifest["experiment"].pop("claims")
    fig2.prepare()
    (fig2.path / "experiment.json").write_text(json.dumps(manifest))
    assert read_manifest(fig2).experiment.claims == load("fig2", "smoke").claims


def test_simulations_of_other_settings_are_left_out(tmp_path) -> None:
    sweep([load("fig2", "smoke", {"draws": 50})], ExecutionOptions(), tmp_path, False, "disabled")
    sweep([load("fig2", "smoke", {"draws": 60})], ExecutionOptions(), tmp_path, False, "disabled")
    folder = Folder(tmp_path / "fig2" / "smoke")
    recorded = load_sweep(folder)
    assert recorded.found == 2
    assert [line.partition(": ")[2] for line in recorded.not_counted] == ["its settings are not the sweep's"]
    for file in folder.runs.iterdir():
        file.write_text(file.read_text().replace('"smoke"', '"paper"'))
    with pytest.raises(UserError, match="no valid records"):
        load_sweep(folder)


def test_a_sweep_ends_with_its_verdicts(tmp_path, capsys) -> None:
    loaded = [load("fig2", "smoke", {"draws": 50})]
    assert sweep(loaded, ExecutionOptions(), tmp_path, False, "disabled") == 0
    last = capsys.readouterr().out.rpartition(": verdicts")[2]
    assert "fig2-noise-makes-mixed: Without an EMA" in last
    claims = pd.read_csv(tmp_path / "fig2" / "smoke" / "claims.csv")
    assert list(claims["verdict"]) == ["inconclusive"]
    assert claims["reason"][0].startswith("1 of 6 seeds")


def test_the_commands_of_all_sweeps_on_a_folder_are_told(tmp_path) -> None:
    folder = Folder(tmp_path / "fig3a" / "smoke")
    folder.prepare()
    wide = load("fig3a", "smoke")
    assert isinstance(wide, Experiment)
    deep = load("fig3a", "smoke", {"axes": {"training.lr": [1e-4, 3e-4]}})
    deep = deep.model_copy(update={"methods": {"sum": wide.methods["sum"]}})
    for experiment in (wide, deep, wide):
        write_manifest(folder, experiment, DATA.fingerprint, "folder")
    first, second = read_manifest(folder).commands
    assert first == f"scalpel sweep fig3a --scale smoke --seeds {wide.seeds} --data PATH"
    assert "--axis training.lr=0.0001,0.0003 --methods sum" in second
    other = load("fig3a", "smoke", {"training": {"epochs": 7}})
    write_manifest(folder, other, DATA.fingerprint, "folder")
    assert len(read_manifest(folder).commands) == 1
