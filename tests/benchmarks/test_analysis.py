import numpy as np
import pytest
from scipy import stats

from scalpel_bench.benchmarks.analysis.comparisons import missing
from scalpel_bench.benchmarks.analysis.leaderboard import leaderboard
from scalpel_bench.benchmarks.analysis.protocols import non_dominated
from scalpel_bench.benchmarks.messages.errors import UserError
from scalpel_bench.benchmarks.records import Folder, Record, load_sweep, write_manifest
from tests.benchmarks.runs import BOX, DATA, analysed, conditioning, plan, record

LAMS = [0.1, 0.2, 0.4, 0.8]
FACTORS = {"sum": 1.0, "bloop": 0.8}


def sweep(rates: tuple[float, ...] = (), seeds: int = 2) -> tuple[list[Record], object]:
    """End points on main = factor * exp(-10 lam), aux = 10 lam; `bloop` wins at every rate but 0.5."""
    overrides = {"lam": LAMS, "seeds": seeds, "training": {"lr": 0.1}, "box": BOX}
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
    assert metric(tables, "fixed", "bloop", "aux_at_par", 0)["value"] == pytest.approx(8.0)
    assert metric(tables, "fixed", "bloop", "coverage", 0)["value"] == 1.0
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
    assert tuned["value"] == pytest.approx(1.25)
    over = metric(tables, "main-tuned", "bloop", "front_ratio", "all")
    assert over["note"] == "lr=0.5; chosen on values of the other seeds"
    per_method = metric(tables, "per-method", "bloop", "front_ratio", 0)
    assert per_method["value"] == pytest.approx(0.6 * 0.8 / 0.5)
    chosen = tables.fronts[(tables.fronts["protocol"] == "per-method") & (tables.fronts["seed"] == 0)]
    assert {m: set(f["lr"]) for m, f in chosen.groupby("method")} == {"sum": {0.5}, "bloop": {1.0}}
    assert not (tables.fronts["lam"] == 0).any()


def test_without_the_experiments_own_rate_there_is_no_fixed_protocol() -> None:
    records, experiment = sweep(rates=(0.5, 1.0))
    tables = analysed(records, experiment, DATA.fingerprint)
    assert set(tables.metrics["protocol"]) == {"main-tuned", "per-method"}


def test_methods_are_compared_on_what_they_have_in_common() -> None:
    """`bloop` lacks the best λ: without it `sum` has it neither, and the table says so."""
    records, experiment = sweep()
    fewer = [r for r in records if (r.run.label, r.run.lam) != ("bloop", 0.8)]
    tables = analysed(fewer, experiment, DATA.fingerprint)
    assert metric(tables, "fixed", "bloop", "front_ratio", 0)["value"] == pytest.approx(0.8)
    over = metric(tables, "fixed", "bloop", "front_ratio", "all")
    assert over["note"] == "compared on 3 of the 4 λ and rates of sum"
    missed = [r for r in records if (r.run.label, r.run.lam, r.run.seed) != ("bloop", 0.8, 0)]
    tables = analysed(missed, experiment, DATA.fingerprint)
    assert metric(tables, "fixed", "bloop", "front_ratio", 0)["value"] == pytest.approx(0.8)


def test_a_later_sweep_of_the_sum_moves_no_other_methods_ratio() -> None:
    records, experiment = sweep()
    more = [
        r.run.model_copy(update={"lam": 0.7}) for r in records if r.run.label == "sum" and r.run.lam == 0.8
    ]
    before, after = (
        analysed(rs, experiment, DATA.fingerprint)
        for rs in (records, [*records, *(record(r, 1e-5, 0.5) for r in more)])
    )
    first, then = (metric(t, "fixed", "bloop", "front_ratio", "all")["value"] for t in (before, after))
    assert first == then


