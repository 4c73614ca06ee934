"""Hand-made fronts with known values."""

import numpy as np
import pytest

from scalpel_bench.benchmarks.analysis.fronts import attainment, front

STEPS = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]])


def test_front_keeps_the_non_dominated_and_never_a_nan() -> None:
    points = np.vstack([STEPS, [[2.5, 2.5], [np.nan, 0.0], [2.0, 2.0], [np.inf, 0.1]]])
    kept = points[front(points)]
    assert sorted(map(tuple, kept)) == [(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]
    assert not front(np.full((2, 2), np.nan)).any()


def test_attainment_of_one_seed_is_its_front_at_every_percentile() -> None:
    surfaces = attainment([np.vstack([STEPS, [[3.0, 3.0], [np.nan, 0.0]]])], [25, 50, 75])
    for percentile in (25, 50, 75):
        surface = surfaces[surfaces[:, 2] == percentile, :2]
        assert surface.tolist() == STEPS[::-1].tolist()


def test_attainment_orders_seeds() -> None:
    """Shifted fronts: with three seeds the median surface is the middle one."""
    surfaces = attainment([STEPS + shift for shift in (0.2, 0.0, 0.1)], [1, 50, 100])
    for percentile, shift in ((1, 0.0), (50, 0.1), (100, 0.2)):
        surface = surfaces[surfaces[:, 2] == percentile, :2]
        assert surface == pytest.approx(STEPS[::-1] + shift)


def test_a_seed_whose_runs_all_diverged_attains_nothing() -> None:
    """It counts among the seeds: half of four are two, and no more than three have a front."""
    lost = np.full((1, 2), np.nan)
    surfaces = attainment([*(STEPS + shift for shift in (0.2, 0.0, 0.1)), lost], [25, 50, 75, 100])
    for percentile, shift in ((25, 0.0), (50, 0.1), (75, 0.2)):
        assert surfaces[surfaces[:, 2] == percentile, :2] == pytest.approx(STEPS[::-1] + shift)
    assert 100 not in surfaces[:, 2]
    assert set(attainment([STEPS, lost, lost], [25, 50, 75])[:, 2]) == {25}
    assert attainment([lost], [50]).shape == (0, 3)
