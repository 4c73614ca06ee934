"""The suite from Python: recorded results as tables, and a sweep."""

import pandas as pd
import pytest
from matplotlib.figure import Figure

import scalpel_bench as scalpel
from scalpel_bench.benchmarks.messages import UserError
from scalpel_bench.benchmarks.records import Folder
from tests.benchmarks.recorded import recorded
from tests.benchmarks.runs import written


@pytest.fixture
def results(tmp_path):
    return scalpel.load_results(recorded(tmp_path))


def test_tables_have_columns_of_one_kind(results) -> None:
    assert repr(results).startswith(f"<{len(results.runs)} runs of conditioning at scale ")
    for table in (results.runs, results.fronts, results.measures, results.measures_by_seed):
        for column in table:
            kinds = {type(value) for value in table[column] if not pd.isna(value)}
            assert len(kinds) <= 1, (column, kinds)
    assert set(results.measures_by_seed["seed"]) == {0, 1}


def test_measures_are_those_of_the_metrics(results, tmp_path) -> None:
    written(Folder(tmp_path))
    one = "statistic == 'front_ratio' and method == 'bloop' and split == 'train' and protocol == 'fixed'"
    metrics = pd.read_csv(tmp_path / "metrics.csv").query(one).set_index("seed")["value"]
    assert set(metrics.index) == {"0", "1", "all"}
    ratio = results.measures.query(one)
    assert ratio["value"].item() == pytest.approx(metrics["all"])
    assert ratio["low"].item() <= ratio["value"].item() <= ratio["high"].item()
    assert results.measures_by_seed.query(one)["value"].tolist() == pytest.approx(metrics[["0", "1"]])
    assert list(results.claims["id"]) == ["better"] * len(results.claims)


def test_a_table_is_a_copy(results) -> None:
    mine = results.runs
    mine["lam"] = -1.0
    assert (results.runs["lam"] >= 0).all()


def test_figures(results) -> None:
    assert isinstance(results.plot(), Figure)
    assert results.plot().axes[0].get_ylabel() == "main loss relative to the sum"
    assert results.plot("fronts").axes[0].get_title().startswith("train")
    with pytest.raises(UserError, match="no figure 'front'; there are fronts, "):
        results.plot("front")


def test_a_sweep_is_run_and_read(tmp_path) -> None:
    swept = scalpel.sweep(
        "conditioning", "smoke", methods=["sum", "bloop"], results=tmp_path, workers=1, lam=[0.1], seeds=1
    )
    assert list(swept.runs["method"]) == ["bloop", "sum"]
    with pytest.raises(UserError, match="unknown experiment 'conditionin': did you mean conditioning"):
        scalpel.sweep("conditionin")


def test_a_folder_of_none_is_refused(tmp_path) -> None:
    with pytest.raises(UserError):
        scalpel.load_results(tmp_path)
