"""What is measured of a sweep: ratios, intervals and notes."""

import numpy as np
import pytest
from scipy import stats

from scalpel_bench.benchmarks.analysis.comparisons import missing, with_as_many_lam
from scalpel_bench.benchmarks.analysis.leaderboard import leaderboard
from scalpel_bench.benchmarks.analysis.protocols import protocols
from scalpel_bench.benchmarks.analysis.summary import summarise
from scalpel_bench.benchmarks.experiments.box import Bounds
from scalpel_bench.benchmarks.messages import UserError
from scalpel_bench.benchmarks.records import Record
from tests.benchmarks.runs import BOX, DATA, analysed, conditioning, plan, record
from tests.benchmarks.two_methods import LAMS, metric, sweep


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


def test_rates_of_which_none_can_be_chosen_are_said() -> None:
    records, experiment = sweep(rates=(0.1, 0.5))
    without = [
        r.model_copy(update={"trajectory": [{k: v for k, v in r.trajectory[0].items() if k != "validation"}]})
        for r in records
    ]
    elsewhere = experiment.training.model_copy(update={"lr": 0.2})
    tables = analysed(without, experiment.model_copy(update={"training": elsewhere}), DATA.fingerprint)
    assert tables.overview.empty
    assert "nothing is compared: no run is at the experiment's learning rate (0.2)" in tables.title


def test_a_metric_of_the_fronts_that_a_run_lacks_is_said() -> None:
    records, experiment = sweep()
    others = experiment.model_copy(update={"aux": "accuracy"})
    with pytest.raises(
        UserError, match="was recorded without accuracy, which the experiment's fronts are of"
    ):
        analysed(records, others, DATA.fingerprint).tables  # noqa: B018


def test_as_many_lam_are_compared_whichever_of_two_methods_has_more() -> None:
    """Half of the main loss, at every second λ: the ratio is that of fronts of as many λ, either way."""
    experiment = conditioning(
        **{"lam": [0.1, 0.3, 0.5, 0.7], "seeds": 3, "training": {"lr": 0.1}, "box": BOX},
        methods={"sum": {}, "bloop": {"lam": [0.3, 0.7]}},
        claims=[],
    )
    records = [
        record(run, (1 if run.label == "sum" else 0.5) * np.exp(10 * run.lam - 9), 9 - 10 * run.lam)
        for run in plan(experiment)
        if run.label in ("sum", "bloop")
    ]
    (protocol,) = protocols(summarise(records), experiment)
    box = Bounds(aux=BOX["aux"], main=BOX["main"])
    found = [
        with_as_many_lam(protocol.pair(*names), "train", box)
        for names in (("bloop", "sum"), ("sum", "bloop"))
    ]
    assert found[0] is not None
    assert found[1] is not None
    assert found[0] < 1
    assert found[0] * found[1] == pytest.approx(1)


def test_without_a_box_nothing_is_measured_and_it_says_so() -> None:
    records, experiment = sweep()
    tables = analysed(records, experiment.model_copy(update={"box": None}), DATA.fingerprint)
    assert set(tables.metrics["note"]) == {"no box: `scalpel new box` proposes one"}
    assert tables.metrics["value"].isna().all()
    assert set(tables.selected["note"]) == {"no box, no budget"}


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
    assert row["note"] == "no test: fewer than two seeds have a value"


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


def test_each_split_is_measured_in_its_own_box() -> None:
    """Both reach (1, 2); at an auxiliary loss of 6, outside the box for train losses, Bloop is ahead."""
    own = {"aux": (3.0, 4.0), "main": BOX["main"]}
    train = {**own, "tighter": own, "wider": own}
    validation = {**train, "aux": (1.0, 5.0), "wider": {**own, "aux": (1.0, 5.0)}}
    better = {"id": "x", "text": "t", "paper": "p", "kind": "better", "method": "bloop", "than": ["sum"]}
    experiment = conditioning(
        lam=[0.1, 0.2],
        seeds=1,
        training={"lr": 0.1},
        box={**BOX, "train": train, "validation": validation},
        claims=[{**better, "id": split, "split": split} for split in ("train", "test")],
    )
    ends = {0.1: {"sum": (1.0, 2.0), "bloop": (1.0, 2.0)}, 0.2: {"sum": (0.5, 6.0), "bloop": (0.25, 6.0)}}
    runs = [run for run in plan(experiment) if run.label in ("sum", "bloop")]
    tables = analysed([record(run, *ends[run.lam][run.label]) for run in runs], experiment, DATA.fingerprint)
    expected = {"train": 1.0, "test": 0.5 ** (3 / 8)}
    effects = tables.claims.set_index("id")["effect"]
    for split, ratio in expected.items():
        row = metric(tables, "fixed", "bloop", "front_ratio", 0, split=split)
        assert row["value"] == pytest.approx(ratio)
        assert effects[split] == pytest.approx(ratio)
        aux = tables.relative_curves.query("split == @split")["aux"]
        assert (aux.min(), aux.max()) == {"train": (3.0, 4.0), "test": (1.0, 9.0)}[split]
    assert set(tables.selected["budget"]) == {3.0}


def test_p_values_of_several_methods_are_corrected_for_their_number() -> None:
    experiment = conditioning(lam=[0.1, 0.2], seeds=6, training={"lr": 0.1}, box=BOX)
    spread = {
        "sum": [1.0] * 6,
        "bloop": [0.8, 0.82, 0.79, 0.8, 0.83, 0.81],
        "pcgrad": [0.9, 1.0, 0.95, 0.97, 0.9, 0.92],
    }
    runs = [run for run in plan(experiment) if run.label in spread]
    records = [record(run, spread[run.label][run.seed] * (1 - run.lam), 10 * run.lam) for run in runs]
    tables = analysed(records, experiment, DATA.fingerprint)
    logs = {name: np.log(spread[name]) * (7 / 8) for name in ("bloop", "pcgrad")}  # at the cap below 2
    raw = {name: stats.ttest_1samp(values, 0).pvalue for name, values in logs.items()}
    found = {name: metric(tables, "fixed", name, "p_front_ratio", "all")["value"] for name in logs}
    assert found == pytest.approx({"bloop": 2 * raw["bloop"], "pcgrad": raw["pcgrad"]})
    volumes = {
        name: [metric(tables, "fixed", name, "hypervolume", seed)["value"] for seed in range(6)]
        for name in spread
    }
    p = metric(tables, "fixed", "bloop", "p_hypervolume", "all")["value"]
    assert p == pytest.approx(2 * stats.ttest_rel(volumes["bloop"], volumes["sum"]).pvalue)
    lines = [metric(tables, "fixed", "bloop", "line_ratio", seed)["value"] for seed in range(6)]
    over = metric(tables, "fixed", "bloop", "line_ratio", "all")["value"]
    assert over == pytest.approx(np.exp(np.log(lines).mean()), rel=1e-12)
    assert over != pytest.approx(np.mean(lines), rel=1e-5)
