"""Sweeps of methods whose λ is a bound on a loss: their grids, fronts, records and pages."""

import json
from typing import Any

import pandas as pd
import pytest

from scalpel_bench import methods, tasks
from scalpel_bench.benchmarks.analysis.protocols import on_grids, protocols
from scalpel_bench.benchmarks.analysis.summary import summarise
from scalpel_bench.benchmarks.commands.run import single_run
from scalpel_bench.benchmarks.execution import ExecutionOptions
from scalpel_bench.benchmarks.experiments.command_line import sweep_command
from scalpel_bench.benchmarks.experiments.schema import MANIFEST, Experiment
from scalpel_bench.benchmarks.experiments.settings import TrainingRun
from scalpel_bench.benchmarks.figures import style
from scalpel_bench.benchmarks.messages.errors import UserError
from scalpel_bench.benchmarks.records import sort_out
from scalpel_bench.benchmarks.report.page_data import block
from scalpel_bench.benchmarks.training import train
from tests.benchmarks import regression
from tests.benchmarks.regression import Regression
from tests.benchmarks.runs import BOX, analysed, conditioning, plan, record

TRAIN = {key: {**BOX[key], "aux": (3.0, 7.0), "main": (0.5, 1.5)} for key in ("tighter", "wider")}
TRAIN_BOX = {**BOX, "train": {**TRAIN, "aux": (3.0, 7.0), "main": (0.5, 1.5)}}


def lams_of(label: str, **overrides: Any) -> list[float]:
    runs = plan(conditioning(**overrides))
    return [run.lam for run in runs if run.label == label]


@pytest.mark.parametrize(
    ("settings", "box", "lam", "expected"),
    [
        ({}, BOX, [0.0, 0.1, 1.0], [1.0, 5.0, 9.0]),
        ({}, TRAIN_BOX, [0.0, 0.1, 1.0], [3.0, 5.0, 7.0]),
        ({}, TRAIN_BOX, [0.1], [5.0]),
        ({"bounded": "main"}, TRAIN_BOX, [0.1, 1.0], [0.5, 1.5]),
        ({"lam": [-1.0, 0.0, 2.5]}, None, [0.1], [-1.0, 0.0, 2.5]),
        ({"lam": [4]}, BOX, [0.1, 1.0], [4.0]),
    ],
)
def test_bounds_are_given_or_lie_evenly_in_the_box_of_train_losses(settings, box, lam, expected) -> None:
    overrides = {"methods": {"lagrangian": settings}, "box": box, "lam": lam}
    assert lams_of("lagrangian", **overrides) == pytest.approx(expected)
    assert set(lams_of("sum", **overrides)) == set(lam)


def test_the_barrier_bounds_the_main_loss_unless_told() -> None:
    boxed = {"box": TRAIN_BOX, "lam": [0.1, 1.0]}
    assert lams_of("constrained_barrier", methods={"constrained_barrier": {}}, **boxed) == [0.5, 1.5]
    own = {"aux_bound": {"name": "constrained_barrier", "bounded": "aux"}}
    assert lams_of("aux_bound", methods=own, **boxed) == [3.0, 7.0]


def test_without_a_box_the_line_says_what_to_write_and_others_still_run() -> None:
    loaded = conditioning(methods={"lagrangian": {}}, box=None)
    message = r"conditioning: λ of lagrangian is a bound on a loss: write lam = \[...\] in its table"
    with pytest.raises(UserError, match=f"{message} of .methods., or give the experiment a box"):
        plan(loaded)
    assert loaded.lams("sum") == loaded.lam


@pytest.mark.parametrize(
    ("method", "lam", "message"),
    [
        ("lagrangian", [], "lam: the grid is empty"),
        ("lagrangian", 1.0, "lam: .*list"),
        ("lagrangian", ["1"], "lam: 0: .*number, got '1'"),
        ("lagrangian", [float("inf")], "lam must be a finite number or a tensor, got inf"),
        ("sum", [-1.0], "lam must be finite and at least 0, got -1"),
        ("mgda", [1.0], "λ is no trade-off to mgda, which is run at λ = 1 alone: leave lam out"),
        ("lagrangian", {"low": 0.0, "high": 1.0, "count": 2}, "lam: low: .*greater than 0"),
    ],
)
def test_bad_grids_of_a_method_are_refused_in_one_line(method: str, lam: Any, message: str) -> None:
    with pytest.raises(UserError, match=f"methods: {method}: {message}") as caught:
        conditioning(methods={method: {"lam": lam}})
    assert "\n" not in str(caught.value)


