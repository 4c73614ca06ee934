"""The measure of fronts: its properties on random pairs, by brute force, and hand-made values."""

from itertools import pairwise

import moocore
import numpy as np
import pytest

from scalpel_bench.benchmarks.analysis.fronts import front, stacked
from scalpel_bench.benchmarks.analysis.indicators import (
    attained,
    aux_at_par,
    conflict,
    coverage,
    front_ratio,
    hypervolume,
    igd_plus,
    inside,
    line_ratio,
    mean_log_line,
    mean_log_main,
    pooled_front,
    seen,
)
from scalpel_bench.benchmarks.experiments.box import Bounds

BOX = Bounds(aux=(1.0, 3.0), main=(0.5, 4.0))
PAIRS = 10_000
TINY = 1e-12


def random_points(count: int = PAIRS, points: int = 6, seed: int = 0) -> np.ndarray:
    """Points in and around the box, on a coarse grid in half of the sets, a few of them diverged."""
    rng = np.random.default_rng(seed)
    drawn = np.stack([rng.uniform(0.1, 5.0, (count, points)), rng.uniform(0.0, 4.0, (count, points))], -1)
    drawn[: count // 2] = np.round(2 * drawn[: count // 2]) / 2
    drawn[rng.random((count, points)) < 0.05] = np.nan
    return drawn


def by_hand(points: np.ndarray, box: Bounds) -> float:
    """The mean of log A(a) between all auxiliary losses at which A can change, one after the other."""
    (least, most), (low, high) = box.aux, box.main
    ends = sorted({least, most, *(aux for _, aux in points if least < aux < most)})
    total = 0.0
    for start, end in pairwise(ends):
        reached = [main for main, aux in points if aux <= start]
        total += (end - start) * np.log(np.clip(min(reached, default=high), low, high))
    return total / (most - least)


def test_the_mean_of_what_is_attained_equals_brute_force() -> None:
    points = random_points(2000)
    expected = [by_hand(own[~np.isnan(own).any(-1)], BOX) for own in points]
    assert mean_log_main(points, BOX) == pytest.approx(expected, abs=TINY)


def test_the_log_ratio_is_a_difference_of_hypervolumes() -> None:
    ours, theirs = random_points(2000, seed=1), random_points(2000, seed=2)

    def volume(points: np.ndarray) -> float:
        within = seen(points, BOX)
        within = within[~np.isnan(within).any(-1)]
        within[:, 0] = np.log(within[:, 0])
        corner = np.array([np.log(BOX.main[1]), BOX.aux[1]])
        return float(moocore.hypervolume(within, ref=corner)) if len(within) else 0.0

    expected = [(volume(b) - volume(a)) / 2.0 for a, b in zip(ours, theirs, strict=True)]
    assert np.log(front_ratio(ours, theirs, BOX)) == pytest.approx(expected, abs=1e-9)


def test_dominance_means_a_better_or_equal_ratio_and_a_strictly_better_one_where_the_box_sees_it() -> None:
    """Every point of the reference is dominated by one of ours, by brute force over all pairs of points."""
    theirs = random_points(seed=3)
    shift = np.random.default_rng(4).uniform(0, 0.3, theirs.shape) * np.random.default_rng(5).integers(
        0, 2, theirs.shape
    )
    ours = np.concatenate([theirs - shift, random_points(points=2, seed=6)], axis=1)
    covers = (ours[:, :, None] <= theirs[:, None]).all(-1).any(1) | np.isnan(theirs).any(-1)
    assert covers.all()
    difference = np.log(front_ratio(ours, theirs, BOX))
    assert (difference <= TINY).all()
    at = np.linspace(1, 3, 200, endpoint=False)[:, None]  # a grid on which A is strictly less somewhere
    least = [np.clip(_least(points, at), *BOX.main) for points in (ours, theirs)]
    strictly = (least[0] < least[1] - 1e-9).any(0)
    assert strictly.sum() > PAIRS / 2
    assert (difference[strictly] < 0).all()


def _least(points: np.ndarray, at: np.ndarray) -> np.ndarray:
    """``(grid, pairs)``: the least main loss up to each auxiliary loss."""
    main, aux = (np.nan_to_num(points[..., k], nan=np.inf) for k in (0, 1))
    return np.stack([np.where(aux <= a, main, np.inf).min(-1) for a in at[:, 0]])


def test_random_pairs_that_happen_to_dominate_are_better_or_equal() -> None:
    ours, theirs = random_points(points=4, seed=7), random_points(points=2, seed=8)
    covers = (ours[:, :, None] <= theirs[:, None]).all(-1).any(1) | np.isnan(theirs).any(-1)
    dominates = covers.all(1)
    assert dominates.sum() > 200
    assert (front_ratio(ours, theirs, BOX)[dominates] <= 1 + TINY).all()
    assert (hypervolume(ours, BOX) >= hypervolume(theirs, BOX) - TINY)[dominates].all()
    pooled = pooled_front(random_points(50), BOX)
    assert (igd_plus(ours, pooled, BOX) <= igd_plus(theirs, pooled, BOX) + TINY)[dominates].all()


@pytest.mark.parametrize("index", range(6))
def test_removing_a_point_never_helps(index: int) -> None:
    ours, theirs = random_points(seed=9), random_points(seed=10)
    fewer = np.delete(ours, index, axis=1)
    assert (front_ratio(fewer, theirs, BOX) >= front_ratio(ours, theirs, BOX) - TINY).all()
    assert (hypervolume(fewer, BOX) <= hypervolume(ours, BOX) + TINY).all()
    assert (aux_at_par(fewer, theirs, BOX) >= aux_at_par(ours, theirs, BOX)).all()
    assert (coverage(fewer, BOX) <= coverage(ours, BOX)).all()


def test_the_mean_of_lines_equals_brute_force() -> None:
    points = random_points(seed=11)[:200]
    aux = np.linspace(*BOX.aux, 20_001)
    for own, found in zip(points, mean_log_line(points, BOX), strict=True):
        within = seen(own, BOX)
        kept = within[front(within)]
        kept = kept[kept[:, 1].argsort()]
        expected = np.full(len(aux), np.log(BOX.main[1]))
        if len(kept):
            after = aux >= kept[0, 1]
            expected[after] = np.interp(aux[after], kept[:, 1], np.log(kept[:, 0]))
        assert found == pytest.approx(expected.mean(), abs=2e-3)


def test_a_finer_grid_on_one_curve_has_a_better_front_as_stairs_and_the_same_as_lines() -> None:
    """log main = 1 − aux; three points of it against nine that include them."""
    dense, coarse = (
        np.stack([np.exp(1 - aux), aux], -1) for aux in (np.linspace(1, 3, 9), np.arange(1.0, 4))
    )
    box = BOX.model_copy(update={"main": (0.01, 2.0)})
    assert front_ratio(dense, coarse, box) == pytest.approx(np.exp(-0.375))
    assert line_ratio(dense, coarse, box) == pytest.approx(1)


def test_adding_a_dominated_point_changes_nothing() -> None:
    ours, theirs = random_points(seed=11), random_points(seed=12)
    which = np.random.default_rng(13).integers(0, 6, PAIRS)
    dominated = ours[np.arange(PAIRS), which] + np.random.default_rng(14).uniform(0, 1, (PAIRS, 2))
    more = np.concatenate([ours, dominated[:, None]], axis=1)
    assert front_ratio(more, theirs, BOX) == pytest.approx(front_ratio(ours, theirs, BOX), abs=TINY)


def test_one_run_of_the_sum_alone_never_beats_the_sum() -> None:
    points = random_points(seed=15)
    for alone in range(6):
        assert (front_ratio(points[:, alone : alone + 1], points, BOX) >= 1 - TINY).all()


def test_swapping_inverts_the_ratio_and_a_front_equals_itself() -> None:
    ours, theirs = random_points(seed=16), random_points(seed=17)
    assert front_ratio(ours, ours, BOX) == pytest.approx(1.0)
    assert front_ratio(ours, theirs, BOX) * front_ratio(theirs, ours, BOX) == pytest.approx(1.0)


def test_a_staircase() -> None:
    points = np.array([[3.0, 0.5], [2.0, 2.0], [2.5, 2.5], [0.1, 2.5], [1.0, 3.5]])
    edges, main = attained(points, BOX)
    assert edges.tolist() == [1.0, 1.0, 2.0, 2.5, 2.5, 3.0, 3.0]
    assert main.tolist() == [4.0, 3.0, 2.0, 2.0, 0.5, 0.5]
    mean = (np.log(3) * 1 + np.log(2) * 0.5 + np.log(0.5) * 0.5) / 2
    assert mean_log_main(points, BOX) == pytest.approx(mean)
    assert hypervolume(points, BOX) == pytest.approx((1 * 1 + 2 * 0.5 + 3.5 * 0.5) / (2 * 3.5))
    assert coverage(points, BOX) == 1.0  # the first is better than the box, and counts as its bound
    assert coverage(points[1:], BOX) == 0.5
    assert inside(points, BOX).tolist() == [False, True, True, True, False]


def test_what_the_box_does_not_see_costs_the_cap() -> None:
    diverged, outside = np.full((2, 2), np.nan), np.array([[1.0, 3.5], [4.0, 1.0]])
    for points in (diverged, outside, np.empty((0, 2))):
        assert mean_log_main(points, BOX) == pytest.approx(np.log(4.0))
        assert (hypervolume(points, BOX), coverage(points, BOX)) == (0.0, 0.0)
    best = np.array([[0.01, 0.0]])
    assert front_ratio(diverged, best, BOX) == pytest.approx(4.0 / 0.5)


@pytest.mark.parametrize("factor", [0.8, 1.3])
def test_the_ratio_of_parallel_fronts_is_their_factor(factor: float) -> None:
    aux = np.linspace(1, 3, 9)
    reference = np.stack([3 * np.exp(-aux / 4), aux], -1)
    assert front_ratio(reference * [factor, 1], reference, BOX) == pytest.approx(factor)


def test_auxiliary_at_par() -> None:
    reference = np.array([[1.0, 2.5], [2.0, 1.5]])
    assert aux_at_par(np.array([[1.04, 2.0], [1.06, 1.2], [np.nan, 0.0]]), reference, BOX) == 2.0
    assert aux_at_par(np.array([[1.06, 1.2]]), reference, BOX) == 3.0
    assert aux_at_par(np.array([[0.52, 1.2]]), reference * 0.01, BOX) == 1.2  # at par with the lower bound
    assert aux_at_par(np.array([[0.9, 3.5]]), reference, BOX) == 3.0
    assert aux_at_par(reference, np.full((1, 2), np.nan), BOX) == 1.5


def test_igd_plus_equals_another_library() -> None:
    pooled = pooled_front(random_points(3, seed=18), BOX)
    low, high = np.log(BOX.main)

    def scaled(points: np.ndarray) -> np.ndarray:
        return np.stack([(np.log(points[:, 0]) - low) / (high - low), (points[:, 1] - 1) / 2], -1)

    for own in random_points(50, seed=19):
        within = seen(own, BOX)
        within = np.vstack([within[~np.isnan(within).any(-1)], [4.0, 3.0]])
        expected = float(moocore.igd_plus(scaled(within), ref=scaled(pooled)))
        assert igd_plus(own, pooled, BOX) == pytest.approx(expected)
    assert np.isnan(igd_plus(random_points(3), np.empty((0, 2)), BOX)).all()


def test_conflict_is_what_more_weight_costs() -> None:
    """In order of λ: main 1 grows to 2 and 3; the last is beyond the cap, the first has too much aux."""
    points = np.array([[1.0, 9.0], [2.0, 2.0], [3.0, 1.5], [5.0, 0.1]])
    assert conflict(points, BOX) == pytest.approx((np.log(2) + np.log(3)) / 2)
    assert conflict(points[[1, 0, 2]], BOX) == pytest.approx(np.log(1.5))
    assert np.isnan(conflict(points[[0, 3]], BOX))


def test_seeds_with_different_numbers_of_points_are_padded() -> None:
    sets = [random_points(1, n, seed=n)[0] for n in (2, 5, 3)]
    expected = [mean_log_main(own, BOX) for own in sets]
    assert mean_log_main(stacked(sets), BOX) == pytest.approx(expected)
    assert stacked([]).shape == (0, 0, 2)
