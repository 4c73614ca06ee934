"""Runs and records that are no points, and what is said of them."""

import numpy as np
import pytest

from scalpel_bench.benchmarks.messages.errors import UserError
from scalpel_bench.benchmarks.records import Folder, load_sweep, write_manifest
from tests.benchmarks.runs import DATA, analysed, conditioning, plan, record
from tests.benchmarks.two_methods import LAMS, metric, sweep


def test_diverged_and_failed_runs_are_never_points() -> None:
    records, experiment = sweep()
    broken = records[0].model_copy(update={"status": "diverged", "diverged_at": 7})
    tables = analysed([broken, *records[1:]], experiment, DATA.fingerprint)
    row = tables.summary[tables.summary["id"] == broken.id].iloc[0]
    assert (row["status"], row["diverged_at"]) == ("diverged", 7)
    assert np.isnan(row["test_main"])
    lost = tables.fronts[(tables.fronts["method"] == broken.run.label) & (tables.fronts["seed"] == 0)]
    assert broken.run.lam not in set(lost["lam"])


def test_foreign_records_are_left_out_by_name() -> None:
    records, experiment = sweep()
    other = conditioning(training={"lr": 0.1, "momentum": 0.5}, lam=LAMS)
    foreign = record(plan(other)[0], 1.0, 1.0)
    alien = records[1].run.model_copy(update={"data": DATA.model_copy(update={"fingerprint": "f" * 16})})
    tables = analysed([*records, foreign, record(alien, 1, 1)], experiment, DATA.fingerprint)
    assert len(tables.summary) == len(records)
    assert any("training.momentum is 0.5, not 0.0" in str(line) for line in tables.sweep.left_out)
    assert any("is not the sweep's" in str(line) for line in tables.sweep.left_out)


def test_no_reference_is_said_so() -> None:
    records, experiment = sweep()
    tables = analysed([r for r in records if r.run.label == "bloop"], experiment, DATA.fingerprint)
    row = metric(tables, "fixed", "bloop", "front_ratio", "all")
    assert np.isnan(row["value"])
    assert row["note"] == "no runs of sum"


def test_another_scale_and_second_records_are_left_out_by_name() -> None:
    records, experiment = sweep()
    far = records[0].run.model_copy(update={"scale": "paper"})
    twin = records[1].run.model_copy(update={"data": DATA.model_copy(update={"name": "copy"})})
    tables = analysed([*records, record(far, 1, 1), record(twin, 9, 9)], experiment, DATA.fingerprint)
    assert len(tables.summary) == len(records)
    assert any("of conditioning at scale paper" in str(line) for line in tables.sweep.left_out)
    assert any(f"as {records[1].id}" in str(line) for line in tables.sweep.left_out)


def test_mixed_data_of_an_unknown_sweep_are_left_out_by_majority() -> None:
    records, experiment = sweep()
    other = records[1].run.model_copy(update={"data": DATA.model_copy(update={"fingerprint": "f" * 16})})
    tables = analysed([record(other, 9, 9), *records], experiment, None)
    assert set(tables.summary["id"]) == {r.id for r in records}
    assert len(tables.sweep.left_out) == 1


def test_nothing_left_is_one_clear_error(tmp_path) -> None:
    records, experiment = sweep()
    folder = Folder(tmp_path / "sweep")
    folder.prepare()
    write_manifest(folder, experiment, DATA.fingerprint)
    folder.write(record(records[0].run.model_copy(update={"scale": "paper"}), 1, 1))
    with pytest.raises(UserError, match="no record belongs to conditioning at scale smoke: .* scale paper"):
        load_sweep(folder)
