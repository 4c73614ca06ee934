"""A box proposed from runs of `sum`."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from scalpel_bench.benchmarks.analysis.box_proposal import propose
from scalpel_bench.benchmarks.commands.new_box import _untrained, new_box
from scalpel_bench.benchmarks.commands.planning import with_methods
from scalpel_bench.benchmarks.experiments.box import Boxes
from scalpel_bench.benchmarks.experiments.loading import load
from scalpel_bench.benchmarks.experiments.schema import Experiment
from scalpel_bench.benchmarks.messages import UserError
from scalpel_bench.benchmarks.records import Folder, write_manifest
from tests.benchmarks.recorded import recorded
from tests.benchmarks.runs import DATA, conditioning, plan, record


def runs(mains: list[float], auxes: list[float], seed: int = 0) -> pd.DataFrame:
    columns = {"lam": np.arange(len(mains)), "validation_main": mains, "validation_aux": auxes}
    return pd.DataFrame(columns).assign(seed=seed)


def test_the_rule() -> None:
    """λ = 0 stands apart; the cap is 1^(1/3) 8^(2/3) = 4, which the last run is above."""
    box = propose(runs([0.1, 1.0, 2.0, 3.0, 5.0], [99.0, 9.0, 5.0, 3.0, 1.0]), start=8.0, split="validation")
    assert (box["aux"], box["main"]) == ([3.0, 9.0], [0.5, 4.0])
    assert (box["tighter"]["aux"], box["wider"]["aux"]) == ([3.9, 8.1], [2.1, 9.9])
    assert (box["tighter"]["main"], box["wider"]["main"]) == ([0.5, 2.83], [0.25, 5.0])
    Boxes.model_validate(box)


def test_a_cap_above_all_runs_comes_down_to_them_and_seeds_have_their_median() -> None:
    seeds = [runs([0.1, 1.0, 2.0 + k], [9.0, 9.0 + k, 5.0], seed=k) for k in range(3)]
    box = propose(pd.concat(seeds), start=1000.0, split="validation")
    assert (box["aux"], box["main"]) == ([5.0, 10.0], [0.5, 3.15])


def test_what_is_proposed_is_accepted_however_narrow_it_is() -> None:
    rng, proposed = np.random.default_rng(0), 0
    for _ in range(400):
        base = 10 ** rng.uniform(-2, 3)
        aux = base + base * 10 ** rng.uniform(-3, 0) * rng.random(6)
        main = 10 ** rng.uniform(-2, 1) * (1 + rng.random(6))
        front = runs(main.tolist(), aux.tolist()).assign(lam=np.arange(1, 7))
        try:
            box = propose(front, start=3 * main.max(), split="validation")
        except UserError:
            continue
        Boxes.model_validate(box)
        proposed += 1
    assert proposed > 100


def test_auxiliary_losses_below_zero_and_the_alternatives_around_them() -> None:
    box = propose(runs([0.1, 1.0, 2.0, 3.0], [9.0, 4.0, 0.0, -6.0]), start=27.0, split="validation")
    assert box["aux"] == [-6.0, 4.0]
    assert (box["tighter"]["aux"], box["wider"]["aux"]) == ([-4.5, 2.5], [-7.5, 5.5])


@pytest.mark.parametrize("status", ["failed", "diverged"])
def test_where_no_run_has_ended_nothing_is_proposed(tmp_path, status) -> None:
    folder = Folder(tmp_path / "conditioning" / "smoke")
    experiment = with_methods(conditioning(lam=[0.1, 0.4], seeds=1), ["sum"])
    folder.prepare()
    for run in plan(experiment):
        folder.write(record(run, 1.0, 1.0).model_copy(update={"status": status, "trajectory": []}))
    write_manifest(folder, experiment, DATA.fingerprint)
    with pytest.raises(UserError, match="no run of sum has ended"):
        new_box("conditioning", "smoke", tmp_path)


def test_too_few_runs_are_refused() -> None:
    for few in (runs([0.1, 1.0], [9.0, 9.0]), runs([0.1, 1.0, 9.0], [9.0, 9.0, 1.0])):
        with pytest.raises(UserError, match="at least two λ > 0 must end below the cap"):
            propose(few, start=2.0, split="validation")
    with pytest.raises(UserError, match="one auxiliary loss"):
        propose(runs([0.1, 1.0, 1.1], [9.0, 5.0, 5.0]), start=8.0, split="validation")


def test_bounds_have_the_digits_that_tell_them_apart() -> None:
    box = propose(runs([9.0, 0.1, 0.5, 9.0], [9.0, 100.4, 100.1, 100.0]), start=2.0, split="validation")
    assert box["aux"] == [100.1, 100.4]


def test_the_command_prints_a_table_and_says_that_others_had_run(tmp_path) -> None:
    recorded(tmp_path / "conditioning" / "smoke")
    lines = new_box("conditioning", "smoke", tmp_path)
    assert lines[0] == "[scales.smoke.box]"
    assert [line.partition(" =")[0] for line in lines[1:7]] == [
        *("aux", "main", "reason", "date", "tighter", "wider"),
    ]
    assert lines[3] == 'reason = "proposed from validation losses of sum (2 seeds)"'
    assert lines[-1].endswith("had run before this box was proposed")


@pytest.mark.parametrize(
    ("main", "aux", "apart"),
    [
        ((1.0, 2.0), (0.0, 10.0), False),
        ((1.0, 2.0), (0.0, 5.1), False),
        ((1.0, 2.0), (0.0, 4.9), True),
        ((1.0, 4.1), (0.0, 10.0), True),
        ((1.0, 0.9), (0.0, 10.0), True),
        ((0.6, 2.0), (0.0, 10.0), False),
        ((0.4, 2.0), (0.0, 10.0), True),
    ],
)
def test_a_box_of_its_own_for_train_losses_where_they_lie_elsewhere(
    tmp_path, monkeypatch, main: tuple[float, float], aux: tuple[float, float], apart: bool
) -> None:
    recorded(tmp_path / "conditioning" / "smoke")

    def proposed(runs: object, start: float, split: str) -> dict[str, Any]:
        own = (
            {"main": (1.0, 2.0), "aux": (0.0, 10.0)} if split == "validation" else {"main": main, "aux": aux}
        )
        return {**own, "tighter": own, "wider": own}

    monkeypatch.setattr("scalpel_bench.benchmarks.commands.new_box.propose", proposed)
    lines = new_box("conditioning", "smoke", tmp_path)
    assert ("[scales.smoke.box.train]" in lines) == apart


def test_the_start_of_a_model_that_was_trained_before_sets_no_cap(tmp_path) -> None:
    for name in ("forgetting", "unlearning"):
        experiment = load(name, "smoke")
        assert isinstance(experiment, Experiment)
        assert _untrained(experiment, [], "train") == math.inf
    records, _ = Folder(recorded(tmp_path / "conditioning" / "smoke")).read()
    experiment = load("conditioning", "smoke")
    assert isinstance(experiment, Experiment)
    trajectory = next(record.trajectory for record in records if record.trajectory)
    assert _untrained(experiment, records, "train") == trajectory[0]["train"]["main"]
