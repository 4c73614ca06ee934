"""Several losses in one number: Δm, ranks and wins by hand, and claims about them."""

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from scalpel_bench.benchmarks.analysis import TrainingAnalysis, multitask
from scalpel_bench.benchmarks.experiments.loading import load
from scalpel_bench.benchmarks.experiments.schema import Experiment
from scalpel_bench.benchmarks.figures import drawing, fronts, parallel
from scalpel_bench.benchmarks.figures.panels import drawn
from scalpel_bench.benchmarks.messages import UserError
from scalpel_bench.benchmarks.records import Record
from scalpel_bench.benchmarks.report import documents
from tests.benchmarks.runs import DATA, analysed

assert drawing  # its import registers the figures

NAMES = ("main", "momentum_x", "momentum_y", "continuity")
ALONE = {"boundary_alone": 0, "momentum_x_alone": 1, "momentum_y_alone": 2, "continuity_alone": 3}
BASE = {name: 0.5 * (k + 1) for k, name in enumerate(NAMES)}
FACTORS = {"sum": (1.2, 1.2, 1.2, 1.2), "bloop": (1.0, 1.1, 1.3, 1.0)}
SEEDS = 6


def kovasznay(claims: list[dict[str, Any]] | None = None, **overrides: Any) -> Experiment:
    methods = {"sum": {}, "bloop": {}} | {k: {"name": "single", "objective": v} for k, v in ALONE.items()}
    overrides = {"seeds": SEEDS, "lam": [0.1, 1.0], **overrides}
    loaded = load("kovasznay", "smoke", {"claims": claims or [], **overrides})
    assert isinstance(loaded, Experiment)
    return loaded.model_copy(
        update={"methods": {k: v for k, v in loaded.methods.items() if k in methods}, "miniature": ""}
    )


def analysis(
    experiment: Experiment,
    worse_at: float = 0.1,
    diverged: int | None = None,
    lost: tuple[str, str] = ("", ""),
) -> TrainingAnalysis:
    """Losses that are those alone times FACTORS, and twice that at λ = ``worse_at``; alike on all splits.

    The runs of the method ``lost[0]`` at seed 2 have the status ``lost[1]``.
    """
    records = []
    for run in experiment.plan(lambda settings: DATA):
        factors = FACTORS.get(run.label, (1.0,) * 4)
        twice = 2 if run.lam == worse_at and run.label in FACTORS else 1
        scale = 1 + 0.1 * run.seed
        losses = {n: scale * twice * f * b for (n, b), f in zip(BASE.items(), factors, strict=True)}
        losses["aux"] = sum(losses[n] for n in NAMES[1:])
        last = {"step": 1, "epoch": 1.0, "train": losses, "validation": losses, "test": losses}
        bad = run.label == "bloop" and run.lam == 1.0 and run.seed == diverged
        status = "diverged" if bad else "completed"
        if (run.label, run.seed) == (lost[0], 2):
            status = lost[1]
        records.append(Record(id=run.id, run=run, status=status, environment={}, trajectory=[last]))
    found = analysed(records, experiment, None)
    assert isinstance(found, TrainingAnalysis)
    return found


def over_seeds(found: TrainingAnalysis, statistic: str) -> dict[str, float]:
    rows = found.metrics.query("statistic == @statistic and seed == 'all' and split == 'test'")
    return dict(zip(rows["method"], rows["value"], strict=True))


def test_delta_m_ranks_and_wins_are_those_by_hand() -> None:
    found = analysis(kovasznay())
    assert over_seeds(found, "delta_m") == pytest.approx({"bloop": 10.0, "sum": 20.0})
    assert over_seeds(found, "mean_rank") == pytest.approx({"bloop": 1.25, "sum": 1.75})
    assert over_seeds(found, "win_rate") == pytest.approx({"bloop": 0.75, "sum": 0.5})


def test_lambda_is_that_of_the_other_seeds() -> None:
    experiment = kovasznay()
    found = analysis(experiment)
    lucky = {"validation_main": 1e-6}
    runs = found.summary.copy()
    here = (runs["method"] == "bloop") & (runs["lam"] == 0.1) & (runs["seed"] == 3)
    for name in NAMES:
        runs.loc[here, f"validation_{name}"] = lucky["validation_main"]
    found.__dict__["summary"] = runs
    losses = multitask.chosen(found.protocols[0], experiment, "test")
    assert losses.loc[("bloop", 3), "main"] == pytest.approx(1.0)  # twice that at λ = 0.1
    at = multitask.chosen(found.protocols[0], experiment, "test", 0.1)
    assert at.loc[("bloop", 3), "main"] == pytest.approx(2.0)


