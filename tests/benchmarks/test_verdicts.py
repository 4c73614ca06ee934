"""Hand-made records whose verdicts are known."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from scalpel_bench.benchmarks.analysis.protocols import protocols
from scalpel_bench.benchmarks.analysis.summary import summarise
from scalpel_bench.benchmarks.analysis.verdicts import (
    COLUMNS,
    corrected,
    judge,
    judge_simulation,
    side_by_side,
)
from scalpel_bench.benchmarks.experiments.loading import load
from scalpel_bench.benchmarks.experiments.schema import Experiment
from scalpel_bench.benchmarks.experiments.settings import TrainingRun
from scalpel_bench.benchmarks.records import Record
from tests.benchmarks.runs import BOX, conditioning, plan, record

LAMS = [0.1, 0.2, 0.4, 0.8]
Losses = Callable[[TrainingRun], tuple[float, float]]


def claim(kind: str, **settings: Any) -> dict[str, Any]:
    return {"id": kind.replace("_", "-"), "text": "t", "paper": "claim 0", "kind": kind, **settings}


def swept(claims: list[dict[str, Any]], seeds: int = 6, **overrides: Any) -> Experiment:
    settings = {"lam": LAMS, "training": {"lr": 0.1}, "box": BOX} | overrides
    return conditioning(claims=claims, seeds=seeds, **settings)


def curve(factors: dict[str, float], noise: float = 0.02) -> Losses:
    """Main = factor · exp(−aux), aux = 10 (0.9 − λ); seeds spread all factors but that of sum by ± noise."""

    def losses(run: TrainingRun) -> tuple[float, float]:
        name = run.label.partition(" (")[0]
        spread = 1 + noise * (run.seed % 3 - 1) * (name != "sum")
        aux = 10 * (0.9 - run.lam)
        return factors.get(run.label, 1.0) * spread * np.exp(-aux), aux

    return losses


def verdicts(experiment: Experiment, records: list[Record], results: Path = Path("nowhere")) -> pd.DataFrame:
    summary = summarise(records)
    by_id = {record.id: record for record in records}
    return judge(experiment, protocols(summary, experiment), by_id, results)


def answer(
    experiment: Experiment, losses: Losses, keep: Callable[[TrainingRun], bool] = bool
) -> pd.DataFrame:
    records = [record(run, *losses(run)) for run in plan(experiment) if keep(run)]
    return verdicts(experiment, records)


def verdict(claims: list[dict[str, Any]], losses: Losses, **settings: Any) -> pd.Series:
    return answer(swept(claims, **settings), losses).iloc[0]


BETTER = claim("better", method="bloop", than=["sum", "pcgrad"])
EQUAL = claim("equal", methods=["pcgrad", "dynamic_barrier"], than="sum")


class TestBetter:
    def test_supported_below(self) -> None:
        row = verdict([BETTER], curve({"bloop": 0.8}))
        assert list(row.index) == COLUMNS
        assert row["verdict"] == "supported"
        assert row["effect"] == pytest.approx(0.8, rel=0.01)
        assert row["low"] < row["effect"] < row["high"] < 1
        assert (row["seeds"], row["scale"], row["data"], row["protocol"]) == (6, "smoke", "none", "fixed")
        assert "front ratio of bloop / pcgrad" in row["reason"]

    def test_evidence_against_is_not_supported(self) -> None:
        assert verdict([BETTER], curve({"bloop": 1.2}))["verdict"] == "contradicted"

    def test_straddling_is_inconclusive(self) -> None:
        assert verdict([BETTER], curve({"bloop": 0.99}, noise=0.1))["verdict"] == "inconclusive"

    def test_every_comparison_must_hold_and_the_weakest_is_shown(self) -> None:
        row = verdict([BETTER], curve({"bloop": 0.8, "pcgrad": 0.5}))
        assert row["verdict"] == "contradicted"
        assert row["effect"] == pytest.approx(1.6, rel=0.01)

    def test_margin_and_limit(self) -> None:
        losses = curve({"bloop": 0.8})
        assert verdict([{**BETTER, "margin": 0.1}], losses)["verdict"] == "supported"
        assert verdict([{**BETTER, "margin": 0.3}], losses)["verdict"] == "contradicted"
        assert verdict([{**BETTER, "limit": 0.1}], losses)["verdict"] == "contradicted"
        assert verdict([{**BETTER, "limit": 0.3}], losses)["verdict"] == "supported"

    @pytest.mark.parametrize("seeds", [6, 7])
    def test_a_method_is_never_better_than_itself_and_always_equal(self, seeds: int) -> None:
        losses = curve({}, noise=0.3)
        itself = {**BETTER, "method": "bloop", "than": ["bloop"]}
        assert verdict([itself], losses, seeds=seeds)["verdict"] == "contradicted"
        itself = {**EQUAL, "methods": ["bloop"], "than": "bloop"}
        assert verdict([itself], losses, seeds=seeds)["verdict"] == "supported"


class TestEqual:
    def test_equivalence_needs_the_interval_inside_the_margin(self) -> None:
        assert verdict([EQUAL], curve({}))["verdict"] == "supported"
        assert verdict([EQUAL], curve({}, noise=0.3))["verdict"] == "inconclusive"
        assert verdict([EQUAL], curve({"pcgrad": 1.3}))["verdict"] == "contradicted"
        assert verdict([EQUAL], curve({"pcgrad": 0.7}))["verdict"] == "contradicted"

    def test_the_interval_is_at_90_percent(self) -> None:
        row = verdict([EQUAL], curve({}))
        logs = np.log([0.98, 1.0, 1.02] * 2)
        half = 2.015048 * logs.std(ddof=1) / 6**0.5
        assert np.log(row["high"]) == pytest.approx(logs.mean() + half, rel=1e-5)


class TestTooLittle:
    def test_one_seed(self) -> None:
        row = verdict([BETTER], curve({"bloop": 0.1}), seeds=1)
        assert row["verdict"] == "inconclusive"
        assert row["reason"].startswith("1 of 6 seeds")
        assert np.isnan(row["low"])

    def test_five_seeds(self) -> None:
        row = verdict([BETTER], curve({"bloop": 0.1}), seeds=5)
        assert row["verdict"] == "inconclusive"
        assert row["reason"].startswith("5 of 6 seeds")
        assert row["high"] < 0.2

    def test_missing_runs(self) -> None:
        rows = answer(
            swept([BETTER]), curve({"bloop": 0.1}), lambda run: (run.label, run.seed) != ("bloop", 2)
        )
        assert rows.iloc[0]["verdict"] == "inconclusive"
        assert rows.iloc[0]["reason"].startswith("4 of 72 runs are missing")

    def test_missing_method(self) -> None:
        rows = answer(swept([BETTER]), curve({"bloop": 0.1}), lambda run: run.label != "pcgrad")
        assert rows.iloc[0]["verdict"] == "inconclusive"
        assert "no runs of pcgrad" in rows.iloc[0]["reason"]

    def test_a_seed_whose_front_misses_the_box_costs_the_cap(self) -> None:
        """Two of six seeds collapse; the others are clearly better, and would decide without them."""

        def losses(run: TrainingRun) -> tuple[float, float]:
            main, aux = curve({"bloop": 0.8})(run)
            return main + 100 * (run.label == "bloop" and run.seed < 2), aux

        row = verdict([BETTER], losses)
        assert (row["verdict"], row["seeds"]) == ("inconclusive", 6)
        assert row["effect"] > 1
        all_of_them = verdict([BETTER], lambda run: curve({"bloop": 1e9})(run))
        assert all_of_them["verdict"] == "contradicted"

    def test_diverged_runs_are_counted(self) -> None:
        experiment = swept([BETTER])
        records = [record(run, *curve({"bloop": 0.5})(run)) for run in plan(experiment)]
        records[0] = records[0].model_copy(update={"status": "diverged", "diverged_at": 3})
        row = verdicts(experiment, records).iloc[0]
        assert "1 runs diverged" in row["reason"]

    def test_a_split_that_was_not_measured(self) -> None:
        experiment = swept([{**BETTER, "split": "test"}])
        records = [record(run, 1.0, 1.0) for run in plan(experiment)]
        for r in records:
            del r.trajectory[-1]["test"]
        row = verdicts(experiment, records).iloc[0]
        assert (row["verdict"], row["reason"]) == ("inconclusive", "test: no values")


def test_a_claim_that_holds_at_the_fixed_rate_alone_is_seen() -> None:
    def losses(run: TrainingRun) -> tuple[float, float]:
        factor = 0.8 if run.training.lr == 0.1 else 1.25
        main, aux = curve({"bloop": factor})(run)
        return main * (0.5 if run.training.lr == 0.5 else 1), aux

    rows = answer(swept([BETTER], axes={"training.lr": [0.1, 0.5]}), losses)
    assert dict(zip(rows["protocol"], rows["verdict"], strict=True)) == {
        "fixed": "supported",
        "main-tuned": "contradicted",
        "per-method": "contradicted",
    }
    shown = side_by_side(rows).iloc[0]
    assert shown["only"] == "fixed"
    assert shown["fixed"].startswith("supported 0.80")
    assert "only" not in side_by_side(rows[rows["protocol"] == "fixed"])


class TestEndValues:
    """Figure 7: one λ, labels of a varied coefficient, end values for fronts."""

    LABELS = {  # noqa: RUF012
        "sum": (1.0, 1.0),
        "bloop (rho=0.001)": (1.5, 1.4),
        "bloop (rho=0.01)": (0.8, 1.3),
        "bloop (rho=0.9)": (1.0, 1.0),
    }

    def verdict(self, stated: dict[str, Any]) -> pd.Series:
        def losses(run: TrainingRun) -> tuple[float, float]:
            main, aux = self.LABELS.get(run.label, (1.0, 1.0))
            noise = 1 + 0.01 * (run.seed % 3 - 1) * (run.label != "sum")
            return main * noise, aux * noise

        rows = answer(
            conditioning(claims=[stated], seeds=6, lam=[0.2], axes={"method.rho": [0.001, 0.01, 0.9]}), losses
        )
        return rows.iloc[0]

    def test_bad_on_both_losses(self) -> None:
        bad = claim("worse", method="bloop (rho=0.001)", than=["sum", "bloop (rho=0.01)"], of=["main", "aux"])
        assert self.verdict(bad)["verdict"] == "supported"
        assert self.verdict({**bad, "margin": 0.5})["verdict"] == "contradicted"
        assert self.verdict({**bad, "method": "bloop (rho=0.01)", "than": "sum"})["verdict"] == "contradicted"
        assert self.verdict({**bad, "kind": "better"})["verdict"] == "contradicted"

    def test_follows(self) -> None:
        follows = claim("equal", methods="bloop (rho=0.9)", than="sum", of=["main", "aux"])
        assert self.verdict(follows)["verdict"] == "supported"

    def test_trades_in_either_direction(self) -> None:
        trade = claim("trade_off", method="bloop (rho=0.01)", than="sum")
        assert self.verdict(trade)["verdict"] == "supported"
        assert self.verdict({**trade, "method": "sum", "than": "bloop (rho=0.01)"})["verdict"] == "supported"
        assert self.verdict({**trade, "method": "bloop (rho=0.001)"})["verdict"] == "contradicted"
        assert self.verdict({**trade, "method": "bloop (rho=0.9)"})["verdict"] == "inconclusive"

    def test_several_learning_rates_have_no_end_values_to_compare(self) -> None:
        stated = [{**BETTER, "of": ["main"]}]

        def losses(run: TrainingRun) -> tuple[float, float]:
            main, aux = curve({})(run)
            return main * (0.5 if run.training.lr == 0.5 and run.lam > 0.3 else 1), aux

        rows = answer(swept(stated, axes={"training.lr": [0.1, 0.5]}), losses)
        last = rows[rows["protocol"] == "per-method"].iloc[0]
        assert last["verdict"] == "inconclusive"
        assert "at one learning rate" in last["reason"]

    def test_losses_that_are_not_positive_have_no_ratio(self) -> None:
        row = verdict([{**BETTER, "of": ["aux"]}], lambda run: (1.0, -1.0))
        assert row["verdict"] == "inconclusive"
        assert "not always positive" in row["reason"]


def test_the_least_mixed_loss() -> None:
    """Bloop's main loss is 0.8 of sum's: at small t the least mixed loss follows, at t = 1 it does not."""
    stated = claim("lower_mixed_loss", method="bloop", than="sum", t=[0.0])
    losses = curve({"bloop": 0.8})
    row = verdict([stated], losses)
    assert (row["verdict"], row["effect"]) == ("supported", pytest.approx(0.8, rel=0.01))
    row = verdict([{**stated, "t": [1.0]}], losses)
    assert (row["verdict"], row["effect"]) == ("contradicted", pytest.approx(1.0))


class TestCost:
    """The bench answers, whatever the runs' timings say, and how many seeds there are."""

    COST = claim("cost", method="bloop", on="MLP", most=1.1)

    def verdict(self, results: Path, **row: Any) -> pd.Series:
        experiment = swept([self.COST], seeds=1, miniature="tiny")
        records = [record(run, 1.0, 1.0) for run in plan(experiment)]
        if row:
            rows = [{"part": "a", "value": 1.0, "low": 0.99, "high": 1.01, **row}]
            (results / "bench").mkdir(exist_ok=True)
            (results / "bench" / "quick.json").write_text(json.dumps({"rows": rows}))
        return verdicts(experiment, records, results).iloc[0]

    def test_bound(self, tmp_path) -> None:
        figure = "step of bloop / step of sum with two gradients (MLP)"
        row = self.verdict(tmp_path, figure=figure, value=1.05, low=1.0, high=1.09)
        assert (row["verdict"], row["effect"], row["high"], row["split"]) == ("supported", 1.05, 1.09, "")
        assert self.verdict(tmp_path, figure=figure, low=1.0, high=1.2)["verdict"] == "inconclusive"
        assert (
            self.verdict(tmp_path, figure=figure, value=1.3, low=1.2, high=1.4)["verdict"] == "contradicted"
        )

    def test_without_the_record_the_command_is_said(self, tmp_path) -> None:
        row = self.verdict(tmp_path)
        assert (row["verdict"], np.isnan(row["effect"])) == ("inconclusive", True)
        assert "`scalpel bench`" in row["reason"]
        other = self.verdict(tmp_path, figure="step of bloop / step of sum with two gradients (transformer)")
        assert other["verdict"] == "inconclusive"
        assert "`scalpel bench --part a`" in other["reason"]


