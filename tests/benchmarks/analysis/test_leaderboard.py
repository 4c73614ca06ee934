"""The leaderboard against brute force, scipy, and drawn data of which the truth is known."""

import json
import math
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import trim_mean

from scalpel_bench.benchmarks import api
from scalpel_bench.benchmarks.analysis import comparisons
from scalpel_bench.benchmarks.analysis.analyses import TrainingAnalysis
from scalpel_bench.benchmarks.analysis.leaderboard import (
    Leaderboard,
    cells_of,
    interquartile_mean,
    leaderboard,
    middle_ratio,
    profile,
    wins,
)
from scalpel_bench.benchmarks.commands.leaderboard import _has_controls
from scalpel_bench.benchmarks.experiments.loading import available, load
from scalpel_bench.benchmarks.experiments.schema import Experiment
from scalpel_bench.benchmarks.experiments.suite import SUITE
from scalpel_bench.benchmarks.messages import UserError
from scalpel_bench.benchmarks.report import documents, page_board
from tests.benchmarks.command_line import scalpel
from tests.benchmarks.recorded import recorded, reported
from tests.benchmarks.runs import BOX, DATA, analysed, conditioning, plan, record

RNG = np.random.default_rng(3)
CELLS = [np.exp(0.2 * RNG.standard_normal(count)) for count in (2, 3, 6)]


def board(**ratios: dict[str, list[float]]) -> Leaderboard:
    """A leaderboard of ``method={experiment: ratio of each seed}``; `sum` has 1 wherever there is another."""
    seeds: dict[str, int] = {}
    for own in ratios.values():
        seeds |= {name: max(len(values), seeds.get(name, 0)) for name, values in own.items()}
    rows = [(name, "sum", seed, 1.0) for name, count in seeds.items() for seed in range(count)]
    rows += [
        (name, method, seed, value)
        for method, own in ratios.items()
        for name, values in own.items()
        for seed, value in enumerate(values)
    ]
    return Leaderboard(pd.DataFrame(rows, columns=["experiment", "method", "seed", "ratio"]))


def test_the_interquartile_mean_is_scipys() -> None:
    values = RNG.standard_normal((5, 12))
    assert interquartile_mean(values, np.ones(12)) == pytest.approx(trim_mean(values, 0.25, axis=-1))


