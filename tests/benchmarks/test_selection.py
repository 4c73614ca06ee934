"""The choice of λ on hand-made tables."""

import math

import pandas as pd
import pytest

from scalpel_bench.benchmarks.analysis.selection import select


def table(rows: list[tuple[str, float, int, float, float]]) -> pd.DataFrame:
    """Test losses are ten times those of validation."""
    columns = ["method", "lam", "seed", "validation_main", "validation_aux"]
    frame = pd.DataFrame(rows, columns=columns).assign(lr=0.1)
    return frame.assign(test_main=10 * frame["validation_main"], test_aux=10 * frame["validation_aux"])


SUM = [("sum", 0.1, 0, 1.0, 3.0), ("sum", 0.2, 0, 1.5, 2.0), ("sum", 0.4, 0, 2.0, 1.0)]


def test_the_budget_is_a_median_and_what_meets_it_exactly_is_within_it() -> None:
    own = [("bloop", 0.1, 0, 0.5, 2.1), ("bloop", 0.2, 0, 0.7, 2.0), ("bloop", 0.4, 0, 0.9, 0.1)]
    chosen = {row["method"]: row for row in select(table([*SUM, *own]), cap=2.0)}
    assert {row["budget"] for row in chosen.values()} == {2.0}
    assert (chosen["sum"]["lam"], chosen["bloop"]["lam"]) == (0.2, 0.2)
    assert (chosen["bloop"]["test_main"], chosen["bloop"]["test_aux"]) == pytest.approx((7, 20))


def test_runs_of_sum_above_the_cap_set_no_budget() -> None:
    (chosen,) = select(table(SUM), cap=1.6)
    assert (chosen["budget"], chosen["lam"]) == (2.5, 0.2)
    (none,) = select(table(SUM), cap=0.9)
    assert none["note"] == "sum sets no budget: none of its runs has a main loss up to 0.9"


def test_losses_are_means_over_seeds_and_a_lam_without_all_of_them_is_no_candidate() -> None:
    own = [("bloop", 0.1, 0, 0.1, 1.9), ("bloop", 0.1, 1, 0.3, 2.3)]  # its mean exceeds the budget
    own += [("bloop", 0.2, 0, 0.2, 1.0)]  # one seed of two
    own += [("bloop", 0.3, 0, 0.1, 1.0), ("bloop", 0.3, 1, math.nan, math.nan)]  # one diverged
    own += [("bloop", 0.4, 0, 0.8, 1.0), ("bloop", 0.4, 1, 0.6, 1.0)]
    own += [("bloop", 0.5, 0, 0.4, 1.0), ("bloop", 0.5, 1, 1.2, 1.0)]
    chosen = {row["method"]: row for row in select(table([*SUM, *own]), cap=2.0)}["bloop"]
    assert (chosen["lam"], chosen["seeds"]) == (0.4, 2)
    assert (chosen["validation_main"], chosen["test_main"]) == pytest.approx((0.7, 7.0))