def test_a_collapsed_seed_costs_the_cap_and_is_not_dropped() -> None:
    records, experiment = sweep()
    broken = [
        r.model_copy(update={"status": "diverged"}) if (r.run.label, r.run.seed) == ("bloop", 1) else r
        for r in records
    ]
    tables = analysed(broken, experiment, DATA.fingerprint)
    logs = np.array([-1, -2, -4, -8]) @ np.array([1, 2, 4, 1]) / 8
    lost = metric(tables, "fixed", "bloop", "front_ratio", 1)["value"]
    assert lost == pytest.approx(2.0 / np.exp(logs))
    over = metric(tables, "fixed", "bloop", "front_ratio", "all")
    assert over["value"] == pytest.approx((0.8 * lost) ** 0.5)


def test_the_rate_of_a_seed_is_chosen_by_the_other_seeds() -> None:
    """At seed 0 the rate of 0.5 is bad: it would choose 0.1 for itself, and makes the others choose it."""
    records, experiment = sweep(rates=(0.1, 0.5), seeds=3)
    lucky = []
    for r in records:
        if (r.run.label, r.run.lam, r.run.seed, r.run.training.lr) == ("sum", 0.0, 0, 0.5):
            row = {**r.trajectory[-1], "validation": {"main": 9.0, "aux": 0.0}}
            r = r.model_copy(update={"trajectory": [row]})
        lucky.append(r)
    fronts = analysed(lucky, experiment, DATA.fingerprint).fronts
    tuned = fronts[fronts["protocol"] == "main-tuned"]
    assert {seed: set(of["lr"]) for seed, of in tuned.groupby("seed")} == {0: {0.5}, 1: {0.1}, 2: {0.1}}


def test_a_lucky_run_is_not_chosen_by_its_own_values() -> None:
    """At seed 0 the rate 0.1 of `bloop` got lucky on validation and on test; nobody else saw that."""
    records, experiment = sweep(rates=(0.1, 0.5), seeds=3)
    lucky = []
    for r in records:
        if (r.run.label, r.run.seed, r.run.training.lr) == ("sum", 0, 0.1):
            best = {"main": 1e-4, "aux": 0.5}
            r = r.model_copy(update={"trajectory": [{**r.trajectory[-1], "validation": best, "test": best}]})
        lucky.append(r)
    fronts = analysed(lucky, experiment, DATA.fingerprint).fronts
    own = fronts[
        (fronts["protocol"] == "per-method") & (fronts["method"] == "sum") & (fronts["split"] == "test")
    ]
    assert set(own.loc[own["seed"] == 0, "lr"]) == {0.5}


def test_failed_runs_are_counted_and_a_method_without_a_seed_is_not_ranked() -> None:
    """Without its worst seed `bloop` would stand better than with it."""
    records, experiment = sweep()
    failed = [
        r.model_copy(update={"status": "failed", "trajectory": []}) if key(r) == ("bloop", 1) else r
        for r in records
    ]
    tables = analysed(failed, experiment, DATA.fingerprint)
    over = metric(tables, "fixed", "bloop", "front_ratio", "all")
    assert over["note"] == "one seed: no interval; 4 of 8 runs of bloop failed or are missing"
    assert metric(tables, "fixed", "sum", "front_ratio", "all")["note"] == ""
    board = leaderboard([(experiment, tables.metrics)])
    assert list(board.over_all["method"]) == ["sum"]
    assert board.left_out == ("conditioning/smoke: bloop (1 of 2 seeds)",)


def test_a_run_that_failed_is_no_run_that_diverged() -> None:
    """At the other seeds its λ may be chosen, and counts, under every protocol."""
    records, experiment = sweep(rates=(0.1, 0.5), seeds=6)
    failed = [
        r.model_copy(update={"status": "failed", "trajectory": []})
        if (*key(r), r.run.lam, r.run.training.lr) == ("bloop", 3, 0.1, 0.5)
        else r
        for r in records
    ]
    lacking = [r for r in failed if r.status != "failed"]
    told, without = (analysed(of, experiment, DATA.fingerprint) for of in (failed, lacking))
    for protocol in ("fixed", "main-tuned", "per-method"):
        ratios = [metric(of, protocol, "bloop", "front_ratio", "all")["value"] for of in (told, without)]
        assert ratios[0] == pytest.approx(ratios[1])