def test_any_method_with_a_trade_off_may_have_a_grid_of_its_own() -> None:
    grid = {"low": 0.01, "high": 1.0, "count": 3}
    found = lams_of("bloop", methods={"bloop": {"lam": grid}}, lam=[0.5])
    assert found == pytest.approx([0.01, 0.1, 1.0])


HELD = {"lagrangian": {"lam": [-2.0, 0.0, 3.0], "rate": 0.5}}


def test_the_settings_of_a_run_do_not_have_the_grid() -> None:
    (run, *_) = [run for run in plan(conditioning(methods=HELD)) if run.label == "lagrangian"]
    assert run.method == methods.create("lagrangian", rate=0.5).settings
    assert TrainingRun.model_validate(run.model_dump(mode="json")).id == run.id
    assert run.lam == -2.0


def test_a_manifest_keeps_the_grid_and_the_command_tells_of_it() -> None:
    loaded = conditioning(methods=HELD)
    again = Experiment.model_validate(loaded.model_dump(mode="json"), context=MANIFEST)
    assert again == loaded
    assert again.lams("lagrangian") == (-2.0, 0.0, 3.0)
    assert "with the settings of lagrangian in" in sweep_command(loaded, {"embedded"})
    other = conditioning(methods={"sum": {"lam": [0.1]}})
    assert "with the settings of sum in" in sweep_command(other, {"embedded"})
    records = [record(run, 1.0, 1.0) for run in plan(loaded)]
    own, left_out = sort_out(records, again, "0" * 16)
    assert (len(own), left_out) == (len(records), [])


def front(run: TrainingRun) -> tuple[float, float]:
    """A made-up trade-off: `sum` along λ, the Lagrangian at its bound, with less main loss."""
    aux = 5 + run.lam if run.label == "lagrangian" else 8 - 6 * run.lam
    return (0.5 if run.label == "lagrangian" else 1.0) / aux, aux


def made(**overrides: Any) -> tuple[Experiment, list]:
    loaded = conditioning(
        methods={**HELD, "mgda": {}}, lam=[0.1, 1.0], seeds=2, box=BOX, axes={"training.lr": [0.1, 0.2]}
    )
    return loaded, [record(run, *front(run)) for run in plan(loaded)]


def test_bounds_of_any_sign_count_and_the_sum_at_zero_does_not() -> None:
    loaded, records = made()
    summary = summarise(records)
    kept = on_grids(summary, loaded)
    lams = {label: sorted(set(own["lam"])) for label, own in kept.groupby("method")}
    assert lams["lagrangian"] == [-2.0, 0.0, 3.0]
    assert lams["sum"] == [0.1, 1.0]
    assert 0.0 in set(summary.loc[summary["method"] == "sum", "lam"])
    for protocol in protocols(summary, loaded):
        assert protocol.own_lam == {"lagrangian", "mgda"}
        pair = protocol.pair("lagrangian")
        assert pair.note == ""
        assert sorted(set(pair.of("lagrangian", "train")["lam"])) == [-2.0, 0.0, 3.0]
        assert set(pair.of("sum", "train")["lam"]) <= {0.1, 1.0}


def test_its_front_is_measured_followed_and_selected() -> None:
    loaded, records = made()
    analysis = analysed(records, loaded, "0" * 16)
    metrics: pd.DataFrame = analysis.metrics
    ratio = metrics[(metrics["method"] == "lagrangian") & (metrics["statistic"] == "front_ratio")]
    assert ratio["value"].max() < 1
    assert set(analysis.relative_curves["method"]) == {"lagrangian", *loaded.methods} - {"sum", "mgda"}
    chosen = analysis.selected[(analysis.selected["method"] == "lagrangian")]
    assert set(chosen["lam"]) == {0.0}  # aux 5 of those at or below the middle of the box


def test_the_page_knows_that_its_lambda_is_on_no_axis_of_weights() -> None:
    loaded, records = made()
    data, _ = block(analysed(records, loaded, "0" * 16), style.looks(loaded.methods), 10_000)
    assert [m["label"] for m in data["methods"] if m["bound"]] == ["lagrangian"]
    assert {-2, 0, 3} <= set(json.loads(json.dumps(data["runs"]["lam"])))