def test_test_losses_choose_no_lambda() -> None:
    experiment = kovasznay()
    found = analysis(experiment)
    runs = found.summary.copy()
    here = (runs["method"] == "bloop") & (runs["lam"] == 0.1)
    runs.loc[here, [f"test_{name}" for name in NAMES]] = 1e-6
    found.__dict__["summary"] = runs
    losses = multitask.chosen(found.protocols[0], experiment, "test")
    assert losses.xs("bloop", level="method")["main"].tolist() == pytest.approx([1.0] * SEEDS)


def test_lambda_that_few_seeds_ran_is_not_chosen() -> None:
    """At λ = 0.1 seeds 1 and 3 alone ran, of which 1 was lucky."""
    experiment = kovasznay()
    found = analysis(experiment)
    runs = found.summary.copy()
    there = (runs["method"] == "bloop") & (runs["lam"] == 0.1)
    runs.loc[there & (runs["seed"] == 1), [f"validation_{name}" for name in NAMES]] = 1e-6
    found.__dict__["summary"] = runs[~there | runs["seed"].isin([1, 3])]
    losses = multitask.chosen(found.protocols[0], experiment, "test")
    assert losses.loc[("bloop", 3), "main"] == pytest.approx(1.0)  # twice that at λ = 0.1


def test_a_diverged_run_has_no_mean_and_says_so() -> None:
    found = analysis(kovasznay(lam=[1.0]), diverged=2)
    rows = found.metrics.query("method == 'bloop' and statistic == 'delta_m' and split == 'test'")
    (row,) = rows[rows["seed"].astype(str) == "all"].to_dict("records")
    assert pd.isna(row["value"])
    assert row["note"] == "1 runs diverged"
    assert over_seeds(found, "win_rate")["bloop"] == pytest.approx(0.75 * 5 / 6)


@pytest.mark.parametrize("status", ["failed", "diverged"])
def test_a_baseline_that_is_lost_at_a_seed_costs_that_seed_alone(status: str) -> None:
    """λ = 0.1 comes first in the table and is the worse: it must not be chosen for want of a mean."""
    found = analysis(kovasznay(), lost=("momentum_x_alone", status))
    assert over_seeds(found, "delta_m") == pytest.approx({"bloop": 10.0, "sum": 20.0})
    assert over_seeds(found, "mean_rank") == pytest.approx({"bloop": 1.25, "sum": 1.75})
    notes = found.metrics.query("statistic == 'mean_rank' and seed == 'all'")["note"]
    assert set(notes) == {"5 of 6 seeds have a value"}


def test_a_method_that_failed_at_a_seed_says_so() -> None:
    found = analysis(kovasznay(), lost=("bloop", "failed"))
    notes = found.metrics.query("statistic == 'delta_m' and seed == 'all' and split == 'test'")
    assert dict(zip(notes["method"], notes["note"], strict=True)) == {
        "sum": "",
        "bloop": "5 of 6 seeds have a value",
    }


def test_without_a_baseline_for_each_objective_there_is_no_delta_m() -> None:
    experiment = kovasznay()
    methods = {k: v for k, v in experiment.methods.items() if k != "continuity_alone"}
    found = analysis(experiment.model_copy(update={"methods": methods}))
    assert over_seeds(found, "delta_m") == {}


CLAIM = {"id": "better", "text": "b", "paper": "p", "kind": "better", "method": "bloop", "than": "sum"}


@pytest.mark.parametrize(
    ("claim", "verdict", "effect"),
    [
        ({"of": "delta_m"}, "supported", 1.1 / 1.2),
        ({"of": "delta_m", "lam": 0.1}, "supported", 1.1 / 1.2),
        ({"of": "momentum_y"}, "contradicted", 1.3 / 1.2),
        ({"of": "continuity", "lam": 1.0}, "supported", 1.0 / 1.2),
    ],
)
def test_claims_about_metrics_and_delta_m(claim: dict[str, Any], verdict: str, effect: float) -> None:
    (row,) = analysis(kovasznay([{**CLAIM, "split": "test", **claim}])).claims.to_dict("records")
    assert row["verdict"] == verdict
    assert row["effect"] == pytest.approx(effect)


def test_a_tuned_claim_takes_each_method_at_the_lam_that_is_best_at_the_other_seeds() -> None:
    found = analysis(kovasznay([{**CLAIM, "split": "test", "of": "continuity", "lam": "tuned"}]))
    runs = found.summary.copy()
    values = ["validation_continuity", "test_continuity"]
    runs.loc[(runs["method"] == "sum") & (runs["lam"] == 1.0), values] *= 3  # twice as much at λ = 0.1
    lucky = (runs["method"] == "bloop") & (runs["lam"] == 0.1) & (runs["seed"] == 3)
    runs.loc[lucky, "validation_continuity"] = 1e-6
    found.__dict__["summary"] = runs
    (row,) = found.claims.to_dict("records")
    assert row["effect"] == pytest.approx(1.0 / (2 * 1.2))


