import numpy as np
import pytest

from scalpel_bench.benchmarks.messages.errors import UserError
from scalpel_bench.benchmarks.records import Folder, Record, load_sweep, write_manifest
from tests.benchmarks.runs import DATA, analysed, conditioning, plan, record

LAMS = [0.1, 0.2, 0.4, 0.8]
FACTORS = {"sum": 1.0, "bloop": 0.8}


def sweep(rates: tuple[float, ...] = (), seeds: int = 2) -> tuple[list[Record], object]:
    """End points on main = factor * exp(-10 lam), aux = 10 lam; `bloop` wins at every rate but 0.5."""
    overrides = {"lam": LAMS, "seeds": seeds, "training": {"lr": 0.1}, "region": {"main": 2.0, "aux": 9.0}}
    if rates:
        overrides["axes"] = {"training.lr": rates}
    experiment = conditioning(**overrides)
    records = []
    for run in plan(experiment):
        if run.label not in FACTORS:
            continue
        factor = FACTORS[run.label] if run.training.lr != 0.5 else 1 / FACTORS[run.label]
        factor *= 1 + 0.1 * run.seed * (run.label == "bloop")
        quality = {0.1: 1.0, 0.5: 0.5, 1.0: 0.6}[run.training.lr]
        records.append(record(run, quality * factor * np.exp(-10 * run.lam), 10 * run.lam))
    return records, experiment


def metric(tables, protocol: str, method: str, statistic: str, seed: object, split: str = "test"):
    frame = tables.metrics
    rows = frame[
        (frame["protocol"] == protocol)
        & (frame["method"] == method)
        & (frame["statistic"] == statistic)
        & (frame["seed"] == seed)
        & (frame["split"] == split)
    ]
    assert len(rows) == 1
    return rows.iloc[0]


def test_fixed_rate_alone() -> None:
    records, experiment = sweep()
    tables = analysed(records, experiment, DATA.fingerprint)
    assert set(tables.metrics["protocol"]) == {"fixed"}
    assert metric(tables, "fixed", "bloop", "front_ratio", 0)["value"] == pytest.approx(0.8)
    assert metric(tables, "fixed", "bloop", "front_ratio", 1)["value"] == pytest.approx(0.88)
    over = metric(tables, "fixed", "bloop", "front_ratio", "all")
    assert over["value"] == pytest.approx((0.8 * 0.88) ** 0.5)
    assert over["low"] < 0.8 < 0.88 < over["high"]
    assert over["note"] == "2 seeds: Student's t"
    assert metric(tables, "fixed", "bloop", "common_low", 0)["value"] == pytest.approx(1.0)
    assert metric(tables, "fixed", "bloop", "common_high", 0)["value"] == pytest.approx(8.0)
    assert metric(tables, "fixed", "bloop", "points", 0)["value"] == 4
    assert metric(tables, "fixed", "sum", "front_ratio", "all")["value"] == pytest.approx(1.0)
    assert list(tables.metrics.columns) == [
        "protocol",
        "method",
        "split",
        "statistic",
        "seed",
        "value",
        "low",
        "high",
        "note",
    ]
    assert len(tables.summary) == 16
    assert len(tables.fronts) == 2 * 2 * 3 * 4


def test_protocols_over_learning_rates() -> None:
    records, experiment = sweep(rates=(0.1, 0.5, 1.0))
    tables = analysed(records, experiment, DATA.fingerprint)
    assert set(tables.metrics["protocol"]) == {"fixed", "main-tuned", "per-method"}
    assert metric(tables, "fixed", "bloop", "front_ratio", 0)["value"] == pytest.approx(0.8)
    tuned = metric(tables, "main-tuned", "bloop", "front_ratio", 0)
    assert (tuned["value"], tuned["note"]) == (pytest.approx(1.25), "lr=0.5")
    per_method = metric(tables, "per-method", "bloop", "front_ratio", 0)
    assert per_method["value"] == pytest.approx(0.6 * 0.8 / 0.5)
    chosen = tables.fronts[(tables.fronts["protocol"] == "per-method") & (tables.fronts["seed"] == 0)]
    assert {m: set(f["lr"]) for m, f in chosen.groupby("method")} == {"sum": {0.5}, "bloop": {1.0}}
    assert not (tables.fronts["lam"] == 0).any()


def test_without_the_experiments_own_rate_there_is_no_fixed_protocol() -> None:
    records, experiment = sweep(rates=(0.5, 1.0))
    tables = analysed(records, experiment, DATA.fingerprint)
    assert set(tables.metrics["protocol"]) == {"main-tuned", "per-method"}


def test_per_method_protocol_needs_an_equal_number_of_runs() -> None:
    records, experiment = sweep(rates=(0.1, 0.5))
    lost = next(r for r in records if r.run.label == "bloop")
    tables = analysed([r for r in records if r.id != lost.id], experiment, DATA.fingerprint)
    rows = tables.metrics[tables.metrics["protocol"] == "per-method"]
    assert set(rows["method"]) == {"sum"}
    assert rows["note"].str.contains("fewer runs: bloop").all()


