"""Known answers, another library, and coverage on simulated seeds."""

import numpy as np
import pytest
from scipy import stats

from scalpel_bench.benchmarks.analysis.statistics import holm, over_seeds, p_above, two_sided


def test_holm_equals_a_hand_computation() -> None:
    """Sorted 0.005 · 4, 0.01 · 3, 0.03 · 2, 0.04 · 1, each at least the one before."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


@pytest.mark.parametrize("seeds", [2, 6, 12])
def test_intervals_are_students(seeds: int) -> None:
    values = np.random.default_rng(seeds).normal(size=seeds)
    value, low, high, note = over_seeds(list(values), seeds)
    assert (value, note) == (pytest.approx(values.mean()), "")
    expected = stats.t.interval(0.95, seeds - 1, values.mean(), stats.sem(values))
    assert (low, high) == pytest.approx(expected)
    assert over_seeds(list(values), seeds, 0.9)[1] > low


def test_too_few_seeds_are_said_so() -> None:
    assert over_seeds([], 2) == (None, None, None, "0 of 2 seeds have a value")
    assert over_seeds([0.5], 1) == (0.5, None, None, "one seed: no interval")
    assert over_seeds([1.0, 2.0], 3).note == "2 of 3 seeds have a value"
    assert p_above([1.0], 0) is None
    assert two_sided([1.0]) is None


def test_p_values_equal_another_library() -> None:
    values = list(np.random.default_rng(0).normal(0.4, size=7))
    assert p_above(values, 0.1) == pytest.approx(stats.ttest_1samp(values, 0.1, alternative="greater").pvalue)
    assert two_sided(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    assert two_sided([-value for value in values]) == pytest.approx(two_sided(values))


def test_equal_values_have_no_scatter() -> None:
    assert over_seeds([1.0] * 7, 7, ratios=True)[:3] == (1.0, 1.0, 1.0)
    assert (p_above([1.0] * 6, 0), p_above([1.0] * 6, 1), p_above([1.0] * 6, 2)) == (0.0, 1.0, 1.0)
    assert (two_sided([0.0] * 6), two_sided([0.5] * 6)) == (1.0, 0.0)


@pytest.mark.parametrize("seeds", [3, 8])
def test_intervals_of_ratios_do_not_depend_on_which_is_above(seeds: int) -> None:
    ratios = np.exp(np.random.default_rng(0).normal(size=seeds))
    above, below = (over_seeds(list(r), seeds, ratios=True) for r in (ratios, 1 / ratios))
    assert above.value == pytest.approx(1 / below.value)
    assert above.value == pytest.approx(stats.gmean(ratios))
    assert above.low == pytest.approx(1 / below.high)


@pytest.mark.parametrize("seeds", [2, 6, 12])
def test_coverage_on_simulated_seeds(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    found = [over_seeds(list(rng.normal(size=seeds)), seeds) for _ in range(2000)]
    assert 0.935 <= np.mean([e.low <= 0 <= e.high for e in found]) <= 0.965