@pytest.mark.parametrize("kind", [{"kind": "trade_off"}, {"kind": "better", "of": ["main"]}])
def test_claims_at_equal_lambda_are_no_claims_about_bounds(kind: dict) -> None:
    claim = {"id": "x", "text": "t", "paper": "p", "method": "lagrangian", "than": ["sum"], **kind}
    with pytest.raises(UserError, match="claims: x: compares at equal λ, which is a bound to lagrangian"):
        conditioning(methods=HELD, claims=[claim])
    for of in ("front_ratio", "delta_m"):  # of all λ, and of each method's own
        assert conditioning(methods=HELD, claims=[{**claim, "kind": "better", "of": [of]}]).claims


def test_the_step_of_a_bound_at_a_weight_is_refused() -> None:
    for name, reference in (("lagrangian", "sum"), ("sum", "lagrangian")):
        own = {"mixed": {"name": name, "training": {"step_of": {"name": reference}}}}
        with pytest.raises(UserError, match="methods: mixed: λ is not the same to .*: no step_of"):
            conditioning(methods=own)


def test_a_single_run_takes_a_bound_below_zero() -> None:
    settings = {"method": {"rate": 0.2}}
    run = single_run("conditioning", "lagrangian", -0.5, 0, settings, "smoke", ExecutionOptions())
    assert (run.lam, run.method["rate"]) == (-0.5, 0.2)
    with pytest.raises(UserError, match="lam must be finite and at least 0, got -0.5"):
        single_run("conditioning", "sum", -0.5, 0, {}, "smoke", ExecutionOptions())


@pytest.mark.parametrize("name", ["lagrangian", "constrained_barrier"])
def test_runs_in_lock_step_are_single_runs(name: str) -> None:
    """Two bounds beside a method of weights; the Lagrangian's weights take one backward pass alone."""
    settings = {"rate": 0.05, "damping": 0.3} if name == "lagrangian" else {}
    runs = [
        regression.run_of(name, lam, seed).model_copy(update={"method": {"name": name, **settings}})
        for lam in (-0.1, 0.4)
        for seed in (0, 1)
    ]
    mixed = [*runs, regression.run_of("sum", 0.5)]
    for run, outcome in zip(mixed, train(mixed, Regression()), strict=True):
        (alone,) = train([run], Regression())
        last, expected = outcome.trajectory[-1]["train"], alone.trajectory[-1]["train"]
        assert last == pytest.approx(expected, rel=1e-4)
    ends = {tuple(train([run], Regression())[0].trajectory[-1]["train"].values()) for run in runs}
    assert len(ends) == 4


def test_the_second_moment_of_a_bound_is_of_the_plain_sum() -> None:
    training = {"optimizer": "adam", "second_moment": "gradient"}
    (outcome,) = train([regression.run_of("lagrangian", -3.0, **training)], Regression())
    assert outcome.diverged_at is None
    (other,) = train([regression.run_of("lagrangian", -3.0, optimizer="adam")], Regression())
    assert outcome.trajectory[-1] != other.trajectory[-1]


def test_a_sweep_of_bounds_ends_on_the_exact_front() -> None:
    """Of `conditioning` with ((a − 1)² + b²) / 2 ≤ c: b = 0, a = 1 − √(2 c). And the reverse."""
    own = {
        "aux": {"name": "lagrangian", "rate": 0.1, "damping": 1.0, "lam": [0.125, 0.32]},
        "main": {"name": "constrained_barrier", "lam": [0.125, 0.32]},
    }
    experiment = conditioning(methods=own, training={"epochs": 1000, "evaluations": 1})
    runs = [run for run in plan(experiment) if run.label in own]
    for run, outcome in zip(runs, train(runs, tasks.create("conditioning")), strict=True):
        last, radius = outcome.trajectory[-1]["train"], (2 * run.lam) ** 0.5
        expected = 1 - radius if run.label == "aux" else radius
        assert (last["a"], last["b"]) == pytest.approx((expected, 0), abs=1e-4), run.label
        assert last[run.label] == pytest.approx(run.lam, abs=1e-4)
