"""Where a method stands: places, fronts that agree, Δm, from made-up tables of results."""

import json
import lzma
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from scalpel_bench.benchmarks.messages import UserError
from scalpel_bench.benchmarks.report import documents
from scalpel_bench.benchmarks.report.standing import standing

LABELS = {"sum": "sum", "bloop": "bloop", "bloop_slow": "bloop", "bloop_no_ema": "bloop_no_ema"}
RATIOS = {
    "sum": [1.0, 1.0],
    "bloop": [0.9, 0.8],
    "bloop_slow": [0.9, 0.8015],
    "bloop_no_ema": [0.9005, 0.8004],
}


def measured(values: dict[str, list[float]], statistic: str = "front_ratio", **further: Any) -> pd.DataFrame:
    """Rows of ``metrics.csv``: each seed, and over all the mean with an interval of ± 0.1."""
    rows = []
    for label, own in values.items():
        over_all = sum(own) / len(own)
        rows += [{"method": label, "seed": seed, "value": value} for seed, value in enumerate(own)]
        ends = {"low": over_all - 0.1, "high": over_all + 0.1}
        rows.append({"method": label, "seed": "all", "value": over_all, **ends})
    fixed = {"protocol": "fixed", "split": "test", "statistic": statistic, "note": None}
    return pd.DataFrame(rows).assign(**fixed | further)


def sweep(
    results: Path, *tables: pd.DataFrame, name: str = "mine", labels: dict[str, str] = LABELS, **stated: Any
) -> Path:
    """A packed sweep of these tables, with no record in it."""
    folder = results / name / "laptop"
    folder.mkdir(parents=True)
    (folder / "runs.jsonl.xz").write_bytes(lzma.compress(b""))
    methods = {label: {"name": method} for label, method in labels.items()}
    experiment = {"name": name, "scale": "laptop", "methods": methods, "miniature": "", **stated}
    (folder / "experiment.json").write_text(json.dumps({"experiment": experiment}))
    if tables:
        pd.concat(tables).to_csv(folder / "metrics.csv", index=False)
    return folder


def rows(results: Path, method: str) -> list[dict[str, str]]:
    table = standing(results, method)
    assert isinstance(table, pd.DataFrame)
    return [{str(key): str(cell) for key, cell in row.items()} for row in table.to_dict("records")]


def test_a_row_for_each_label_with_its_place_by_the_ratio_on_test(tmp_path) -> None:
    sweep(tmp_path, measured(RATIOS), measured({"bloop": [0.5, 0.7]}, split="train"))
    assert rows(tmp_path, "bloop") == [
        {
            "sweep": "`mine/laptop`",
            "front ratio, train": "0.600 [0.500, 0.700]",
            "front ratio, test": "0.850 [0.750, 0.950]",
            "place on test": "1 of 4",
            "same front as": "`bloop_no_ema`",
            "miniature": "no",
        },
        {
            "sweep": "`mine/laptop`, as `bloop_slow`",
            "front ratio, train": "",
            "front ratio, test": "0.851 [0.751, 0.951]",
            "place on test": "3 of 4",
            "same front as": "",
            "miniature": "no",
        },
    ]


def test_fronts_agree_at_every_seed_that_either_has_or_not_at_all(tmp_path) -> None:
    values = {"sum": [1.0, 1.0], "bloop": [0.8009, 0.5], "bloop_slow": [0.8, 0.501], "bloop_no_ema": [0.8]}
    sweep(tmp_path, measured(values))
    row, slow = rows(tmp_path, "bloop")
    assert "same front as" not in row
    assert (row["place on test"], slow["place on test"]) == ("1 of 3", "2 of 3")


def test_a_label_with_fewer_seeds_than_others_has_no_place(tmp_path) -> None:
    sweep(tmp_path, measured({"sum": [1.0, 1.0], "bloop": [0.8, 0.9], "bloop_no_ema": [0.7]}))
    assert [row["place on test"] for row in rows(tmp_path, "bloop")] == ["1 of 2"]
    assert [row["place on test"] for row in rows(tmp_path, "bloop_no_ema")] == ["none: 1 of 2 seeds"]


def test_a_label_that_did_not_end_the_runs_of_sum_has_no_place(tmp_path) -> None:
    table = measured(RATIOS)
    lost = "1 of 8 runs of bloop failed or are missing"
    table.loc[(table["method"] == "bloop") & (table["seed"] == "all"), "note"] = lost
    sweep(tmp_path, table)
    assert [row["place on test"] for row in rows(tmp_path, "bloop")] == [f"none: {lost}", "2 of 3"]