def test_experiments_count_alike_however_many_seeds_they_have() -> None:
    repeated = np.concatenate([np.repeat(np.log(own), 24 // len(own)) for own in CELLS])
    assert middle_ratio(CELLS).value == pytest.approx(math.exp(trim_mean(repeated, 0.25)))
    taus = [0.8, 1.0, 1.2]
    brute = [np.mean([sum(v <= tau for v in own) / len(own) for own in CELLS]) for tau in taus]
    assert profile(CELLS, taus) == pytest.approx(brute)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Five experiments of ten seeds, each with an effect of its own: those are fixed, the seeds are drawn.

    The truth is what very many seeds have.
    """
    effects = 0.1 * np.random.default_rng(1).standard_normal(5)
    many = np.random.default_rng(2).standard_normal((5, 20_000))
    truth = math.exp(trim_mean((effects[:, None] + 0.05 * many).ravel(), 0.25))
    draw, held = np.random.default_rng(4), []
    for _ in range(120):
        cells = np.exp(effects[:, None] + 0.05 * draw.standard_normal((5, 10)))
        estimate = middle_ratio(list(cells))
        assert estimate.low is not None
        assert estimate.high is not None
        held.append(estimate.low <= truth <= estimate.high)
    assert 0.88 <= np.mean(held) <= 0.99


def test_seeds_are_drawn_within_their_experiment() -> None:
    """Equal seeds leave nothing to draw, though experiments differ by far."""
    value, low, high, _ = middle_ratio([np.full(3, 0.5), np.full(3, 1.0), np.full(3, 1.5), np.full(3, 2.0)])
    assert low == pytest.approx(value)
    assert high == pytest.approx(value)
    assert value == pytest.approx(math.sqrt(1.5))


def test_a_single_seed_has_no_interval() -> None:
    assert middle_ratio([np.array([0.9]), np.array([0.8])])[1:] == (None, None, "one seed: no interval")


def test_no_interval_is_shown_where_an_experiment_has_fewer_than_three_seeds() -> None:
    many, few = [0.8, 0.9, 0.85], [0.9, 0.95]
    made = board(a={"x": many, "y": few}, b={"x": many})
    assert made.over_all.set_index("method")["low"].isna().to_dict() == {"a": True, "sum": True}
    each = made.by_experiment.set_index(["experiment", "method"])
    assert each.loc[("x", "a"), ["low", "high"]].notna().all()
    assert each.loc[("y", "a"), ["low", "high"]].isna().all()
    against = made.against("a").set_index("rival")
    assert against["high"].isna().to_dict() == {"sum": True, "b": False}


def test_wins_are_the_share_of_pairs_and_ties_are_shared() -> None:
    found = board(a={"x": [0.8, 1.0], "y": [0.9]}, b={"x": [0.9, 1.0], "y": [0.9]}).over_all
    # x: a beats sum once and ties once, beats b once and ties once; y: it beats sum and ties with b.
    told = dict(zip(found["method"], found["wins"], strict=True))
    assert told["a"] == pytest.approx(((1 + 0.5 + 1 + 0.5) / 4 + (1 + 0.5) / 2) / 2)
    assert sum(told.values()) == pytest.approx(1.5)  # half of the three methods
    assert wins([np.array([0.5, 1.0, 2.0, 3.0])]) == 0.375


def test_less_main_loss_ranks_first_and_equals_share_a_rank() -> None:
    own = {"worse": [1.2, 1.3, 1.3], "better": [0.8, 0.9, 0.9], "as_sum": [1.0, 1.0, 1.0]}
    found = board(**{method: {"x": ratios} for method, ratios in own.items()}).over_all
    assert list(found["method"]) == ["better", "sum", "as_sum", "worse"]
    assert list(found["rank"]) == [1, 2, 2, 4]
    assert (found["low"] <= found["ratio"]).all()
    assert (found["ratio"] <= found["high"]).all()


def largest(ran: dict[str, set[str]]) -> int:
    """Methods × experiments of the largest table without a gap, by trying every set of experiments."""
    names = sorted(set().union(*ran.values()))
    subsets = [set(some) for size in range(1, len(names) + 1) for some in combinations(names, size)]
    return max(len(some) * sum(some <= own for own in ran.values()) for some in subsets)


def test_over_all_is_the_largest_table_without_a_gap() -> None:
    draw = np.random.default_rng(0)
    for _ in range(30):
        ran = {f"m{k}": {name for name in "abcdef" if draw.random() < 0.6} for k in range(6)}
        ran = {method: own for method, own in ran.items() if own}
        found = board(**{method: {name: [0.9, 1.1] for name in sorted(own)} for method, own in ran.items()})
        methods, names = found.shared
        assert all(set(names) <= ran.get(method, set("abcdef")) for method in methods)
        assert len(names) * (len(methods) - 1) == largest(ran)
        assert {m: len(ran[m]) for m in found.unranked} == found.unranked
        assert set(methods) | set(found.unranked) == {"sum", *ran}
        with_first = found.shared_with("m0") if "m0" in ran else ([], [])
        assert "m0" in with_first[0] or "m0" not in ran


def test_a_method_against_the_rest_is_paired_by_seed_over_what_both_have() -> None:
    found = board(a={"x": [0.8, 0.9], "y": [0.5, 0.5]}, b={"x": [0.4, 1.8, 7.0]}).against("a")
    assert list(found["rival"]) == ["sum", "b"]
    rival = found.set_index("rival").loc["b"]
    assert rival["ratio"] == pytest.approx(1.0)  # of 2 and a half at the two seeds that both have
    assert (rival["wins"], rival["experiments"]) == (0.5, 1)
    with pytest.raises(UserError, match="unknown method 'aa': did you mean a?"):
        board(a={"x": [0.8]}, b={}).against("aa")


def test_no_column_mixes_kinds_and_single_points_are_marked() -> None:
    made = board(a={"x": [0.8, 0.9]}, b={"x": [0.9, 0.9], "y": [0.9]})
    made = Leaderboard(made.cells, frozenset({"b"}))
    table = made.table
    assert list(table["experiment"].unique()) == ["all", "x", "y"]
    assert set(table.query("not trade_off")["method"]) == {"b"}
    for column in table:
        kinds = {type(value) for value in table[column] if not pd.isna(value)}
        assert len(kinds) <= 1, (column, kinds)
    assert made.row("a")[["rank", "of"]].iloc[0].tolist() == [1, 3]
    shares = made.profile([0.85, 0.9])
    assert shares.loc["b"].tolist() == [0.0, 1.0]
    assert shares.loc["sum"].tolist() == [0.0, 0.0]


def swept(scale: str = "smoke", **of_sum: list[float]) -> TrainingAnalysis:
    experiment = conditioning(
        lam=[0.1, 0.2, 0.4, 0.8],
        seeds=2,
        methods={"sum": of_sum, "bloop": {}, "pcgrad": {}, "mgda": {}},
        box=BOX,
    ).model_copy(update={"scale": scale})
    factors = {"sum": 1.0, "bloop": 0.8, "pcgrad": 1.1, "mgda": 0.7}
    runs = [run for run in plan(experiment) if run.label in factors]
    records = [
        record(
            run, factors[run.label] * math.exp(-2 * run.lam) * (1 + 0.1 * run.seed * run.lam), 10 * run.lam
        )
        for run in runs
    ]
    analysis = analysed(records, experiment, DATA.fingerprint)
    assert isinstance(analysis, TrainingAnalysis)
    return analysis


def test_ratios_of_ratios_are_the_front_ratios_between_methods() -> None:
    analysis = swept()
    found = leaderboard([(analysis.compared, analysis.metrics)])
    assert found.names == ["conditioning/smoke"]
    assert found.single_points == {"mgda"}
    box = analysis.compared.box
    assert box
    pair = analysis.protocols[0].pair("bloop", "pcgrad")
    ratios, _ = comparisons.front_ratios(pair, "test", box.of("test"))
    told = found.against("bloop").set_index("rival")["ratio"]
    assert told["pcgrad"] == pytest.approx(middle_ratio([np.array(list(ratios.values()))]).value)
    assert told["pcgrad"] == pytest.approx(0.8 / 1.1)


def test_a_sum_with_more_lam_than_the_grid_is_what_all_are_compared_with() -> None:
    analysis = swept(lam=[0.05, 0.1, 0.2, 0.4, 0.8])
    found = leaderboard([(analysis.compared, analysis.metrics)])
    assert found.left_out == ()
    assert found.over_all.set_index("method")["ratio"]["sum"] == 1.0


def test_cells_are_the_same_from_the_file(tmp_path) -> None:
    analysis = swept()
    analysis.metrics.to_csv(tmp_path / "metrics.csv", index=False)
    both = (cells_of(analysis.compared, m) for m in (analysis.metrics, pd.read_csv(tmp_path / "metrics.csv")))
    pd.testing.assert_frame_equal(*both)


def test_what_cannot_be_ranked_is_refused() -> None:
    analysis = swept()
    with pytest.raises(UserError, match="two of the folders hold conditioning/smoke"):
        leaderboard([(analysis.compared, analysis.metrics)] * 2)
    with pytest.raises(UserError, match="no front ratios on test losses under the protocol fixed"):
        leaderboard([(analysis.compared, analysis.metrics.iloc[:0])])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return reported(tmp_path_factory.mktemp("results") / "conditioning" / "smoke", rates=(0.1,))


def ranked(folder: Path, *options: str, status: int = 0) -> str:
    said = scalpel("leaderboard", *options, cwd=folder, status=status)
    return " ".join((said.stdout + said.stderr if status == 0 else said.stderr).split())


def test_the_command_ranks_and_sets_one_method_against_the_rest(folder) -> None:
    said = ranked(folder, str(folder.parents[1]), "--each")
    assert f"suite {SUITE}; front ratios on test losses" in said
    assert "over all: 3 methods in 1 of 1 experiments" in said
    assert f"scalpel: {folder}: missing: 1 run failed (1 of sum); the same sweep tries them again" in said
    assert re.search(r"│ 1 │ bloop │ 0\.\d{3} │ 100% │ 100% │ 1/1 │", said)
    assert "no interval where an experiment has fewer than 3 seeds" in said
    assert "* λ is no trade-off to it" in said
    assert " conditioning/smoke ┏" in said
    alone = ranked(folder, ".", "--method", "bloop")
    assert "bloop among 3 methods in conditioning/smoke" in alone
    assert re.search(r"│ sum │ 0\.\d{3} │ 100% │ 1/1 │", alone)
    assert "no interval where an experiment has fewer than 3 seeds" in alone
    assert "did you mean bloop?" in ranked(folder, ".", "--method", "bloopp", status=2)
    assert "results: no records; give results, or folders such as" in ranked(folder, status=2)


def test_without_paths_it_takes_no_tries_and_says_how_many_it_leaves_out(tmp_path, monkeypatch) -> None:
    recorded(tmp_path / "results" / "conditioning" / "laptop", scale="laptop", rates=(0.1,))
    recorded(tmp_path / "results" / "conditioning" / "smoke", seeds=3, rates=(0.1,))
    none = ranked(tmp_path, status=2)
    assert none.count("scalpel: error") == 1
    assert "name folders, such as results/conditioning/laptop" in none
    recorded(
        tmp_path / "results" / "conditioning" / "workstation", seeds=3, scale="workstation", rates=(0.1,)
    )
    said = ranked(tmp_path)
    assert "left out: 2 of 3 sweeps, of scale smoke, with fewer than 3 seeds of a method, or" in said
    assert "experiments: conditioning/workstation" in said
    assert re.search(r"│ 1 │ bloop │ 0\.\d{3} \[.+?\] │ 100% │ 100% │ 1/1 │", said)
    monkeypatch.chdir(tmp_path)
    assert api.leaderboard().names == ["conditioning/workstation"]
    assert len(api.leaderboard("results").names) == 3


def test_only_the_experiment_that_takes_bloop_apart_has_controls() -> None:
    loaded = (load(name, "workstation") for name in available())
    assert [e.name for e in loaded if isinstance(e, Experiment) and _has_controls(e)] == ["why"]


def test_a_report_of_several_experiments_has_it_beside_the_page_and_on_it(tmp_path) -> None:
    results = tmp_path / "results"
    beside = recorded(results / "conditioning" / "laptop", seeds=3, scale="laptop", rates=(0.1,))
    folder = reported(results / "conditioning" / "smoke", beside, rates=(0.1,))
    table = pd.read_csv(folder.parent / "leaderboard.csv")
    names = ["conditioning/smoke", "conditioning/laptop"]
    assert list(table["experiment"].unique()) == ["all", *names]
    assert table["method"][0] == "bloop"
    page = (folder.parent / "report.html").read_text()
    assert f"Suite {SUITE}, 3 methods in 2 of 2 experiments: {', '.join(names)}" in page
    ratio = page_board.section(api.leaderboard(folder, beside))["rows"][0]["cells"][0][1]
    assert ratio == pytest.approx(table["ratio"][0], rel=1e-6)
    assert f'<td class="number" data-value="{ratio}">{ratio:.3f}</td>' in page
    assert json.loads((folder / "provenance.json").read_text())["suite"] == SUITE
    filled = "<!-- leaderboard: {} -->\n<!-- end -->\n"
    two = documents.render(filled.format("sum,bloop conditioning/smoke"), results)
    assert re.findall(r"\| `(\w+)` \|", two) == ["bloop", "sum"]
    with pytest.raises(UserError, match="leaderboard: unknown method 'blop': did you mean bloop"):
        documents.render(filled.format("sum,blop conditioning/smoke"), results)
    both = documents.render(filled.format("all conditioning/smoke conditioning/laptop"), results)
    assert f"| 1 | `bloop` | {ratio:.3f} |" in both
    assert re.search(
        r"\| 1 \| `bloop` \| [\d.]+ \[", documents.render(filled.format("all conditioning/laptop"), results)
    )


def test_a_page_of_one_experiment_has_one_interval_for_one_thing(folder) -> None:
    """Its front ratios stand in their own table; the leaderboard is beside it for later."""
    assert 'id="board"' not in (folder / "report.html").read_text()
    assert list(pd.read_csv(folder / "leaderboard.csv")["experiment"].unique()) == [
        "all",
        "conditioning/smoke",
    ]
