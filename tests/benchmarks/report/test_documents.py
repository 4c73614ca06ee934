"""Tables of documents, filled from files."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scalpel_bench.benchmarks import speed as bench
from scalpel_bench.benchmarks.experiments.loading import load
from scalpel_bench.benchmarks.experiments.schema import Experiment
from scalpel_bench.benchmarks.messages.errors import UserError
from scalpel_bench.benchmarks.records import Folder, write_manifest
from scalpel_bench.benchmarks.report import documents
from scalpel_bench.benchmarks.speed import Measurement
from tests.benchmarks.runs import BOX, DATA, plan, record, written


def speed(results: Path) -> None:
    rows = [
        Measurement(part="a", figure="step", value=1.234, low=1.2, high=1.3, target=1.1, milliseconds=5.0),
        Measurement(part="d", figure="population", value=None, target=20, at_least=True, note="needs a GPU"),
        Measurement(part="e", figure="exponent", value=1.0),
    ]
    path = bench.record_path(results, full=False)
    path.parent.mkdir()
    path.write_text(bench.BenchRecord(environment={}, rows=rows).model_dump_json())


def test_tables_of_speed_are_filled_from_the_record(tmp_path) -> None:
    speed(tmp_path)
    text = "<!-- bench: quick targets -->\n| old |\n<!-- end -->\n\n<!-- bench: quick e -->\n<!-- end -->\n"
    filled = documents.render(text, tmp_path)
    assert "| a | step | 1.23 [1.20, 1.30] | ≤ 1.10 | missed |" in filled
    assert "| d | population | – | ≥ 20.00 | needs a GPU |" in filled
    assert "| e | exponent | 1.00 |  |  |" in filled
    assert "old" not in filled
    assert documents.render(filled, tmp_path) == filled


def test_a_metric_has_its_median_and_range_by_method_and_lam(tmp_path) -> None:
    rows = [
        ("sum", 1.0, 0, 3e-4),
        ("sum", 1.0, 1, 1e-4),
        ("sum", 1.0, 2, 2e-4),
        ("bloop", 0.1, 0, 1e-6),
        ("bloop", 0.1, 1, np.nan),
    ]
    (tmp_path / "pinn").mkdir()
    runs = pd.DataFrame(rows, columns=["method", "lam", "seed", "test_mse"]).assign(
        lr=1e-3, status="completed"
    )
    runs.to_csv(tmp_path / "pinn" / "summary.csv", index=False)
    filled = documents.render("<!-- metric: pinn test mse -->\n<!-- end -->\n", tmp_path)
    assert (
        "| `bloop` | 0.1 | 1.0e-06 [1.0e-06, 1.0e-06] | 1 |\n| `sum` | 1 | 2.0e-04 [1.0e-04, 3.0e-04] | 3 |"
        in filled
    )
    runs.assign(lr=[1e-3, 1e-2, 1e-3, 1e-3, 1e-3]).to_csv(tmp_path / "pinn" / "summary.csv", index=False)
    apart = documents.render("<!-- metric: pinn test mse -->\n<!-- end -->\n", tmp_path)
    assert "| `sum` | 1 | 0.01 | 1.0e-04 [1.0e-04, 1.0e-04] | 1 |" in apart
    with pytest.raises(UserError, match="pinn has no accuracy on test"):
        documents.render("<!-- metric: pinn test accuracy -->\n<!-- end -->\n", tmp_path)


def test_what_cannot_be_filled_is_refused_and_the_document_kept(tmp_path) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "experiment.json").write_text("{}")
    for table in ("claims", "metrics", "summary"):
        (tmp_path / "bare" / f"{table}.csv").write_text("protocol,method,lam,lr,id\n")
    for marker, message in {
        "bench: quick all": r"quick.json does not exist: scalpel bench --device cpu makes it",
        "ratios: fig3a/laptop": r"metrics.csv does not exist: `scalpel report .*fig3a/laptop` makes it",
        "verdicts: bare": "bare: no claims, so no verdicts",
        "ratios: bare other": "bare: unknown learning-rate protocol 'other'",
        "learning_rates: bare test": r"experiment\.json states no experiment: KeyError",
        "bench: quick e -->\n| a |\n<!-- bench: quick a": "<!-- bench: quick e -->: no <!-- end --> before",
        "curves: a": "unknown kind 'curves'; known: bench, ratios, changes, across",
        "ratios: a b c d": "ratios: a b c d -->: .*takes from 2 to 4",
        "ratios: a b c": "ratios: c: write one of stairs, lines",
    }.items():
        document = tmp_path / "page.md"
        document.write_text(text := f"<!-- {marker} -->\nkept\n<!-- end -->\n")
        with pytest.raises(UserError, match=message):
            documents.fill(document, tmp_path)
        assert document.read_text() == text
    with pytest.raises(UserError, match=r"none.md cannot be read: No such file"):
        documents.fill(tmp_path / "none.md", tmp_path)


def test_curves_that_a_document_links_are_drawn_the_same_from_the_same_record(tmp_path) -> None:
    rows = [Measurement(part="d", figure=f"N = {n}", value=n, low=n, high=n + 1, at={"N": n}) for n in (1, 4)]
    path = bench.record_path(tmp_path, full=False)
    path.parent.mkdir()
    path.write_text(bench.BenchRecord(environment={"device": "cpu"}, rows=rows).model_dump_json())
    document = tmp_path / "page.md"
    document.write_text("![populations](populations.svg)\n<!-- bench: quick d -->\n<!-- end -->\n")
    documents.fill(document, tmp_path)
    drawn = (tmp_path / "populations.svg").read_bytes()
    assert [file.name for file in tmp_path.glob("*.svg")] == ["populations.svg"]
    assert b"runs per hour" in drawn
    assert "| d | N = 4 | 4.00 [4.00, 5.00] |" in document.read_text()
    documents.fill(document, tmp_path)
    assert (tmp_path / "populations.svg").read_bytes() == drawn


NARROW = {
    **BOX,
    "aux": (0.2, 0.6),
    "tighter": {"aux": (0.25, 0.5), "main": (1e-5, 1.0)},
    "wider": {"aux": (0.1, 0.7), "main": (1e-5, 3.0)},
}


def test_tables_of_a_sweep_are_filled_from_its_files(tmp_path) -> None:
    claim = {
        "id": "better",
        "text": "Bloop is better",
        "paper": "claim 0",
        "kind": "better",
        "method": "bloop",
        "than": ["sum"],
        "split": "train",
    }
    experiment = load(
        "fig3a", "smoke", {"lam": [0.1, 1.0], "seeds": 6, "claims": [claim], "box": NARROW, "miniature": ""}
    )
    assert isinstance(experiment, Experiment)
    folder = Folder(tmp_path / experiment.name / experiment.scale)
    folder.prepare()
    write_manifest(folder, experiment, DATA.fingerprint)
    for run in plan(experiment):
        factor = 0.5 if run.label == "bloop" else 1.0
        main, aux = (0.1, 0.4) if run.lam == 0.1 else (0.2, 0.2)
        folder.write(record(run, factor * main * (1 + 0.01 * run.seed), aux))
    written(folder)
    words = f"{experiment.name}/{experiment.scale}"
    kinds = ("ratios", "verdicts", "ends", "runs")
    text = "".join(f"<!-- {kind}: {words} -->\n<!-- end -->\n" for kind in kinds)
    ratios, verdicts, ends, runs = documents.render(text, tmp_path).split("<!-- end -->\n")[:4]
    assert "| `bloop` | 0.500 [0.500, 0.500] |" in ratios
    assert ratios.index("`bloop`") < ratios.index("`sum`")
    assert (
        f"| Bloop is better | claim 0 | secondary | train | supported 0.500 [0.500, 0.500] | 6 | `{words}` |"
        in verdicts
    )
    assert "| `bloop` | 0.1 | 0.051 | 0.400 |" in ends
    across = documents.render(f"<!-- across: train {words} -->\n<!-- end -->", tmp_path).splitlines()
    assert across[1:5:3] == [f"| method | `{words}` |", "| `bloop` | 0.500 [0.500, 0.500] |"]
    with pytest.raises(UserError, match="has no ratios on dev: write one of train, validation, test"):
        documents.render(f"<!-- across: dev {words} -->\n<!-- end -->", tmp_path)
    command = json.loads((folder.path / "provenance.json").read_text())["commands"][0]
    assert command.startswith("scalpel sweep fig3a --scale smoke --seeds 6 --lam 0.1,1")
    assert f"`{command}`" in runs


def test_ratios_at_each_rate_are_of_the_methods_that_ran_at_several(tmp_path) -> None:
    experiment = load(
        "fig3a",
        "smoke",
        {"lam": [0.1, 1.0], "seeds": 2, "axes": {"training.lr": [1e-4, 1e-3]}, "box": NARROW},
    )
    assert isinstance(experiment, Experiment)
    folder = Folder(tmp_path / "fig3a" / "smoke")
    folder.prepare()
    write_manifest(folder, experiment, DATA.fingerprint)
    for run in plan(experiment):
        if run.label in ("sum", "bloop") or (run.label == "mgda" and run.training.lr == 1e-3):
            main, aux = (0.1, 0.4) if run.lam == 0.1 else (0.2, 0.2)
            if run.label == "bloop":
                main *= {1e-4: 0.5, 1e-3: 0.8}[run.training.lr]
                main *= 0.25 if run.training.lr == 1e-3 and run.lam == 0.1 else 1.0
            folder.write(record(run, main, aux))
    written(folder)
    table = documents.render("<!-- learning_rates: fig3a/smoke train -->\n<!-- end -->", tmp_path)
    assert "| method | rate 0.0001 | rate 0.001 |" in table
    assert "| `bloop` | 0.500 [0.500, 0.500] | 0.400 [0.400, 0.400] |" in table
    assert "mgda" not in table
    lines = documents.render("<!-- learning_rates: fig3a/smoke train lines -->\n<!-- end -->", tmp_path)
    assert "| `bloop` | 0.500 [0.500, 0.500] | 0.283 [0.283, 0.283] |" in lines
    for kind in ("learning_rates", "one_rate"):
        with pytest.raises(UserError, match=f"{kind}: unknown split 'tset'.*test"):
            documents.render(f"<!-- {kind}: fig3a/smoke tset -->\n<!-- end -->", tmp_path)
    with pytest.raises(UserError, match="learning_rates: curves: write one of stairs, lines"):
        documents.render("<!-- learning_rates: fig3a/smoke train curves -->\n<!-- end -->", tmp_path)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b'method,"lam\n1'])
def test_a_damaged_file_of_results_is_named(tmp_path, content) -> None:
    for name, marker in {"metrics.csv": "ratios", "provenance.json": "runs"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=f"{name} is damaged"):
            documents.render(f"<!-- {marker}: . -->\n<!-- end -->", tmp_path)


def test_the_box_is_drawn_the_same_beside_the_document_that_shows_it(tmp_path) -> None:
    document = tmp_path / "page.md"
    document.write_text("![the box](box.svg)\n")
    documents.fill(document, tmp_path)
    drawn = (tmp_path / "box.svg").read_bytes()
    assert len(drawn) < 100_000
    documents.fill(document, tmp_path)
    assert (tmp_path / "box.svg").read_bytes() == drawn


def test_shares_of_simulated_verdicts(tmp_path) -> None:
    with pytest.raises(UserError, match="`scalpel simulate verdicts` makes it"):
        documents.render("<!-- simulation: levels -->\n<!-- end -->", tmp_path)
    rows = [
        {"protocol": "fixed", "seeds": 6, "supported": 0.02, "contradicted": 0.015, "effect": 0.0},
        {"protocol": "per-method", "seeds": 6, "supported": 0.03, "contradicted": 0.0, "effect": 0.0},
        {"protocol": "fixed", "seeds": 6, "supported": 0.4, "no_conflict": 0.5, "effect": 0.05},
        {"protocol": "fixed", "seeds": 10, "supported": 0.9, "no_conflict": 0.0, "effect": 0.05},
    ]
    file = tmp_path / "simulate" / "verdicts.csv"
    file.parent.mkdir()
    file.write_text("noise_of\n")
    with pytest.raises(UserError, match="verdicts.csv is damaged: `scalpel simulate verdicts` makes it"):
        documents.render("<!-- simulation: levels -->\n<!-- end -->", tmp_path)
    table = pd.DataFrame(rows).assign(noise_of="a/b", noise=1.0, coverage=0.95)
    pd.concat([table, table]).to_csv(file)
    with pytest.raises(UserError, match="verdicts.csv has rows twice"):
        documents.render("<!-- simulation: levels -->\n<!-- end -->", tmp_path)
    table.to_csv(file)
    told = documents.render(
        "<!-- simulation: levels -->\n<!-- end -->\n<!-- simulation: power -->\n<!-- end -->", tmp_path
    )
    assert "| noise of | method | seeds | fixed | per-method |" in told
    assert "| `a/b` | equal, 1 × the noise | 6 | 2.0 / 1.5 / 95 | 3.0 / 0.0 / 95 |" in told
    assert "| noise of | method | protocol | 6 seeds | 10 seeds |" in told
    assert "| `a/b` | 5% less main loss | fixed | 40% (50% no conflict) | 90% |" in told
