"""When a claim gets no verdict, and what the number of claims costs."""

import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from scalpel_bench.benchmarks.analysis import verdicts as judging
from scalpel_bench.benchmarks.analysis.evidence import Evidence
from scalpel_bench.benchmarks.analysis.statistics import Estimate
from scalpel_bench.benchmarks.analysis.verdicts import corrected
from scalpel_bench.benchmarks.experiments.settings import TrainingRun
from tests.benchmarks.judged import BETTER, EQUAL, answer, curve, swept, verdict, verdicts
from tests.benchmarks.runs import BOX, plan, record

COLUMNS = (Path(__file__).parents[3] / "docs" / "columns.md").read_text()


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

    def test_no_run_is_missing_where_seeds_choose_different_rates(self) -> None:
        """The lesser rate is better but for the first seed, so that all others choose the greater."""

        def losses(run: TrainingRun) -> tuple[float, float]:
            main, aux = curve({"bloop": 0.8})(run)
            return main * (1.03 if run.training.lr == 0.5 else 1.3 if run.seed == 0 else 1.0), aux

        experiment = swept([BETTER], axes={"training.lr": [0.1, 0.5]})
        row = answer(experiment, losses).set_index("protocol").loc["main-tuned"]
        assert "lr=0.5 (5 seeds), 0.1 (1 seeds)" in row["reason"]
        assert row["verdict"] == "supported"
        lacking = answer(
            experiment, losses, lambda run: (run.label, run.seed, run.training.lr) != ("bloop", 0, 0.5)
        )
        assert (
            lacking.set_index("protocol").loc["main-tuned", "reason"].startswith("4 of 144 runs are missing")
        )

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

    def test_fronts_of_which_none_enters_the_box(self) -> None:
        """Their ratio is 1, which says nothing: all pay the cap."""
        for claim in (BETTER, EQUAL):
            row = verdict([claim], lambda run: (100.0 + run.seed, 5.0))
            assert row["verdict"] == "inconclusive"
            assert "no front enters the box" in row["reason"]

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


