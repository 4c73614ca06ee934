"""Hand-made records whose verdicts are known."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from scalpel_bench.benchmarks.analysis import comparisons
from scalpel_bench.benchmarks.analysis.verdicts import (
    COLUMNS,
    judge_simulation,
    side_by_side,
)
from scalpel_bench.benchmarks.experiments.box import Bounds
from scalpel_bench.benchmarks.experiments.loading import load
from scalpel_bench.benchmarks.experiments.settings import TrainingRun
from scalpel_bench.benchmarks.records import Record
from tests.benchmarks.judged import (
    BETTER,
    EQUAL,
    answer,
    claim,
    curve,
    swept,
    verdict,
    verdicts,
)
from tests.benchmarks.runs import BOX, conditioning, plan, record


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
    def test_a_method_is_never_better_than_its_twin_and_always_equal(self, seeds: int) -> None:
        losses, twin = curve({}, noise=0.3), {"twin": {"name": "bloop", "rho": 0.5}}
        better = {**BETTER, "method": "bloop", "than": ["twin"]}
        assert verdict([better], losses, seeds=seeds, methods=twin)["verdict"] == "contradicted"
        equal = {**EQUAL, "methods": ["bloop"], "than": "twin"}
        assert verdict([equal], losses, seeds=seeds, methods=twin)["verdict"] == "supported"


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

    def test_what_may_be_supported_in_two_ways_has_an_interval_of_97_5_percent(self) -> None:
        row = self.verdict(claim("trade_off", method="bloop (rho=0.01)", than="sum"))
        logs = np.log(0.8 * np.array([0.99, 1, 1.01] * 2))
        half = stats.t.ppf(1 - 0.025 / 2, 5) * logs.std(ddof=1) / 6**0.5
        assert row["effect"] == pytest.approx(np.exp(logs.mean()))
        assert row["high"] == pytest.approx(np.exp(logs.mean() + half))

    @pytest.mark.parametrize("status", ["diverged", "completed"])
    def test_a_run_of_one_method_that_blew_up_costs_the_bound_of_the_box(self, status: str) -> None:
        """Whether it has no end value, or one of 50 beside another that has none."""
        experiment = swept([{**BETTER, "of": ["main"], "than": "sum", "lam": 0.8}])
        blown = {("bloop", 0): "diverged", ("bloop", 1): status}
        records = [
            record(
                run,
                50.0 if (run.label, run.seed) in blown else 1.0,
                5.0,
                blown.get((run.label, run.seed), "completed"),
            )
            for run in plan(experiment)
        ]
        row = verdicts(experiment, records).iloc[0]
        assert row["effect"] == pytest.approx(BOX["main"][1] ** (2 / 6))

    def test_several_learning_rates_have_no_end_values_to_compare(self) -> None:
        stated = [{**BETTER, "of": ["main"]}]

        def losses(run: TrainingRun) -> tuple[float, float]:
            main, aux = curve({})(run)
            return main * (0.5 if run.training.lr == 0.5 and run.lam > 0.3 else 1), aux

        rows = answer(swept(stated, axes={"training.lr": [0.1, 0.5]}), losses)
        last = rows[rows["protocol"] == "per-method"].iloc[0]
        assert last["verdict"] == "inconclusive"
        assert "at one learning rate" in last["reason"]

    def test_no_seed_is_dropped_without_a_word(self) -> None:
        """Where both methods diverged at every λ of a seed, it has no ratio, and the others do not decide."""
        experiment = swept([{**BETTER, "of": ["main"], "than": "sum"}], seeds=7)
        records = [
            record(run, *curve({"bloop": 0.5})(run), "diverged" if run.seed == 3 else "completed")
            for run in plan(experiment)
        ]
        row = verdicts(experiment, records).iloc[0]
        assert (row["verdict"], row["seeds"]) == ("inconclusive", 0)
        assert "neither method has an end value of main at seed 3" in row["reason"]

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
    assert verdict([{**stated, "t": [0.0, 1.0]}], losses)["effect"] == pytest.approx(0.8**0.5, rel=0.01)


def test_what_diverged_counts_in_the_mean_front_as_the_upper_bounds_of_the_box() -> None:
    """One λ, two seeds, of which one diverged: the jackknife's values, by hand, in a box from 1 to 9."""
    ends = np.array([[[1.0, 1.0], [np.inf, np.inf]]])
    box = Bounds(aux=BOX["aux"], main=BOX["main"])
    mean = (4 * np.log(2) + 4 * np.log(1.5)) / 8  # (1.5, 5): the cap up to 5, then 1.5
    assert comparisons._pseudo_values([ends, ends], box) == pytest.approx([2 * mean - np.log(2), 2 * mean])


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
        assert side_by_side(row.to_frame().T)["seeds"].item() == ""
        assert self.verdict(tmp_path, figure=figure, low=1.0, high=1.2)["verdict"] == "inconclusive"
        one = figure.replace("two gradients", "one backward pass")
        assert self.verdict(tmp_path, figure=one, value=1.05)["verdict"] == "inconclusive"
        assert (
            self.verdict(tmp_path, figure=figure, value=1.3, low=1.2, high=1.4)["verdict"] == "contradicted"
        )

    @pytest.mark.parametrize("damage", [{"value": "1.0.0"}, {"figure": 3}, {"high": [1.0]}])
    def test_a_damaged_record_is_no_measurement(self, tmp_path, damage: dict[str, Any]) -> None:
        figure = "step of bloop / step of sum with two gradients (MLP)"
        row = self.verdict(tmp_path, **{"figure": figure, **damage})
        assert row["verdict"] == "inconclusive"
        assert "bench/quick.json cannot be read" in row["reason"]

    def test_without_the_record_the_command_is_said(self, tmp_path) -> None:
        row = self.verdict(tmp_path)
        assert (row["verdict"], np.isnan(row["effect"])) == ("inconclusive", True)
        assert "`scalpel bench --device cpu`" in row["reason"]
        other = self.verdict(tmp_path, figure="step of bloop / step of sum with two gradients (transformer)")
        assert other["verdict"] == "inconclusive"
        assert "`scalpel bench --part a --device cpu`" in other["reason"]