class TestWhatIsNoVerdict:
    def test_a_miniature_keeps_its_numbers(self) -> None:
        row = verdict([BETTER], curve({"bloop": 0.8}), miniature="one epoch")
        assert (row["verdict"], row["effect"]) == ("a miniature", pytest.approx(0.8, rel=0.01))
        assert row["reason"].startswith("no verdict on the paper: one epoch")
        own = {**BETTER, "paper": "our own question"}
        assert verdict([own], curve({"bloop": 0.8}), miniature="one epoch")["verdict"] == "supported"

    def test_where_weight_on_the_auxiliary_loss_costs_nothing_nothing_can_be_won(self) -> None:
        """The auxiliary loss falls with λ, and the main loss with it, for `sum` as for the others."""

        def losses(run: TrainingRun) -> tuple[float, float]:
            factor = 0.8 if run.label == "bloop" else 1.0
            return factor * (1 + 0.01 * (run.seed % 3 - 1) - 0.1 * run.lam), 10 * (0.9 - run.lam)

        row = verdict([BETTER], losses)
        assert row["verdict"] == "no conflict here"
        assert row["reason"].startswith("λ > 0 costs sum no main loss: 0.9")
        assert verdict([EQUAL], losses)["verdict"] == "supported"

    def test_boxes_that_disagree(self) -> None:
        """Better where the auxiliary loss is above 3, worse below: the tighter box sees the former alone."""

        def losses(run: TrainingRun) -> tuple[float, float]:
            main, aux = curve({}, noise=0)(run)
            factor = (0.9 if aux > 2 else 1.2) * (1 + 0.001 * run.seed) if run.label == "bloop" else 1.0
            return factor * main, aux

        tighter = {"aux": (5.0, 9.0), "main": (1e-5, 1.0)}
        row = verdict([BETTER], losses, box={**BOX, "tighter": tighter})
        assert row["effect"] > 1
        assert row["verdict"] == "depends on the measure"
        assert row["reason"].startswith("not confirmed by: tighter box")
        assert verdict([BETTER], losses)["verdict"] != "supported"

    def test_a_limit_that_an_alternative_box_keeps(self) -> None:
        """Better by more than the limit over the box, by less in the tighter one: no verdict on the limit."""

        def losses(run: TrainingRun) -> tuple[float, float]:
            main, aux = curve({}, noise=0)(run)
            factor = (0.95 if aux > 2 else 0.5) * (1 + 0.001 * run.seed) if run.label == "bloop" else 1.0
            return factor * main, aux

        tighter = {"aux": (5.0, 9.0), "main": (1e-5, 1.0)}
        row = verdict([{**BETTER, "limit": 0.1}], losses, box={**BOX, "tighter": tighter})
        assert row["high"] < 0.9
        assert row["verdict"] == "depends on the measure"
        assert row["reason"].startswith("not confirmed by: tighter box")
        assert verdict([{**BETTER, "limit": 0.1}], losses)["verdict"] == "contradicted"
        assert verdict([BETTER], losses, box={**BOX, "tighter": tighter})["verdict"] == "supported"

    def test_a_front_that_noise_alone_makes_better(self) -> None:
        """At each seed another λ is lucky, which takes the front down; the means over seeds are equal."""
        lams = [0.1, 0.2, 0.3]

        def losses(run: TrainingRun) -> tuple[float, float]:
            main, aux = 1 + run.lam / 4, 9.5 - 10 * run.lam
            if run.label == "bloop":
                main *= 0.8 if run.seed % 3 == lams.index(run.lam) else 1.1
            return main, aux

        row = verdict([{**BETTER, "than": ["sum"]}], losses, seeds=12, lam=lams)
        assert row["high"] < 1
        assert row["verdict"] == "depends on the measure"
        assert row["reason"].startswith("not confirmed by: mean front")

    def test_indicators_that_disagree(self) -> None:
        """Half the loss where it is small outweighs 20 % more where it is great, on logarithms alone."""

        def losses(run: TrainingRun) -> tuple[float, float]:
            main, aux = curve({}, noise=0)(run)
            factor = (0.5 if aux > 2 else 1.2) * (1 + 0.001 * run.seed) if run.label == "bloop" else 1.0
            return factor * main, aux

        row = verdict([BETTER], losses)
        assert row["effect"] < 1
        assert row["verdict"] == "depends on the measure"
        assert "hypervolume" in row["reason"].split(";")[0]


