"""Main loss relative to `sum`: the front ratio before it is averaged."""

import numpy as np
import pytest

from scalpel_bench.benchmarks.analysis import indicators, relative
from scalpel_bench.benchmarks.experiments.box import Bounds
from tests.benchmarks.runs import BOX, analysed, conditioning, plan, record

BOUNDS = Bounds(aux=BOX["aux"], main=BOX["main"])


def sweep(seeds: int, rng: np.random.Generator, **methods: dict):
    experiment = conditioning(
        figure="fronts", lam=[0.1, 0.5, 1.0], seeds=seeds, box=BOX, axes={}, methods=methods
    )
    records = [record(run, *rng.uniform((0.1, 0.5), (2.2, 10))) for run in plan(experiment)]
    return analysed(records, experiment, None)


@pytest.mark.parametrize("seed", range(5))
def test_averaged_over_the_box_it_is_the_front_ratio(seed) -> None:
    analysis = sweep(1, np.random.default_rng(seed))
    pair = analysis.protocols[0].pair("bloop")
    rows = np.array(list(relative.curve(pair, "test", BOUNDS)))
    mean = (np.log(rows[:-1, 2]) * np.diff(rows[:, 0])).sum() / (rows[-1, 0] - rows[0, 0])
    assert (rows[0, 0], rows[-1, 0]) == BOUNDS.aux
    assert np.exp(mean) == pytest.approx(indicators.front_ratio(*pair.points("test"), BOUNDS)[0], rel=1e-12)


def test_quartiles_are_those_of_the_seeds_by_brute_force() -> None:
    analysis = sweep(5, np.random.default_rng(0))
    pair = analysis.protocols[0].pair("bloop")

    def least(points: np.ndarray, aux: float) -> float:
        return min([m for m, a in points if a <= aux and m < BOUNDS.main[1]], default=BOUNDS.main[1])

    for aux, *quartiles in relative.curve(pair, "test", BOUNDS):
        ratios = [
            least(ours, aux) / least(theirs, aux) for ours, theirs in zip(*pair.points("test"), strict=True)
        ]
        wanted = np.exp(np.quantile(np.log(ratios), [0.25, 0.5, 0.75]))
        np.testing.assert_allclose(quartiles, wanted, rtol=1e-12)


def test_a_method_without_a_trade_off_is_a_point_against_the_whole_front_of_sum() -> None:
    analysis = sweep(2, np.random.default_rng(1))
    assert "mgda" not in set(analysis.relative_curves["method"])
    points = analysis.relative_points
    assert len(points[points["method"] == "mgda"]) > 0
    summary = analysis.summary.set_index("id")
    for row in points[points["split"] == "test"].itertuples():
        run = summary.loc[row.id]
        theirs = summary[(summary["method"] == "sum") & (summary["seed"] == run["seed"])]
        within = theirs[theirs["test_aux"] <= row.aux]["test_main"]
        assert row.ratio == pytest.approx(run["test_main"] / min([*within, BOUNDS.main[1]]))
    ratio = analysis.metrics.query("method == 'mgda' and statistic == 'front_ratio' and split == 'test'")
    assert len(ratio)
    assert not ratio["note"].str.contains("compared on").any()


def test_without_a_box_there_is_nothing() -> None:
    experiment = conditioning(figure="fronts", lam=[1.0], seeds=1).model_copy(update={"box": None})
    analysis = analysed([record(run, 1.0, 1.0) for run in plan(experiment)], experiment, None)
    assert analysis.relative_curves.empty
    assert analysis.relative_points.empty