def test_per_method_protocol_takes_the_seeds_that_ran_at_every_rate() -> None:
    records, experiment = sweep(rates=(0.1, 0.5), seeds=3)
    fewer = [r for r in records if r.run.seed < 2 or r.run.training.lr == 0.1]
    metrics = analysed(fewer, experiment, DATA.fingerprint).metrics
    ratios = metrics[(metrics["statistic"] == "front_ratio") & (metrics["seed"] != "all")]
    seeds = {protocol: set(rows["seed"]) for protocol, rows in ratios.groupby("protocol")}
    assert (seeds["fixed"], seeds["per-method"]) == ({0, 1, 2}, {0, 1})


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
    row = metric(tables, "fixed", "bloop", "front_ratio", 0)
    assert np.isnan(row["value"])
    assert row["note"] == "no runs of sum at this seed"


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


def test_igd_plus_is_zero_for_the_best_front_alone() -> None:
    records, experiment = sweep()
    tables = analysed(records, experiment, DATA.fingerprint)
    best = metric(tables, "fixed", "bloop", "igd_plus", 0)["value"]
    assert best == pytest.approx(0)
    assert metric(tables, "fixed", "sum", "igd_plus", 0)["value"] > 0.001


def test_tests_and_wins_need_their_seeds() -> None:
    records, experiment = sweep()
    tables = analysed(records, experiment, DATA.fingerprint)
    row = metric(tables, "fixed", "bloop", "p_front_ratio", "all")
    assert np.isnan(row["value"])
    assert row["note"] == "too few seeds: 2, a test needs 6"
    records, experiment = sweep(seeds=6)
    tables = analysed(records, experiment, DATA.fingerprint)
    assert metric(tables, "fixed", "bloop", "front_ratio", 2)["value"] == pytest.approx(0.96)
    row = metric(tables, "fixed", "bloop", "p_front_ratio", "all")
    logs = np.log(0.8 * (1 + 0.1 * np.arange(6)))
    signs = np.array(np.meshgrid(*[[1, -1]] * 6)).reshape(6, -1)
    expected = (np.abs(logs @ signs) >= abs(logs.sum()) - 1e-12).mean()
    assert row["value"] == pytest.approx(expected)
    wins = metric(tables, "fixed", "bloop", "beats_sum", "all")
    assert wins["value"] == 3 / 6
    assert wins["low"] < 0.5 < wins["high"]


def test_attainment_of_one_seed_is_its_front() -> None:
    records, experiment = sweep(seeds=1)
    tables = analysed(records, experiment, DATA.fingerprint)
    fronts = tables.fronts.sort_values(["method", "split", "aux"])[["method", "split", "main", "aux"]]
    for percentile in (25, 50, 75):
        surface = tables.attainment[tables.attainment["percentile"] == percentile]
        surface = surface.sort_values(["method", "split", "aux"])[["method", "split", "main", "aux"]]
        assert surface.to_numpy().tolist() == fronts.to_numpy().tolist()


class TestSelection:
    def test_takes_the_least_validation_loss_within_the_budget_of_sum(self) -> None:
        """Main falls as aux = 10 λ grows; the median of aux 1, 2, 4, 8 is 3: λ = 0.2 is the best within."""
        records, experiment = sweep()
        chosen = analysed(records, experiment, DATA.fingerprint).selected
        assert list(chosen["method"]) == ["bloop", "sum"]
        assert list(chosen["lam"]) == [0.2, 0.2]
        assert list(chosen["budget"]) == [3.0, 3.0]
        bloop = chosen.iloc[0]
        assert bloop["test_main"] == pytest.approx(np.exp(-2) * 0.84)
        assert bloop["test_main_low"] < bloop["test_main"] < bloop["test_main_high"]

    def test_ignores_test_values(self) -> None:
        records, experiment = sweep()
        losses = [r.trajectory[-1]["test"] for r in records]
        order = np.random.default_rng(0).permutation(len(records))
        mixed = []
        for r, k in zip(records, order, strict=True):
            row = {**r.trajectory[-1], "test": losses[k]}
            mixed.append(r.model_copy(update={"trajectory": [row]}))
        columns = ["method", "lam", "lr", "budget", "validation_main", "validation_aux"]
        before, after = (analysed(rs, experiment, DATA.fingerprint).selected for rs in (records, mixed))
        assert before[columns].equals(after[columns])
        assert not before["test_main"].equals(after["test_main"])

    def test_a_lam_that_diverged_at_a_seed_is_no_candidate(self) -> None:
        records, experiment = sweep()
        records = [
            r.model_copy(update={"status": "diverged"})
            if (r.run.label, r.run.lam, r.run.seed) == ("bloop", 0.2, 1)
            else r
            for r in records
        ]
        chosen = analysed(records, experiment, DATA.fingerprint).selected
        assert dict(zip(chosen["method"], chosen["lam"], strict=True)) == {"bloop": 0.1, "sum": 0.2}

    def test_without_validation_it_says_so(self) -> None:
        records, experiment = sweep()
        for r in records:
            del r.trajectory[-1]["validation"]
        chosen = analysed(records, experiment, DATA.fingerprint).selected
        assert set(chosen["note"]) == {"no validation or no test values"}
        assert chosen["lam"].isna().all()
