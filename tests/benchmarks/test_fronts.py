"""Hand-made fronts with known values."""

import numpy as np
import pytest

from scalpel_bench.benchmarks.analysis.fronts import (
    attainment,
    front,
    front_ratio,
    hypervolume,
    igd_plus,
    pooled_front,
)

STEPS = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]])


def curve(aux: np.ndarray, factor: float = 1.0) -> np.ndarray:
    """Points with main = factor * exp(-aux)."""
    return np.column_stack([factor * np.exp(-aux), aux])


def test_front_keeps_the_non_dominated_and_never_a_nan() -> None:
    points = np.vstack([STEPS, [[2.5, 2.5], [np.nan, 0.0], [2.0, 2.0], [np.inf, 0.1]]])
    kept = points[front(points)]
    assert sorted(map(tuple, kept)) == [(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]
    assert not front(np.full((2, 2), np.nan)).any()


def test_hypervolume_of_a_staircase() -> None:
    assert hypervolume(STEPS, 4.0, 4.0) == pytest.approx(6.0)
    assert hypervolume(STEPS, 2.5, 4.0) == pytest.approx(1.5 + 0.5)
    assert hypervolume(np.vstack([STEPS, [[np.nan, 0.0]]]), 4.0, 4.0) == pytest.approx(6.0)
    assert hypervolume(STEPS, 0.5, 4.0) == 0.0
    assert hypervolume(np.empty((0, 2)), 4.0, 4.0) == 0.0


def test_hypervolume_ignores_a_collapsed_run_outside_the_region() -> None:
    assert hypervolume(np.vstack([STEPS, [[50.0, -100.0]]]), 4.0, 4.0) == pytest.approx(6.0)


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.3])
def test_ratio_of_parallel_fronts_is_their_factor(factor: float) -> None:
    reference, ours = curve(np.linspace(0, 4, 9)), curve(np.linspace(1, 4, 7), factor)
    ratio = front_ratio(ours, reference, cap=10.0)
    assert ratio.value == pytest.approx(factor, rel=1e-9)
    assert (ratio.low, ratio.high) == (1.0, 4.0)
    assert ratio.points == 7


def test_ratio_averages_the_difference_of_logs() -> None:
    """log main is linear between two points: differences run from 0 to log 4, their mean is log 2."""
    reference = np.array([[1.0, 0.0], [0.5, 1.0]])
    ours = np.array([[1.0, 0.0], [0.125, 1.0]])
    assert front_ratio(ours, reference, cap=2.0).value == pytest.approx(0.5)
    assert front_ratio(reference, ours, cap=2.0).value == pytest.approx(2.0)


def test_ratio_uses_neither_dominated_points_nor_points_above_the_cap() -> None:
    reference, ours = curve(np.linspace(0, 4, 9)), curve(np.linspace(0, 4, 9), 0.9)
    noisy = np.vstack([ours, [[5.0, 3.0], [2.3, -30.0], [np.nan, 1.0]]])
    assert front_ratio(noisy, reference, cap=1.5).value == pytest.approx(0.9)
    narrowed = front_ratio(ours, reference, cap=0.5)
    assert narrowed.value == pytest.approx(0.9)
    assert narrowed.low == 1.0


def test_a_front_attains_its_least_main_loss_wherever_more_auxiliary_loss_is_allowed() -> None:
    """Ours ends at aux 1 with main e⁻¹; the reference falls from e⁻² to e⁻³ between 2 and 3."""
    near, far = curve(np.linspace(0, 1, 4)), curve(np.linspace(2, 3, 40))
    ratio = front_ratio(near, far, cap=10)
    assert np.log(ratio.value) == pytest.approx(-1 - -2.5, rel=1e-3)
    assert (ratio.low, ratio.high, ratio.points) == (2.0, 3.0, 0)
    assert np.log(front_ratio(far, near, cap=10).value) == pytest.approx(-1.5, rel=1e-3)
    halfway = front_ratio(curve(np.linspace(0, 2, 3)), curve(np.linspace(0, 4, 5)), cap=10)
    assert np.log(halfway.value) == pytest.approx((0 * 2 + 1 * 2) / 4)


