"""Claims about where runs come to rest, from hand-made records whose answers are known."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from scalpel_bench.benchmarks.analysis.at_rest import at_rest, lowest, rest_points, slope
from scalpel_bench.benchmarks.analysis.evidence import Evidence, evidence
from scalpel_bench.benchmarks.experiments.loading import load
from scalpel_bench.benchmarks.experiments.schema import Experiment
from scalpel_bench.benchmarks.experiments.settings import TrainingRun
from scalpel_bench.benchmarks.figures import exact_front, style
from scalpel_bench.benchmarks.messages.errors import UserError
from scalpel_bench.benchmarks.records import Record
from tests.benchmarks.runs import DATA, analysed, plan

BATCHES, RATES, RHOS = (16, 64, 256), (0.025, 0.0707, 0.2), (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
AXES = {"task.batch_size": BATCHES, "training.lr": RATES, "method.rho": RHOS}
STATED = {"id": "c", "text": "t", "paper": "none", "lam": 0.3}
DISTANCES = {"to": "sum", "than": "bloop (rho=0.04)"}
NOISE = {
    **STATED,
    **DISTANCES,
    **{"kind": "distance_slope", "method": "bloop_no_ema", "at": {"training.lr": 0.2}},
    **{"over": "task.batch_size", "values": BATCHES, "low": 0.0},
}
CLOSE = {
    **STATED,
    **{"kind": "relative_distance", "methods": ["bloop_no_ema", "bloop"], "to": "bloop (rho=0.04)"},
    **{"than": "sum", "most": 0.6, "at": {"training.lr": 0.2, "task.batch_size": 64}},
}
BEST = {
    **STATED,
    **{"kind": "best_setting_slope", "method": "bloop", "setting": "method.rho", "metric": "excess"},
    **{"over": "training.lr", "values": RATES, "low": 0.5, "high": 0.8, "at": {"task.batch_size": 16}},
}


def experiment(claim: dict[str, Any], **overrides: Any) -> Experiment:
    given = {"claims": [claim], "axes": AXES, "lam": [0.1, 0.3], "seeds": 2}
    loaded = load("convex", "laptop", {**given, **overrides})
    assert isinstance(loaded, Experiment)
    return loaded


def resting(run: TrainingRun, **metrics: float) -> Record:
    """A run that starts far away, and from half of its training on rests, but for what cancels."""
    rows = [{"step": step, "train": {k: v + off for k, v in metrics.items()}} for step, off in NEAR.items()]
    return Record(id=run.id, run=run, status="completed", environment={}, trajectory=rows, timings={})


NEAR = {0: 100.0, 5: 50.0, 8: 1e-4, 10: -1e-4}


def answered(
    claim: dict[str, Any],
    metrics: Callable[[TrainingRun], dict[str, float]],
    keep: Callable[[TrainingRun], bool] = bool,
) -> list[Evidence]:
    swept = experiment(claim)
    records = {run.id: resting(run, **metrics(run)) for run in plan(swept) if keep(run)}
    found: Any = SimpleNamespace(experiment=swept, records=records)
    (several,) = evidence(swept.claims[0], found)
    return several


def places(run: TrainingRun) -> dict[str, float]:
    """At λ = 0.3 surgery without an EMA lies B^0.4 / 10 from sum, and Bloop 1 + 0.1 log2(ρ / 0.04)."""
    far = {"sum": 0.0, "bloop_no_ema": run.axes["task.batch_size"] ** 0.4 / 10, "dynamic_barrier": 0.5}
    bloop = 1 + 0.1 * math.log2(run.axes.get("method.rho", 0.04) / 0.04)
    distance = far.get(run.method_label, bloop)
    other = run.lam != 0.3 or run.training.lr != 0.2
    unit = 7.0 if other else 1.0 + run.seed
    return {"main": 1 - 0.6 * unit * distance, "aux": 2 + 0.8 * unit * distance}


def test_the_first_half_of_training_does_not_count() -> None:
    run = plan(experiment(NOISE))[0]
    assert at_rest(resting(run, excess=3.0), "excess") == pytest.approx(3.0, abs=1e-12)
    table = rest_points([resting(run, excess=3.0)], ["excess"])
    assert table.loc[0, ["method", "lam", "task.batch_size"]].tolist() == ["sum", 0.1, 16]
    assert table.loc[0, "excess"] == pytest.approx(3.0)


def test_slope_and_lowest_point() -> None:
    assert slope(RHOS, [3 * rho**-0.7 for rho in RHOS]) == pytest.approx(-0.7)
    assert lowest(RHOS, [math.exp(math.log(rho / 0.05) ** 2) for rho in RHOS]) == pytest.approx(0.05)
    assert lowest(RHOS, RHOS) is None
    assert lowest(RHOS, RHOS[::-1]) is None


def test_slope_of_a_distance_in_units_of_another() -> None:
    (found,) = answered(NOISE, places)
    assert found.answer[0] == {0: pytest.approx(0.4, abs=1e-3), 1: pytest.approx(0.4, abs=1e-3)}
    assert found.bounds == (0.0, math.inf)
    assert not found.ratios


def test_all_variants_must_rest_close_to_the_reference() -> None:
    several = answered(CLOSE, places)
    ratios = {e.name.split(" to ")[0].removeprefix("distance of "): e.answer[0][0] for e in several}
    assert len(ratios) == len(RHOS)
    assert "bloop (rho=0.04)" not in ratios
    assert ratios["bloop (rho=0.32)"] == pytest.approx(0.3)
    assert ratios["bloop (rho=0.01)"] == pytest.approx(0.2)
    assert ratios["bloop_no_ema"] == pytest.approx(1 - 64**0.4 / 10)
    assert {e.bounds for e in several} == {(0.0, 0.6)}


def test_slope_of_the_best_setting() -> None:
    def excess(run: TrainingRun) -> dict[str, float]:
        best = 0.5 * run.training.lr ** (2 / 3) * (1 + 0.1 * run.seed)
        rho = run.axes.get("method.rho", 1.0)
        wrong = run.lam != 0.3 or run.axes["task.batch_size"] != 16
        return {"excess": 1.0 + 1e-3 + (rho if wrong else math.log(rho / best) ** 2)}

    (found,) = answered(BEST, excess)
    assert list(found.answer[0].values()) == pytest.approx([2 / 3, 2 / 3], abs=0.05)


def test_a_best_setting_at_the_end_of_the_grid_is_none() -> None:
    (found,) = answered(BEST, lambda run: {"excess": 1 + run.axes.get("method.rho", 1.0)})
    assert found.answer == ({}, "lr 0.025, seed 0: least at 0.01, an end of the grid")


def test_no_seed_is_left_out() -> None:
    def keep(run: TrainingRun) -> bool:
        lost = run.method_label == "bloop_no_ema" and run.axes["task.batch_size"] == 64
        return not (lost and run.seed == 1 and run.lam == 0.3)

    (found,) = answered(NOISE, places, keep)
    told = "batch_size 64, seed 1: 0 completed runs of bloop_no_ema, expected 1"
    assert found.answer == ({}, told)
    (found,) = answered({**NOISE, "than": "bloop (rho=7)"}, places)
    assert found.answer == ({}, "batch_size 16, seed 0: 0 completed runs of bloop (rho=7), expected 1")
    (found,) = answered({**BEST, "method": "bloop (rho=7)"}, places)
    assert found.answer == ({}, "lr 0.025, seed 0: no runs")
    (found,) = answered({**BEST, "at": {}}, lambda run: {"excess": 1.0})
    assert found.answer == ({}, "lr 0.025, seed 0: several runs at 0.01")


def test_methods_that_no_experiment_has_are_refused() -> None:
    for claim in ({**NOISE, "than": "blop"}, {**BEST, "method": "blop"}):
        with pytest.raises(UserError, match="unknown method 'blop': did you mean bloop"):
            experiment(claim)


def test_claims_without_bounds_or_values_are_refused() -> None:
    for wrong, message in (({"low": None}, "give low, high or both"), ({"values": [16]}, "at least 2")):
        with pytest.raises(UserError, match=message):
            experiment({k: v for k, v in {**NOISE, **wrong}.items() if v is not None})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({**BEST, "setting": "method.rh"}, "unknown axis 'method.rh': did you mean method.rho"),
        ({**BEST, "method": "sum"}, "setting: sum has no rho"),
        ({**NOISE, "over": "task.batch"}, "unknown axis 'task.batch': did you mean task.batch_size"),
        ({**NOISE, "over": "training.lr", "values": RATES}, "over: training.lr is held at one value"),
        ({**NOISE, "values": (16, 63)}, "task.batch_size: 63 is on no grid"),
        ({**CLOSE, "at": {"training.lr": 0.21}}, "training.lr: 0.21 is on no grid"),
    ],
)
def test_axes_and_values_that_no_run_has_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        experiment(wrong)


def test_a_metric_without_a_logarithm_is_no_least_value() -> None:
    (found,) = answered(BEST, lambda run: {"excess": -1.0})
    assert found.answer == ({}, "lr 0.025, seed 0: excess -1 has no logarithm")
    (found,) = answered({**BEST, "metric": "exces"}, lambda run: {"excess": 1.0})
    assert found.answer == ({}, "unknown metric 'exces': did you mean excess?")


def test_only_the_reference_itself_answers_nothing() -> None:
    def keep(run: TrainingRun) -> bool:
        return run.method_label != "bloop" or run.axes["method.rho"] == 0.04

    (found,) = answered({**CLOSE, "methods": ["bloop"]}, places, keep)
    assert found.answer == ({}, "no runs but those of bloop (rho=0.04)")
    assert found.standing == "inconclusive"


def test_whole_numbers_of_an_axis_stay_whole() -> None:
    run = plan(experiment(NOISE))[0]
    assert run.task["batch_size"] == 16
    assert isinstance(run.task["batch_size"], int)


def test_the_figure_shows_distances_places_and_the_exact_front() -> None:
    def metrics(run: TrainingRun) -> dict[str, float]:
        batch, rho = run.axes["task.batch_size"], run.axes.get("method.rho", 1.0)
        return {"main": 3.0, "aux": 20 / batch, "regret": 1 / batch, "excess": rho + run.training.lr}

    swept = experiment(NOISE)
    records = [resting(run, **metrics(run)) for run in plan(swept)]
    analysis = analysed(records, swept, DATA.fingerprint)
    assert "no figure" not in analysis.title
    ((name, figure),) = exact_front.draw(analysis)
    distance, plane, best = figure.axes
    (own,) = [line for line in distance.lines if line.get_label() == style.title("sum")]
    assert name == swept.figure  # by which the report's page finds its file
    assert own.get_xdata().tolist() == list(BATCHES)
    assert own.get_ydata() == pytest.approx([1 / batch for batch in BATCHES])
    assert len(distance.lines) == 3 + len(RHOS)
    (front,) = [line for line in plane.lines if line.get_label() == "exact front"]
    inside = dict(zip(front.get_xdata(), front.get_ydata(), strict=True))
    assert inside[20 / 16 + 1e-4] == pytest.approx(3.0 - 1 / 16)
    assert max(inside) < 2
    assert [line.get_label() for line in best.lines] == [f"lr {rate:g}" for rate in RATES]
    assert best.lines[0].get_ydata() == pytest.approx([rho + RATES[0] for rho in RHOS])


def test_a_task_that_does_not_know_its_exact_front_has_no_figure_and_it_says_so() -> None:
    swept = experiment(NOISE)
    records = [resting(run, main=3.0, aux=1.0, excess=1.0) for run in plan(swept)]
    analysis = analysed(records, swept, DATA.fingerprint)
    assert list(exact_front.draw(analysis)) == []
    assert analysis.title.endswith("; no figure: the task reports no regret on train")
