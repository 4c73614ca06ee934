"""What is chosen by the other seeds: rates and λ."""

import numpy as np
import pandas as pd
import pytest

from scalpel_bench.benchmarks.analysis.one_rate import at_one_rate
from scalpel_bench.benchmarks.analysis.protocols import means, non_dominated
from scalpel_bench.benchmarks.messages import UserError
from tests.benchmarks.runs import BOX, DATA, analysed, conditioning, plan, record
from tests.benchmarks.two_methods import metric, sweep


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


def test_a_mean_without_a_hard_seed_is_not_compared() -> None:
    easy, hard = [1.0, 1.0], [9.0, 9.0]
    losses = np.array([[easy, easy, [np.nan] * 2], [[0.9, 0.9]] * 2 + [hard]]).transpose(0, 2, 1)
    ran = ~np.isnan(losses[:, 0])
    assert non_dominated(losses, ran).tolist() == [[False, False, False], [True, True, True]]


def test_a_mean_without_a_hard_seed_is_none_to_choose_by() -> None:
    rows = [
        (0.1, 0, 1.0),
        (0.1, 1, 9.0),
        (0.5, 0, 2.0),
        (1.0, 0, 3.0),
        (1.0, 1, np.nan),
        (2.0, 0, 4.0),
        (2.0, 1, 8.0),
    ]
    runs = pd.DataFrame(rows, columns=["lam", "seed", "loss"])
    assert means(runs, ["lam"], ["loss"])["loss"].to_dict() == {0.1: 5.0, 2.0: 6.0}


def test_at_one_rate_each_method_has_that_of_its_best_front_at_the_other_seeds() -> None:
    """`sum` at 0.5, `bloop` at 1; at seed 0 `sum` is lucky at 0.1, which the others then choose on test."""
    records, experiment = sweep(rates=(0.1, 0.5, 1.0), seeds=3)
    lucky = []
    for r in records:
        if (r.run.label, r.run.seed, r.run.training.lr) == ("sum", 0, 0.1):
            best = {"main": 1e-4, "aux": 0.5}
            r = r.model_copy(update={"trajectory": [{**r.trajectory[-1], "validation": best}]})
        lucky.append(r)
    summary = analysed(lucky, experiment, DATA.fingerprint).summary
    found = {
        split: at_one_rate(summary, experiment, experiment.box, split).set_index(["method", "seed"])
        for split in ("train", "test")
    }
    assert found["train"].loc["sum", "lr"].tolist() == [0.5, 0.5, 0.5]
    assert found["train"].loc["bloop", "lr"].tolist() == [1.0, 1.0, 1.0]
    assert found["train"].loc["bloop", "front_ratio"].tolist() == pytest.approx([0.96, 1.056, 1.152])
    assert found["test"].loc["sum", "lr"].tolist() == [0.5, 0.1, 0.1]
    assert found["test"].loc["bloop", "front_ratio"].tolist() == pytest.approx([0.96, 0.528, 0.576])
    assert found["test"].loc["bloop", "line_ratio"].tolist() == pytest.approx([0.96, 0.528, 0.576])
    assert (found["test"].loc["sum", ["front_ratio", "line_ratio"]] == 1).all(axis=None)
    first = summary[summary["method"] == "bloop"].index[0]
    for message, runs in {
        "one learning rate": summary[summary["lr"] == 0.5],
        "no validation values": summary.drop(columns=["validation_main", "validation_aux"]),
        "runs of bloop failed or are missing": summary.drop(index=first),
    }.items():
        with pytest.raises(UserError, match=message):
            at_one_rate(runs, experiment, experiment.box, "test")


def test_at_one_rate_a_point_on_the_line_between_two_others_is_a_gain_on_stairs_alone() -> None:
    """The logarithm of 0.2 lies midway between those of 0.4 and 0.1: it halves a quarter of the stairs."""
    ends = {0.0: (0.01, 9.0), 0.1: (0.4, 1.0), 0.5: (0.2, 3.0), 1.0: (0.1, 5.0)}
    experiment = conditioning(
        figure="fronts",
        lam=[0.1, 1.0],
        seeds=2,
        methods={"bloop": {"rho": 0.5, "lam": [0.1, 0.5, 1.0]}},
        axes={"training.lr": [0.05, 0.1]},
        box=BOX,
    )
    runs = [run for run in plan(experiment) if run.label in ("sum", "bloop")]
    records = [record(run, *(ends[run.lam] if run.training.lr == 0.1 else (0.9, 8.0))) for run in runs]
    summary = analysed(records, experiment, DATA.fingerprint).summary
    found = at_one_rate(summary, experiment, experiment.box, "test").set_index("method")
    assert found.loc["bloop", "front_ratio"].tolist() == pytest.approx([0.5**0.25] * 2)
    assert found.loc["bloop", "line_ratio"].tolist() == pytest.approx([1.0] * 2)