def test_a_front_that_dominates_is_better_even_as_a_single_point() -> None:
    reference = curve(np.linspace(1, 3, 5))
    one = np.array([[np.exp(-4.0), 1.0]])
    assert np.log(front_ratio(one, reference, cap=10).value) == pytest.approx(-4 + 2, rel=1e-3)
    assert np.log(front_ratio(reference, one, cap=10).value) == pytest.approx(2, rel=1e-3)
    others = np.array([[1.0, 2.0]]), np.array([[2.0, 1.5]])
    ratio = front_ratio(*others, cap=10)
    assert (ratio.value, ratio.low, ratio.high, ratio.points) == (0.5, 2.0, 2.0, 1)


def test_a_front_without_a_point_below_the_cap_is_said_so() -> None:
    points = curve(np.linspace(0, 1, 4))
    assert front_ratio(points, points, cap=1e-9).note == "the front has no point with main loss up to 1e-09"
    assert "the reference has no point" in front_ratio(points, 20 * points, cap=5).note


def test_ratio_with_itself_is_one() -> None:
    rng = np.random.default_rng(0)
    points = rng.random((30, 2)) + 0.1
    assert front_ratio(points, points, cap=1.0).value == pytest.approx(1.0)


def test_pooled_front_is_of_all_points_inside_the_region() -> None:
    pooled = pooled_front(np.vstack([STEPS, STEPS + 0.1, [[0.5, 9.0], [np.nan, 0.0]]]), 4.0, 4.0)
    assert sorted(map(tuple, pooled)) == sorted(map(tuple, STEPS))
    assert pooled_front(STEPS, 0.5, 0.5).shape == (0, 2)


def test_igd_plus_counts_what_is_missing_and_nothing_that_is_better() -> None:
    """From ideal (1, 1) to the region's end (5, 5): (2, 2) misses (1, 3) and (3, 1) by 1 of 4, each."""
    pooled = pooled_front(STEPS, 5.0, 5.0)
    assert igd_plus(STEPS, pooled, 5.0, 5.0) == 0
    assert igd_plus(np.array([[2.0, 2.0]]), pooled, 5.0, 5.0) == pytest.approx((0.25 + 0 + 0.25) / 3)
    assert igd_plus(np.array([[0.0, 0.0]]), pooled, 5.0, 5.0) == 0
    assert igd_plus(np.full((1, 2), np.nan), pooled, 5.0, 5.0) is None
    assert igd_plus(STEPS, pooled_front(STEPS, 0.5, 0.5), 0.5, 0.5) is None


def test_attainment_of_one_seed_is_its_front_at_every_percentile() -> None:
    surfaces = attainment([np.vstack([STEPS, [[3.0, 3.0], [np.nan, 0.0]]])], [25, 50, 75])
    for percentile in (25, 50, 75):
        surface = surfaces[surfaces[:, 2] == percentile, :2]
        assert surface.tolist() == STEPS[::-1].tolist()


def test_attainment_orders_seeds() -> None:
    """Shifted fronts: with three seeds the median surface is the middle one."""
    seeds = [STEPS + shift for shift in (0.2, 0.0, 0.1)]
    surfaces = attainment([*seeds, np.full((1, 2), np.nan)], [1, 50, 100])
    for percentile, shift in ((1, 0.0), (50, 0.1), (100, 0.2)):
        surface = surfaces[surfaces[:, 2] == percentile, :2]
        assert surface == pytest.approx(STEPS[::-1] + shift)
    assert attainment([np.full((1, 2), np.nan)], [50]).shape == (0, 3)


def test_a_main_loss_of_exactly_0_is_better_than_any_other() -> None:
    reference = np.array([[1.0, 1.0], [0.5, 2.0], [0.25, 3.0]])
    better, perfect = np.array([[0.0, 2.0], [1.0, 1.0]]), np.array([[0.0, 1.0]])
    ratios = [front_ratio(points, reference, cap=10.0).value for points in (perfect, better, reference)]
    assert ratios == sorted(ratios)
    assert 0 < ratios[0] < 1e-6
    assert ratios[1] < 1 == ratios[2]
    assert front_ratio(reference, perfect, cap=10.0).value == pytest.approx(1 / ratios[0])
    tiny = np.array([[1e-12, 1.0]])
    assert front_ratio(perfect, tiny, cap=10.0).value == pytest.approx(1.0)
    below = front_ratio(np.array([[-0.1, 1.0]]), reference, cap=10.0)
    assert (below.value, below.note) == (None, "a main loss is below 0, and has no logarithm")