class TestPrimaryClaims:
    def table(self, *p_values: float) -> pd.DataFrame:
        row = verdict([{**BETTER, "primary": True}], curve({"bloop": 0.8}))
        rows = [{**row, "p": p, "verdict": "supported" if p < 0.05 else "inconclusive"} for p in p_values]
        return pd.DataFrame(rows)

    def test_they_are_corrected_for_their_number(self) -> None:
        claims = corrected(self.table(0.01, 0.03, 0.9))
        assert list(claims["verdict"]) == ["supported", "inconclusive", "inconclusive"]
        assert claims["reason"][1].startswith("p = 0.06 with Holm's correction for 3 primary claims")
        assert corrected(claims).equals(claims)

    def test_alone_secondary_or_of_another_protocol_nothing_changes(self) -> None:
        two = self.table(0.03, 0.04)
        assert list(corrected(two.assign(primary=False))["verdict"]) == ["supported"] * 2
        assert list(corrected(two.assign(protocol=["fixed", "main-tuned"]))["verdict"]) == ["supported"] * 2
        assert list(corrected(two)["verdict"]) == ["inconclusive"] * 2

    def test_p_values_say_what_the_intervals_say(self) -> None:
        for factor in (0.8, 0.97, 0.99, 1.01, 1.2):
            row = verdict([BETTER], curve({"bloop": factor}))
            assert (row["p"] < 0.05) == (row["verdict"] in ("supported", "contradicted"))
        row = verdict([{**BETTER, "than": "sum"}], curve({"bloop": 0.97}))
        logs = np.log(0.97 * np.array([0.98, 1.0, 1.02] * 2))
        assert row["p"] == pytest.approx(stats.ttest_1samp(logs, 0).pvalue)