def test_a_label_with_more_lam_than_the_grid_has_no_place(tmp_path) -> None:
    folder = sweep(tmp_path, measured(RATIOS), lam=[0.1, 1.0])
    stated = json.loads((folder / "experiment.json").read_text())
    stated["experiment"]["methods"]["bloop"]["lam"] = [0.1, 0.3, 1.0]
    (folder / "experiment.json").write_text(json.dumps(stated))
    assert [row["place on test"] for row in rows(tmp_path, "bloop")] == [
        "none: 3 λ, the grid has 2",
        "2 of 3",
    ]


def test_labels_without_a_point_in_the_box_share_the_cap_and_no_front(tmp_path) -> None:
    ratios = {"sum": [1.0, 1.0], "bloop": [1.2, 1.2], "bloop_slow": [1.2, 1.2], "bloop_no_ema": [1.2, 1.2]}
    points = {"sum": [3.0, 3.0], "bloop": [0.0, 0.0], "bloop_slow": [0.0, 1.0], "bloop_no_ema": [2.0, 2.0]}
    sweep(tmp_path, measured(ratios), measured(points, "points"))
    outside, inside = rows(tmp_path, "bloop")
    assert outside["same front as"] == "no point in the box"
    assert inside["same front as"] == "`bloop_no_ema`"
    assert (outside["place on test"], inside["place on test"]) == ("2 of 4", "2 of 4")


def test_without_front_ratios_a_sweep_shows_delta_m(tmp_path) -> None:
    labels = {"sum": "sum", "bloop": "bloop", "alone": "single"}
    unknown = measured({"sum": [float("nan")], "bloop": [float("nan")]})
    sweep(tmp_path, unknown, measured({"sum": [2.0, 4.0], "bloop": [-1.0, 0.0]}, "delta_m"), labels=labels)
    assert rows(tmp_path, "bloop") == [
        {
            "sweep": "`mine/laptop`",
            "Δm on test (%)": "-0.50 [-0.60, -0.40]",
            "place on test": "1 of 2",
            "miniature": "no",
        }
    ]
    assert "No recorded sweep ranks it" in str(standing(tmp_path, "single"))


def test_sweeps_of_both_kinds_share_a_table_by_name_with_gaps(tmp_path) -> None:
    sweep(tmp_path, measured(RATIOS), name="b", miniature="five epochs")
    sweep(tmp_path, measured({"sum": [2.0], "bloop": [1.0]}, "delta_m"), name="a")
    first, second, _ = rows(tmp_path, "bloop")
    assert (first["sweep"], first["Δm on test (%)"], first["front ratio, test"]) == (
        "`a/laptop`",
        "1.00 [0.90, 1.10]",
        "",
    )
    assert (second["sweep"], second["Δm on test (%)"], second["miniature"]) == ("`b/laptop`", "", "yes")


def test_what_ranks_no_method_is_left_out(tmp_path) -> None:
    sweep(tmp_path, name="no_tables")
    sweep(tmp_path, measured({"sum": [1.0], "bloop (rho=0.1)": [0.5]}), name="one_label")
    sweep(tmp_path, measured(RATIOS, protocol="per-method"), name="other_rates")
    sweep(tmp_path, measured(RATIOS, split="validation"), name="no_test")
    sweep(tmp_path, measured({"sum": [900.0], "bloop": [101.0]}, "delta_m"), name="of_one_loss")
    unpacked = sweep(tmp_path, measured(RATIOS), name="unpacked")
    (unpacked / "runs.jsonl.xz").unlink()
    assert "No recorded sweep ranks it" in str(standing(tmp_path, "bloop"))
    assert "No recorded sweep ranks it" in str(standing(tmp_path, "sum"))


def test_a_method_that_is_recorded_nowhere_has_the_command_that_trains_it(tmp_path) -> None:
    told = documents.render("<!-- standing: config -->\n<!-- end -->", tmp_path)
    assert "`scalpel compare config --on fig3a/released --data PATH`" in told
    positive = documents.render("<!-- standing: famo -->\n<!-- end -->", tmp_path)
    assert "`scalpel compare famo --on fig5a/workstation --data PATH`" in positive
    with pytest.raises(UserError, match="unknown method 'blop': did you mean bloop"):
        standing(tmp_path, "blop")


def test_tables_are_read_again_when_they_are_written_again(tmp_path) -> None:
    folder = sweep(tmp_path, measured(RATIOS))
    assert rows(tmp_path, "bloop")[0]["place on test"] == "1 of 4"
    measured({**RATIOS, "bloop": [2.0, 2.0]}).to_csv(folder / "metrics.csv", index=False)
    assert rows(tmp_path, "bloop")[0]["place on test"] == "4 of 4"


@pytest.mark.parametrize("text", ["", "[]", '{"experiment": {"methods": {"sum": {}}}}'])
def test_a_damaged_experiment_is_refused(text: str, tmp_path) -> None:
    (sweep(tmp_path, measured(RATIOS)) / "experiment.json").write_text(text)
    with pytest.raises(UserError, match=r"mine/laptop/experiment.json states no experiment"):
        standing(tmp_path, "bloop")
