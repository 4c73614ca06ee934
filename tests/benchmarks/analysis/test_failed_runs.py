"""Runs that failed, diverged or are missing make no method better, and turn no verdict in silence."""

import numpy as np
import pandas as pd
import pytest

from scalpel_bench.benchmarks.analysis import comparisons, selection
from scalpel_bench.benchmarks.analysis.leaderboard import leaderboard
from scalpel_bench.benchmarks.analysis.multitask import win_rate
from scalpel_bench.benchmarks.analysis.protocols import protocols
from scalpel_bench.benchmarks.analysis.summary import summarise
from scalpel_bench.benchmarks.commands.planning import with_methods
from scalpel_bench.benchmarks.experiments.schema import Experiment
from scalpel_bench.benchmarks.experiments.settings import TrainingRun
from scalpel_bench.benchmarks.records import Record
from tests.benchmarks.judged import answer, claim, swept, verdicts
from tests.benchmarks.runs import DATA, analysed, plan, record

RATES = {"training.lr": [0.1, 0.5]}
BETTER = claim("better", method="bloop", than=["sum"], split="test")


def ended(run: TrainingRun, losses: tuple[float, float], status: str) -> Record:
    made = record(run, *losses)
    if status == "failed":
        return made.model_copy(update={"status": "failed", "reason": "oom", "trajectory": []})
    return made.model_copy(update={"status": status, "diverged_at": 3 if status == "diverged" else None})


def tuning(run: TrainingRun) -> bool:
    return run.label == "sum" and run.lam == 0


def main_tuned(experiment: Experiment, statuses: dict[tuple[float, int], str]) -> pd.Series:
    """The verdict where tuning runs of some rates and seeds ended otherwise; bloop is worse at 0.1 alone."""
    records = []
    for run in plan(experiment):
        aux = 10 * (0.9 - run.lam)
        slower = 1.0 if run.training.lr == 0.1 else 1.2
        factor = {"sum": 1.0, "bloop": 1.3 if run.training.lr == 0.1 else 0.8}.get(run.label, 1.0)
        losses = factor * slower * (1 + 0.02 * (run.seed % 3 - 1)) * np.exp(-aux), aux
        status = statuses.get((run.training.lr, run.seed), "completed") if tuning(run) else "completed"
        records.append(ended(run, losses, status))
    return verdicts(experiment, records).set_index("protocol").loc["main-tuned"]


@pytest.mark.parametrize(
    ("statuses", "told"),
    [
        ({(0.1, 3): "failed"}, "1 of 16 runs of sum at λ = 0 failed or are missing"),
        (
            {(0.1, 0): "diverged", (0.5, 1): "diverged"},
            "at each rate one diverged at λ = 0: none to choose for seed 2, 3, 4, 5, 6, 7",
        ),
    ],
)
def test_a_rate_that_was_chosen_without_a_run_gives_no_verdict(statuses, told) -> None:
    experiment = swept([BETTER], seeds=8, axes=RATES)
    assert main_tuned(experiment, {})["verdict"] == "contradicted"
    row = main_tuned(experiment, statuses)
    assert row["verdict"] == "inconclusive"
    assert told in row["reason"]


def test_a_claim_at_one_lam_counts_the_seeds_at_which_it_would_not_be_chosen() -> None:
    """At seed 0 the sum is lucky at this λ, which the other seeds would not choose."""
    stated = {**BETTER, "of": ["main"], "lam": 0.2}

    def losses(run: TrainingRun) -> tuple[float, float]:
        aux = 10 * (0.9 - run.lam)
        noise = 1 + 0.02 * (run.seed % 3 - 1) * (run.label != "sum")
        main = (0.95 if run.label == "bloop" else 1.0) * noise * np.exp(-aux)
        if run.lam == 0.2 and run.label == "sum":
            main = 1e-5 if run.seed == 0 else np.exp(-5) * 1.05
        if run.lam == 0.2 and run.label == "bloop":
            main = np.exp(-5) * 0.9 * noise
        return main * (1 if run.training.lr == 0.1 else 1.5), aux

    rows = answer(swept([stated], seeds=8, axes=RATES), losses).set_index("protocol")
    assert rows.loc["main-tuned", "seeds"] == 8
    assert rows.loc["main-tuned", "effect"] == pytest.approx(rows.loc["fixed", "effect"])
    assert rows.loc["main-tuned", "verdict"] == "inconclusive"


@pytest.mark.parametrize("status", ["failed", "missing"])
def test_a_method_that_did_not_end_at_its_bad_lam_is_not_ranked(status: str) -> None:
    experiment = with_methods(swept([]), ["sum", "bloop", "pcgrad"])
    ratio = {0.1: 0.9, 0.2: 0.9, 0.4: 1.5, 0.8: 3.0}

    def board(lost: tuple[float, ...]):
        records = []
        for run in plan(experiment):
            own, aux = run.label == "bloop", 10 * (0.9 - run.lam)
            losses = (ratio[run.lam] if own else 1.0) * np.exp(-aux) * (1 + 0.01 * run.seed), aux
            if not (own and run.lam in lost):
                records.append(record(run, *losses))
            elif status == "failed":
                records.append(ended(run, losses, "failed"))
        return leaderboard([(experiment, analysed(records, experiment, DATA.fingerprint).metrics)])

    assert set(board(()).over_all["method"]) == {"sum", "bloop", "pcgrad"}
    found = board((0.4, 0.8))
    assert set(found.over_all["method"]) == {"sum", "pcgrad"}
    assert "bloop (compared on 2 of the 4 λ and rates of sum" in found.left_out[0]


def test_lam_are_chosen_among_those_that_a_seed_has() -> None:
    """Where a method lost a seed at one rate, its runs at another count no more than these."""
    experiment = with_methods(swept([], seeds=4, training={"lr": 0.5}, axes=RATES), ["sum", "bloop"])
    records = []
    for run in plan(experiment):
        main = 0.1 + 0.1 * (0.5 - run.lam) ** 2
        if not (run.label == "bloop" and run.training.lr == 0.5 and run.seed == 3):
            records.append(record(run, main * (1 if run.training.lr == 0.5 else 1.5), 10 * (0.9 - run.lam)))
    (fixed, *_) = protocols(summarise(records), experiment)
    values, _ = comparisons.tuned_ratios(fixed.pair("bloop"), "test", "main")
    assert values == pytest.approx(dict.fromkeys(range(3), 1.0))
    rows = [
        row for row in selection.select(fixed.runs, fixed.known, experiment.box) if row["method"] == "bloop"
    ]
    assert {row["lam"] for row in rows if row["seed"] != "all"} == {0.4}


def test_wins_are_unknown_where_the_sum_is_missing() -> None:
    index = pd.MultiIndex.from_tuples([("sum", 0), ("bloop", 0), ("bloop", 1)], names=["method", "seed"])
    wins = win_rate(pd.DataFrame({"main": [1.0, 0.5, 0.5], "aux": [1.0, 1.0, 0.5]}, index=index))
    assert wins["bloop"].to_list() == [0.75, pytest.approx(np.nan, nan_ok=True)]