def key(of: Record) -> tuple[str, int]:
    return of.run.label, of.run.seed


def test_where_a_grid_puts_its_points_is_no_merit_of_a_method() -> None:
    """All have the front of `sum`: `dense` three times as many λ, `shifted` λ whose stairs fit the box."""
    grids = {
        "dense": {"low": 0.1, "high": 0.8, "count": 9},
        "shifted": [0.14, 0.34, 0.8],
    }
    claim = {
        "kind": "better",
        "than": ["sum"],
        "split": "test",
        "text": "better",
        "paper": "our own question",
    }
    experiment = conditioning(
        **{"lam": [0.1, 0.8 / 8**0.5, 0.8], "seeds": 6, "training": {"lr": 0.1}, "box": BOX},
        methods={"sum": {}, **{label: {"name": "sum", "lam": lam} for label, lam in grids.items()}},
        claims=[{"id": label, "method": label, **claim} for label in grids],
    )
    records = [
        record(run, np.exp(10 * run.lam - 9) * (1 + 0.01 * run.seed), 9 - 10 * run.lam)
        for run in plan(experiment)
        if run.label in ("sum", *grids)
    ]
    tables = analysed(records, experiment, DATA.fingerprint)
    assert metric(tables, "fixed", "dense", "front_ratio", "all")["high"] < 0.9
    assert metric(tables, "fixed", "shifted", "front_ratio", "all")["high"] < 0.9
    told = tables.claims.set_index("id")
    assert set(told["verdict"]) == {"depends on the measure"}
    assert told.loc["dense", "reason"].startswith("not confirmed by: fronts as lines, fronts of as many λ;")
    assert told.loc["shifted", "reason"].startswith("not confirmed by: fronts as lines;")
    board = leaderboard([(experiment, tables.metrics)])
    assert board.left_out == ("conditioning/smoke: dense (9 λ, the grid has 3)",)
    some = [r for r in records if r.run.label == "sum" or r.run.lam > 0.3]
    verdict = analysed(some, experiment, DATA.fingerprint).claims.set_index("id").loc["dense"]
    assert verdict["verdict"] == "inconclusive"
    assert verdict["reason"].startswith("30 of 66 runs are missing")


def test_train_losses_are_compared_at_what_train_losses_choose() -> None:
    """`bloop` overfits at 0.1: best on train, so that its train front is made of it, worst on validation."""
    records, experiment = sweep(rates=(0.1, 0.5), seeds=3)
    overfit = []
    for r in records:
        if (r.run.label, r.run.training.lr) == ("bloop", 0.1):
            last = r.trajectory[-1]
            tenth = {"main": last["train"]["main"] / 10, "aux": last["train"]["aux"]}
            tenfold = {"main": last["test"]["main"] * 10, "aux": last["test"]["aux"]}
            row = {**last, "train": tenth, "validation": tenfold, "test": tenfold}
            r = r.model_copy(update={"trajectory": [row]})
        overfit.append(r)
    fronts = analysed(overfit, experiment, DATA.fingerprint).fronts
    own = fronts[(fronts["protocol"] == "per-method") & (fronts["method"] == "bloop")]
    rates = {split: set(of["lr"]) for split, of in own.groupby("split")}
    assert rates == {"train": {0.1}, "validation": {0.5}, "test": {0.5}}


def test_one_seed_chooses_on_its_own_values_and_says_so() -> None:
    records, experiment = sweep(rates=(0.1, 0.5), seeds=1)
    tables = analysed(records, experiment, DATA.fingerprint)
    over = metric(tables, "main-tuned", "bloop", "front_ratio", "all")
    assert over["note"].endswith("one seed: chosen on its own values")


def test_without_validation_values_no_rate_is_chosen() -> None:
    records, experiment = sweep(rates=(0.1, 0.5))
    for r in records:
        del r.trajectory[-1]["validation"]
    tables = analysed(records, experiment, DATA.fingerprint)
    assert set(tables.metrics["protocol"]) == {"fixed"}
    assert (
        metric(tables, "fixed", "bloop", "front_ratio", "all")["note"]
        == "no validation values to choose a rate by"
    )