def test_a_tuned_claim_without_validation_values_or_with_a_diverged_run_has_no_ratio() -> None:
    claim = {**CLAIM, "split": "test", "of": "continuity", "lam": "tuned"}
    (row,) = analysis(kovasznay([claim], lam=[1.0]), diverged=2).claims.to_dict("records")
    assert row["verdict"] == "inconclusive"
    assert "no λ of bloop ended at all seeds but 0: nothing to choose by" in row["reason"]
    found = analysis(kovasznay([claim]))
    found.__dict__["summary"] = found.summary.drop(columns="validation_continuity")
    (row,) = found.claims.to_dict("records")
    assert "no validation continuity" in row["reason"]


def test_a_front_against_another_loss() -> None:
    experiment = kovasznay(aux="continuity")
    runs = analysis(experiment).summary
    assert (runs["test_aux"] == runs["test_continuity"]).all()


def test_methods_of_another_number_of_objectives_are_refused() -> None:
    with pytest.raises(UserError, match="methods: dynamic_barrier: .* is defined for 2 objectives"):
        load("kovasznay", "smoke", {"methods": {"dynamic_barrier": {}}})
    with pytest.raises(UserError, match="methods: alone: .*objective 4 of 4"):
        load("kovasznay", "smoke", {"methods": {"alone": {"name": "single", "objective": 4}}})
    with pytest.raises(
        UserError, match="claims: better: unknown metric 'mass'; known: front_ratio, delta_m, aux, main"
    ):
        kovasznay([{**CLAIM, "of": "mass"}])
    with pytest.raises(UserError, match="aux: unknown metric 'mass'; known: aux, main, momentum_x"):
        kovasznay(aux="mass")
    with pytest.raises(UserError, match="lam: a front has all λ"):
        kovasznay([{**CLAIM, "lam": 1.0}])
    with pytest.raises(UserError, match="lam: Δm is at each method's own λ"):
        kovasznay([{**CLAIM, "of": "delta_m", "lam": "tuned"}])


def test_the_table_and_the_figure_have_every_method() -> None:
    found = analysis(kovasznay())
    table = found.overview
    assert list(table["method"]) == ["bloop", "sum"]
    assert table["Δm (%)"].iloc[0] == "10.00 [10.00, 10.00]"
    (figure,) = [figure for name, figure in drawn(found) if name == "parallel"]
    (axes, *_) = figure.axes
    for line, _, (bars,) in axes.containers:  # all seeds are alike: no bar has a length
        assert [(low, high) for (_, low), (_, high) in bars.get_segments()] == [
            pytest.approx((value, value)) for value in line.get_ydata()
        ]
    assert len(axes.containers) == 2


def test_models_trained_on_one_of_many_losses_are_on_no_front() -> None:
    found = analysis(kovasznay())
    assert set(fronts.shown_surfaces(found)["method"]) == {"sum", "bloop"}


def test_a_document_shows_the_table(tmp_path) -> None:
    (tmp_path / "kovasznay" / "smoke").mkdir(parents=True)
    analysis(kovasznay()).metrics.to_csv(tmp_path / "kovasznay" / "smoke" / "metrics.csv", index=False)
    shown = documents.render("<!-- changes: kovasznay/smoke -->\n<!-- end -->", tmp_path).splitlines()
    assert shown[1] == "| method | Δm (%) | mean rank | wins against sum |"
    assert [line.split(" | ")[0] for line in shown[3:5]] == ["| `bloop`", "| `sum`"]
    assert "10.00 [10.00, 10.00]" in shown[3]


def test_the_figure_has_medians_and_quartiles_over_seeds(monkeypatch) -> None:
    index = pd.MultiIndex.from_product([["sum"], range(5)], names=["method", "seed"])
    losses = pd.DataFrame({"main": [1.0, 2.0, 4.0, 8.0, 16.0], "continuity": 1.0}, index=index)
    monkeypatch.setattr(parallel.multitask, "chosen", lambda protocol, experiment, split: losses)
    summary = pd.DataFrame({"method": ["sum"]})
    given = SimpleNamespace(compared=kovasznay(), protocols=[None], summary=summary)
    ((_, figure),) = parallel.draw(given)
    ((line, _, (bars,)),) = figure.axes[0].containers
    assert line.get_ydata().tolist() == [4.0, 1.0]
    assert bars.get_segments()[0][:, 1].tolist() == pytest.approx([2.0, 8.0])