class TestWhatIsNoVerdict:
    def test_a_miniature_keeps_its_numbers(self) -> None:
        row = verdict([BETTER], curve({"bloop": 0.8}), miniature="one epoch")
        assert (row["verdict"], row["effect"]) == ("a miniature", pytest.approx(0.8, rel=0.01))
        assert row["reason"].startswith("no verdict on the paper: one epoch")
        own = {**BETTER, "paper": "our own question"}
        assert verdict([own], curve({"bloop": 0.8}), miniature="one epoch")["verdict"] == "supported"

    def test_a_miniature_without_the_rivals_says_that_they_are_lacking(self) -> None:
        experiment = swept([BETTER], miniature="one epoch")
        row = answer(experiment, curve({"bloop": 0.8}), lambda run: run.label != "pcgrad").iloc[0]
        assert row["verdict"] == "inconclusive"
        assert row["reason"].startswith("no runs of pcgrad")

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
            factor = (0.9 if aux > 2 else 1.5) * (1 + 0.001 * run.seed) if run.label == "bloop" else 1.0
            return factor * main, aux

        tighter = {"aux": (5.0, 9.0), "main": (1e-5, 1.0)}
        row = verdict([BETTER], losses, box={**BOX, "tighter": tighter})
        assert row["effect"] > 1
        assert row["verdict"] == "depends on the measure"
        assert row["reason"].startswith("not confirmed by: tighter box")
        assert verdict([BETTER], losses)["verdict"] != "supported"

    def test_every_comparison_that_supports_is_asked_not_only_the_one_that_decides(self) -> None:
        """PCGrad decides, at 0.8; Bloop is ahead of the sum over the box, behind it in the tighter one."""

        def losses(run: TrainingRun) -> tuple[float, float]:
            main, aux = curve({}, noise=0)(run)
            main *= 1 + 0.001 * run.seed * (run.label == "bloop")
            factor = {"pcgrad": 1.25, "sum": 20.0 if aux < 2 else 0.95}.get(run.label, 1.0)
            return factor * main, aux

        tighter = {"aux": (5.0, 9.0), "main": (1e-5, 1.0)}
        row = verdict([BETTER], losses, box={**BOX, "tighter": tighter})
        assert row["effect"] == pytest.approx(0.8, rel=0.01)
        assert row["verdict"] == "depends on the measure"
        assert row["reason"].startswith("not confirmed by: tighter box")
        assert (
            verdict([{**BETTER, "than": ["pcgrad"]}], losses, box={**BOX, "tighter": tighter})["verdict"]
            == "supported"
        )

    @pytest.mark.parametrize(
        ("cost", "expected"),
        [
            ((1.01, 0.98, 1.05), "supported"),
            ((1.0, 0.99, 1.02), "supported"),
            ((1.01, 1.0, 1.019), "no conflict here"),
        ],
    )
    def test_there_is_no_conflict_where_the_interval_lies_below_two_percent(
        self, cost: tuple[float, float, float], expected: str, monkeypatch
    ) -> None:
        monkeypatch.setattr(judging, "conflict", lambda found, split: Estimate(*cost, note=""))
        assert verdict([BETTER], curve({"bloop": 0.8}))["verdict"] == expected

    def test_an_alternative_box_that_no_front_enters_bears_nothing_out(self) -> None:
        tighter = {"aux": (5.0, 9.0), "main": (1e-5, 1e-4)}
        row = verdict([BETTER], curve({"bloop": 0.8}), box={**BOX, "tighter": tighter})
        assert row["verdict"] == "depends on the measure"
        assert row["reason"].startswith("not confirmed by: tighter box;")

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

    def test_miniatures_are_none_of_them(self) -> None:
        claims = pd.concat([self.table(0.03), self.table(0.04).assign(verdict="a miniature")])
        assert list(corrected(claims)["verdict"]) == ["supported", "a miniature"]

    def test_the_column_p_is_before_that_correction_as_its_document_says(self) -> None:
        """So that the tables of several experiments, each corrected, can be corrected together."""
        claims = corrected(self.table(0.03))
        assert list(claims["verdict"]) == ["supported"]
        together = corrected(pd.concat([claims] * 3))
        assert list(together["p"]) == [0.03] * 3
        assert all(reason.startswith("p = 0.09 with Holm's") for reason in together["reason"])
        (told,) = re.findall(r"(?m)^\| `p` \| number \| (.*) \|$", COLUMNS)
        assert told.startswith("its p-value, corrected for the comparisons of the claim alone; Holm's")
        assert told.endswith("it changes `verdict`, and `reason` then says the corrected value")

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

    def test_p_of_an_interval_that_is_closed(self) -> None:
        """Inside by two one-sided tests at 5 %, outside by one at 5 %, as its 90 % interval says."""
        scatter = 0.004 * np.array([-2, -1, 0, 0, 1, 2])
        standings = set()
        for middle in np.linspace(-0.06, 0.06, 49):
            values = np.exp(middle + scatter)
            of = Evidence("x", (dict(enumerate(values)), ""), (1 / 1.02, 1.02), confidence=0.9)
            standings.add(of.standing)
            assert of.p is not None
            assert (of.p < 0.05) == (of.standing != "inconclusive")
            if abs(middle) > 0.01:  # one side decides
                below = stats.ttest_1samp(np.log(values), math.log(1.02), alternative="less").pvalue
                above = stats.ttest_1samp(np.log(values), -math.log(1.02), alternative="greater").pvalue
                inside = max(below, above)
                assert of.p == pytest.approx(1 - inside if of.standing == "contradicted" else inside)
        assert standings == {"supported", "inconclusive", "contradicted"}

    def test_a_claim_that_one_of_several_comparisons_contradicts_pays_for_their_number(self) -> None:
        losses = curve({"bloop": 1.03, "pcgrad": 1.01, "dynamic_barrier": 1.01})
        alone = verdict([{**BETTER, "than": "sum"}], losses)
        several = verdict([{**BETTER, "than": ["sum", "pcgrad", "dynamic_barrier"]}], losses)
        assert alone["verdict"] == several["verdict"] == "contradicted"
        assert several["effect"] == alone["effect"]
        assert several["p"] == pytest.approx(3 * alone["p"])
        assert alone["p"] > 1e-4