class TestApart:
    APART = claim("apart", method="bloop", than=["sum", "pcgrad", "dynamic_barrier"])

    def verdict(self, away: float, rows: int = 4) -> pd.Series:
        """Others lie 0.01 apart along the path, Bloop ``away`` from the nearest of them."""
        experiment = swept([self.APART])
        shift = {"sum": 0.0, "pcgrad": 0.01, "dynamic_barrier": 0.02, "bloop": 0.02 + away}
        records: list[Record] = []
        for run in plan(experiment):
            at = 1 + shift.get(run.label, 0.0) * (1 + 0.02 * run.seed * (run.label == "bloop"))
            path = [{"train": {"main": at / (k + 1), "aux": k * at}} for k in range(rows)]
            records.append(
                record(run, at, at).model_copy(
                    update={"trajectory": [*path, record(run, at, at).trajectory[0]]}
                )
            )
        return verdicts(experiment, records).iloc[0]

    def test_further_than_the_others_from_one_another(self) -> None:
        assert self.verdict(0.2)["verdict"] == "supported"
        assert self.verdict(0.005)["verdict"] == "contradicted"

    def test_the_same_trajectories_are_no_answer(self) -> None:
        row = verdict([self.APART], lambda run: (1.0, 1.0))
        assert row["verdict"] == "inconclusive"