def test_without_a_box_nothing_is_measured_and_it_says_so() -> None:
    records, experiment = sweep()
    tables = analysed(records, experiment.model_copy(update={"box": None}), DATA.fingerprint)
    assert set(tables.metrics["note"]) == {"no box: `scalpel new box` proposes one"}
    assert tables.metrics["value"].isna().all()
    assert set(tables.selected["note"]) == {"no box, no budget"}


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


def test_igd_plus_is_zero_for_the_best_front_alone() -> None:
    records, experiment = sweep()
    tables = analysed(records, experiment, DATA.fingerprint)
    best = metric(tables, "fixed", "bloop", "igd_plus", 0)["value"]
    assert best == pytest.approx(0)
    assert metric(tables, "fixed", "sum", "igd_plus", 0)["value"] > 0.001


def test_paired_tests_are_students() -> None:
    records, experiment = sweep(seeds=6)
    tables = analysed(records, experiment, DATA.fingerprint)
    row = metric(tables, "fixed", "bloop", "p_front_ratio", "all")
    logs = np.log(0.8 * (1 + 0.1 * np.arange(6)))
    assert row["value"] == pytest.approx(stats.ttest_1samp(logs, 0).pvalue)
    assert "before Holm's correction for 1 methods" in row["note"]
    records, experiment = sweep(seeds=1)
    row = metric(analysed(records, experiment, DATA.fingerprint), "fixed", "bloop", "p_front_ratio", "all")
    assert np.isnan(row["value"])
    assert row["note"] == "fewer than two seeds"


def test_attainment_of_one_seed_is_its_front() -> None:
    records, experiment = sweep(seeds=1)
    tables = analysed(records, experiment, DATA.fingerprint)
    fronts = tables.fronts.sort_values(["method", "split", "aux"])[["method", "split", "main", "aux"]]
    for percentile in (25, 50, 75):
        surface = tables.attainment[tables.attainment["percentile"] == percentile]
        surface = surface.sort_values(["method", "split", "aux"])[["method", "split", "main", "aux"]]
        assert surface.to_numpy().tolist() == fronts.to_numpy().tolist()


def test_a_run_that_is_of_two_methods_counts_for_both() -> None:
    """Where a setting follows the rate, and is another method's at one of the rates."""
    experiment = conditioning(
        lam=LAMS,
        seeds=1,
        axes={"training.lr": [0.1, 0.5]},
        methods={
            "sum": {},
            "bloop": {"rho": 0.1},
            "follows": {"name": "bloop", "rho": {"training.lr": [0.1, 0.3]}},
        },
    )
    runs = plan(experiment)
    assert len({run.id for run in runs}) == len(runs)
    summary = analysed([record(run, run.lam, 1.0) for run in runs], experiment, DATA.fingerprint).summary
    cells = summary[summary["lam"] > 0].groupby(["method", "lr"])["lam"].apply(list).to_dict()
    expected = {(name, lr): LAMS for name in ("bloop", "follows", "sum") for lr in (0.1, 0.5)}
    assert cells.items() >= expected.items()
    shared = summary[(summary["lr"] == 0.1) & (summary["lam"] == 0.1)].set_index("method")["id"]
    assert shared["bloop"] == shared["follows"] != shared["sum"]
    assert missing(summary, summary, ["bloop", "follows"], 1) == ""
    at_one_rate = summary[summary["lr"] == 0.1]
    assert (
        missing(at_one_rate, summary, ["bloop", "follows"], 1) == "the runs of bloop and follows are the same"
    )


def test_a_mean_without_a_hard_seed_is_not_compared() -> None:
    easy, hard = [1.0, 1.0], [9.0, 9.0]
    losses = np.array([[easy, easy, [np.nan] * 2], [[0.9, 0.9]] * 2 + [hard]]).transpose(0, 2, 1)
    ran = ~np.isnan(losses[:, 0])
    assert non_dominated(losses, ran).tolist() == [[False, False, False], [True, True, True]]
