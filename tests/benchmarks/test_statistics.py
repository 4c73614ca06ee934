"""Known answers, brute force, and coverage on simulated seeds."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from scalpel_bench.benchmarks.analysis.statistics import holm, over_seeds, seeds_needed, share, sign_flip


def brute_force(differences: list[float]) -> float:
    """The share of sign assignments whose mean is at least as far from 0."""
    observed = abs(np.mean(differences))
    signs = np.array(list(product([1, -1], repeat=len(differences))))
    return float((np.abs((signs * differences).mean(1)) >= observed - 1e-12).mean())


@pytest.mark.parametrize("seeds", [6, 7, 10])
def test_sign_flip_equals_brute_force(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    for shift in (0.0, 0.5, 3.0):
        differences = list(rng.normal(shift, size=seeds))
        assert sign_flip(differences) == pytest.approx(brute_force(differences))


def test_sign_flip_of_one_sign_is_the_least_it_can_be() -> None:
    assert sign_flip([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) == 2 / 2**6
    assert sign_flip([0.0] * 6) == 1.0


def test_too_few_seeds_have_no_p_value() -> None:
    assert seeds_needed() == 6
    assert seeds_needed(0.1) == 5
    assert 2 / 2**6 <= 0.05 < 2 / 2**5
    assert sign_flip([1.0] * 5) is None


def test_sign_flip_of_many_seeds_is_drawn_and_repeatable() -> None:
    differences = list(np.random.default_rng(0).normal(0.3, size=20))
    assert sign_flip(differences) == sign_flip(differences)
    assert 0 < sign_flip(differences) < 1


def test_holm_equals_a_hand_computation() -> None:
    """Sorted 0.005 · 4, 0.01 · 3, 0.03 · 2, 0.04 · 1, each at least the one before."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


def test_share_is_clopper_and_pearsons() -> None:
    assert share(0, 3)[:3] == pytest.approx((0, 0, 1 - 0.025 ** (1 / 3)))
    assert share(3, 3)[:3] == pytest.approx((1, 0.025 ** (1 / 3), 1))


def test_few_seeds_have_students_interval() -> None:
    assert over_seeds([], 2) == (None, None, None, "0 of 2 seeds have a value")
    assert over_seeds([0.5], 1) == (0.5, None, None, "one seed: no interval")
    value, low, high, note = over_seeds([1.0, 2.0, 3.0, 4.0], 5)
    assert (value, note) == (2.5, "4 of 5 seeds have a value; 4 seeds: Student's t")
    assert (low, high) == pytest.approx(stats.t.interval(0.95, 3, 2.5, stats.sem([1, 2, 3, 4])))


def test_more_seeds_are_bootstrapped_within_their_range() -> None:
    values = [1.0, 2.0, 3.0, 4.0, 5.0, 9.0]
    value, low, high, note = over_seeds(values, 6)
    assert (value, note) == (4.0, "")
    assert 1.0 <= low < 4.0 < high <= 9.0
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    assert over_seeds(values, 6) == (value, low, high, note)
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


def test_bootstrap_intervals_are_as_wide_as_students_where_values_are_normal() -> None:
    """Though a bootstrapped mean scatters by √((n − 1) / n) too little."""
    samples = np.random.default_rng(0).normal(size=(20, 10))
    widths = []
    for values in samples:
        low, high = stats.t.interval(0.95, 9, values.mean(), stats.sem(values))
        found = over_seeds(list(values), 10)
        widths.append((found.high - found.low) / (high - low))
    assert np.mean(widths) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("seeds", [3, 8])
def test_intervals_of_ratios_do_not_depend_on_which_is_above(seeds: int) -> None:
    ratios = np.exp(np.random.default_rng(0).normal(size=seeds))
    above, below = (over_seeds(list(r), seeds, ratios=True) for r in (ratios, 1 / ratios))
    assert above.value == pytest.approx(1 / below.value)
    assert above.value == pytest.approx(stats.gmean(ratios))
    assert above.low == pytest.approx(1 / below.high, rel=0.05)


def test_equal_values_have_an_interval_of_no_width() -> None:
    for seeds in (2, 7):
        assert over_seeds([1.0] * seeds, seeds, ratios=True)[:3] == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("seeds", [2, 3, 6, 12])
def test_coverage_on_simulated_seeds(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    trials = 300
    found = [over_seeds(list(rng.normal(size=seeds)), seeds) for _ in range(trials)]
    assert 0.88 <= sum(e.low <= 0 <= e.high for e in found) / trials <= 0.99