class TestSimulation:
    def judge(self, values: list[float], **settings: Any) -> pd.Series:
        stated = claim("within", quantity="slope", low=0.5, high=0.8)
        experiment = load("theorem2", "smoke", {"claims": [stated], "seeds": len(values), **settings})
        return judge_simulation(experiment, {seed: {"slope": v} for seed, v in enumerate(values)}).iloc[0]

    def test_within(self) -> None:
        assert self.judge([0.6, 0.65, 0.62] * 2)["verdict"] == "supported"
        assert self.judge([0.9, 0.95, 0.92] * 2)["verdict"] == "contradicted"
        assert self.judge([0.7, 0.85, 0.78] * 2)["verdict"] == "inconclusive"
        assert self.judge([0.6, 0.65, 0.62])["reason"].startswith("3 of 6 seeds")
        assert self.judge([0.6, 0.65, 0.62])["data"] == "simulated"

    def test_missing_seeds_and_unknown_quantities(self) -> None:
        assert self.judge([0.6, 0.65], seeds=3)["reason"].startswith("1 of 3 runs are missing")
        experiment = load(
            "theorem2", "smoke", {"claims": [claim("within", quantity="speed", low=0)], "seeds": 1}
        )
        row = judge_simulation(experiment, {0: {"slope": 1.0}}).iloc[0]
        assert (row["verdict"], row["reason"]) == ("inconclusive", "speed: no such quantity; there are slope")
