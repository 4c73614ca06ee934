"""The suite from Python: recorded results as tables, and a sweep."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import scalpel_bench as scalpel
from scalpel_bench.benchmarks.messages import UserError
from scalpel_bench.benchmarks.records import Folder
from tests.benchmarks.recorded import recorded
from tests.benchmarks.runs import written

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return recorded(tmp_path_factory.mktemp("recorded"))


@pytest.fixture(scope="module")
def results(folder):
    return scalpel.load_results(folder)


def test_tables_have_columns_of_one_kind(results) -> None:
    assert repr(results).startswith(f"<{len(results.runs)} runs of conditioning at scale ")
    for table in (results.runs, results.fronts, results.measures, results.measures_by_seed):
        assert len(table)
        for column in table:
            kinds = {type(value) for value in table[column] if not pd.isna(value)}
            assert len(kinds) <= 1, (column, kinds)
    assert set(results.measures_by_seed["seed"]) == {0, 1}


def documented() -> dict[str, dict[str, str]]:
    """The columns of each table with their kinds, as ``docs/columns.md`` has them."""
    text = (ROOT / "docs/columns.md").read_text()
    sections = {
        head: [
            (re.findall(r"`([^`]+)`", columns), kind)
            for columns, kind in re.findall(r"(?m)^\|(?:[^|\n]*\|)?? (`[^|]+`) \| (\w*) ?\|", body)
        ]
        for head, body in re.findall(r"(?ms)^## ([^\n]+)\n(.*?)(?=^## |\Z)", text)
    }
    shared = {name: kind for names, kind in sections["Columns that several tables have"] for name in names}
    return {
        head: {name: kind or shared[name] for names, kind in rows for name in names}
        for head, rows in sections.items()
    }


KINDS = {"word": "str", "number": "float64", "truth": "bool"}


def test_columns_are_those_of_the_documents_with_their_types(results) -> None:
    told = documented()
    for name, table, lacking in (
        ("runs", results.runs, set()),
        ("fronts", results.fronts, set()),
        ("measures", results.measures, {"seed"}),
        ("measures", results.measures_by_seed, {"low", "high"}),
        ("claims", results.claims, set()),
    ):
        metrics = {c for c in table if name == "runs" and re.match(r"(train|validation|test)_(?!seconds)", c)}
        assert len(metrics) == (6 if name == "runs" else 0)
        kinds = {column: told[name]["<split>_<metric>" if column in metrics else column] for column in table}
        assert set(table) - metrics == set(told[name]) - {"<split>_<metric>"} - lacking, name
        for column, kind in kinds.items():
            assert str(table[column].dtype) in (KINDS.get(kind), *["int64", "Int64"][: 2 * (kind == "whole")])


def test_columns_of_recorded_files_are_those_of_the_documents(results) -> None:
    told = documented()
    others = set(told["Files that Python does not read for you"])
    files = {"fronts": told["fronts"], "metrics": told["measures"], "claims": told["claims"]}
    found: set[str] = set()
    for name, table in results._analysis.tables.items():
        if name in files:
            assert set(table) == set(files[name])
        elif name != "summary":
            assert set(table) <= others
            found |= set(table)
    assert found == others


def test_fronts_of_any_table() -> None:
    points = pd.DataFrame(
        {"who": list("aaaab"), "x": [1.0, 2.0, 2.0, np.nan, 9.0], "y": [5.0, 3.0, 4.0, 0.0, 9.0]},
        index=[7, 7, 1, 2, 3],
    )
    kept = scalpel.fronts(points, "x", "y", by=["who"])
    assert kept[["who", "x", "y"]].to_numpy().tolist() == [["a", 2.0, 3.0], ["a", 1.0, 5.0], ["b", 9.0, 9.0]]
    assert scalpel.fronts(points[:0], "x", "y", by=["who"]).empty
    with pytest.raises(UserError, match="no column 'main'; there are who, x, y"):
        scalpel.fronts(points)


def test_fronts_of_runs_are_those_of_the_results(results) -> None:
    own = scalpel.fronts(results.runs.query("lr == 0.5 and method == 'bloop'"), "test_main", "test_aux")
    theirs = results.fronts.query("protocol == 'per-method' and split == 'test' and method == 'bloop'")
    assert len(own) == 8
    assert own[["seed", "lam"]].to_numpy().tolist() == theirs[["seed", "lam"]].to_numpy().tolist()


def test_measures_are_those_of_the_metrics(results, folder) -> None:
    written(Folder(folder))
    one = "statistic == 'front_ratio' and method == 'bloop' and split == 'train' and protocol == 'fixed'"
    metrics = pd.read_csv(folder / "metrics.csv").query(one).set_index("seed")["value"]
    assert set(metrics.index) == {"0", "1", "all"}
    ratio = results.measures.query(one)
    assert ratio["value"].item() == pytest.approx(metrics["all"])
    assert ratio["low"].item() <= ratio["value"].item() <= ratio["high"].item()
    assert results.measures_by_seed.query(one)["value"].tolist() == pytest.approx(metrics[["0", "1"]])
    assert set(results.claims["id"]) == {"better"}


def test_a_table_is_a_copy(results) -> None:
    mine = results.runs
    mine["lam"] = -1.0
    assert (results.runs["lam"] >= 0).all()


def test_figures(results) -> None:
    figure = results.plot()
    assert isinstance(figure, Figure)
    assert figure.axes[0].get_ylabel() == "main loss relative to the sum"
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
    with pytest.raises(UserError, match="no such file"):
        scalpel.load_results(tmp_path)