class TestApart:
    APART = claim("apart", method="bloop", than=["sum", "pcgrad", "dynamic_barrier"])

    def verdict(
        self, away: float, rows: int = 4, spoil: Callable[[Record], Record] = lambda r: r
    ) -> pd.Series:
        """Others lie 0.01 apart along the path, Bloop ``away`` from the nearest of them."""
        experiment = swept([self.APART])
        shift = {"sum": 0.0, "pcgrad": 0.01, "dynamic_barrier": 0.02, "bloop": 0.02 + away}
        records: list[Record] = []
        for run in plan(experiment):
            at = 1 + shift.get(run.label, 0.0) * (1 + 0.02 * run.seed * (run.label == "bloop"))
            path = [{"train": {"main": at / (k + 1), "aux": k * at}} for k in range(rows)]
            path.append(record(run, at, at).trajectory[0])
            records.append(spoil(record(run, at, at).model_copy(update={"trajectory": path})))
        return verdicts(experiment, records).iloc[0]

    def test_further_than_the_others_from_one_another(self) -> None:
        assert self.verdict(0.2)["verdict"] == "supported"
        assert self.verdict(0.005)["verdict"] == "contradicted"

    def test_the_units_of_a_loss_do_not_matter_nor_powers_of_one_on_a_log_axis(self) -> None:
        """Main losses enter by their logarithms, as the labels say, auxiliary ones as they are."""

        def path(each: Record, main: Callable[[float], float], aux: Callable[[float], float]) -> Record:
            told = [
                {"train": {"main": main(row["train"]["main"]), "aux": aux(row["train"]["aux"])}}
                for row in each.trajectory
            ]
            return each.model_copy(update={"trajectory": told})

        def effect(main: Callable[[float], float] = float, aux: Callable[[float], float] = float) -> float:
            return float(self.verdict(0.2, spoil=lambda each: path(each, main, aux))["effect"])

        assert effect(aux=lambda x: 1000 * x - 3) == pytest.approx(effect())
        assert effect(main=lambda x: 7 * x**3) == pytest.approx(effect())
        assert effect(aux=lambda x: x**3) != pytest.approx(effect(), rel=0.01)

    def test_no_run_is_left_out_in_silence(self) -> None:
        def diverged(each: Record) -> Record:
            of = each.run.label == "pcgrad" and each.run.lam == 0.8 and each.run.seed == 2
            return each.model_copy(update={"status": "diverged"}) if of else each

        row = self.verdict(0.2, spoil=diverged)
        assert row["verdict"] == "inconclusive"
        assert "no whole trajectory of pcgrad at λ = 0.8, seed 2" in row["reason"]

        def shorter(each: Record) -> Record:
            return each.model_copy(
                update={
                    "trajectory": each.trajectory[
                        : -1 if each.run.seed == 1 and each.run.label == "sum" else None
                    ]
                }
            )

        assert "of different numbers of evaluations at seed 1" in self.verdict(0.2, spoil=shorter)["reason"]

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

    def test_the_bounds_are_said(self) -> None:
        for bounds, told in (
            ({"low": 0.0}, "above 0"),
            ({"high": 0.8}, "below 0.8"),
            ({"low": 0.0, "high": 0.8}, "0 to 0.8"),
        ):
            stated = claim("within", quantity="slope", **bounds)
            experiment = load("theorem2", "smoke", {"claims": [stated], "seeds": 6})
            row = judge_simulation(experiment, {seed: {"slope": 0.6 + seed / 100} for seed in range(6)}).iloc[
                0
            ]
            assert f"claimed {told}" in row["reason"]

    def test_missing_seeds_and_unknown_quantities(self) -> None:
        assert self.judge([0.6, 0.65], seeds=3)["reason"].startswith("1 of 3 runs are missing")
        experiment = load(
            "theorem2", "smoke", {"claims": [claim("within", quantity="speed", low=0)], "seeds": 1}
        )
        row = judge_simulation(experiment, {0: {"slope": 1.0}}).iloc[0]
        assert (row["verdict"], row["reason"]) == ("inconclusive", "speed: no such quantity; there are slope")
