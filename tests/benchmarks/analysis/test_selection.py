"""The choice of λ on hand-made tables."""

import math
from typing import Any

import pandas as pd
import pytest

from scalpel_bench.benchmarks.analysis.selection import KNOWN, select
from scalpel_bench.benchmarks.experiments.box import Box
from tests.benchmarks.runs import BOX

Row = tuple[str, float, int, float, float]


def chosen(rows: list[Row]) -> dict[Any, dict[str, Any]]:
    """By seed; the budget is 5. Test losses are a tenth of those of validation."""
    columns = ["method", "lam", "seed", "validation_main", "validation_aux"]
    frame = pd.DataFrame(rows, columns=columns).assign(lr=0.1, status="completed")
    frame = frame.assign(test_main=frame["validation_main"] / 10, test_aux=frame["validation_aux"] / 10)
    return {row["seed"]: row for row in select(frame, frame, Box.model_validate(BOX))}


def test_what_is_chosen_is_the_least_main_loss_within_the_budget_at_the_other_seeds() -> None:
    """Seed 0 would choose 0.1 for itself, where it got lucky, and exceeds the budget at 0.4."""
    rows = [("sum", 0.1, 0, 0.1, 1.0), ("sum", 0.2, 0, 3.0, 5.0), ("sum", 0.4, 0, 0.5, 5.1)]
    rows += [
        ("sum", lam, seed, main, aux)
        for seed in (1, 2)
        for lam, main, aux in ((0.1, 2.0, 1.0), (0.2, 1.0, 5.0), (0.4, 0.5, 5.1))
    ]
    found = chosen(rows)
    assert {seed: found[seed]["lam"] for seed in (0, 1, 2)} == {0: 0.2, 1: 0.1, 2: 0.1}
    assert found[0]["test_main"] == pytest.approx(0.3)
    assert found["all"]["lam"] == 0.1
    assert found["all"]["test_main"] == pytest.approx((0.3 + 0.2 + 0.2) / 3)
    assert found["all"]["test_main_low"] < found["all"]["test_main"] < found["all"]["test_main_high"]
    assert {row["budget"] for row in found.values()} == {5.0}


def test_a_lam_that_diverged_elsewhere_is_no_candidate_and_here_it_costs_the_cap() -> None:
    rows: list[Row] = [("bloop", 0.1, seed, 1.0, 1.0) for seed in (0, 1)]
    rows += [("bloop", 0.2, 0, math.nan, math.nan), ("bloop", 0.2, 1, 0.5, 1.0)]
    found = chosen(rows)
    assert (found[0]["lam"], found[1]["lam"]) == (0.2, 0.1)
    assert (found[0]["test_main"], found[0]["test_aux"]) == (2.0, 9.0)


def test_a_run_outside_the_box_costs_both_bounds() -> None:
    """At seed 0 its auxiliary loss on test is 9.5, above the bound of 9: its main loss does not count."""
    columns = ["method", "lam", "lr", "seed", "status", *KNOWN]
    rows = [("sum", 0.1, 0.1, seed, "completed", 0.5, 1.0, 0.05, 9.5 - 9 * seed) for seed in (0, 1)]
    frame = pd.DataFrame(rows, columns=columns)
    found = {row["seed"]: row for row in select(frame, frame, Box.model_validate(BOX))}
    assert [(found[seed]["test_main"], found[seed]["test_aux"]) for seed in (0, 1)] == [
        (2.0, 9.0),
        (0.05, 0.5),
    ]


def test_a_seed_without_a_choice_is_missed() -> None:
    rows: list[Row] = [("bloop", 0.1, seed, 1.0, 1.0 if seed == 1 else 6.0) for seed in (0, 1)]
    found = chosen(rows)
    assert set(found) == {0, "all"}
    assert found["all"]["note"] == "1 of 2 seeds have a value; one seed: no interval"
    assert chosen([("bloop", 0.1, 0, 1.0, 9.0)])["all"]["note"] == "no λ is within the budget"


def test_a_single_seed_chooses_by_its_own_validation_values() -> None:
    assert chosen([("sum", 0.1, 0, 1.0, 1.0), ("sum", 0.2, 0, 0.5, 1.0)])[0]["lam"] == 0.2


def test_without_validation_it_says_so() -> None:
    frame = pd.DataFrame({"method": ["sum"], "lam": [0.1], "lr": [0.1], "seed": [0], "status": ["completed"]})
    (row,) = select(frame, frame, Box.model_validate(BOX))
    assert (row["note"], row["lam"]) == ("no validation or no test values", None)
