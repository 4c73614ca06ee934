"""What the suite says of its methods: sources from docstrings, records, oracles, and the list of them."""

import inspect
import json
import lzma
import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

from scalpel_bench.benchmarks import catalogue
from scalpel_bench.benchmarks.catalogue import ORACLES, Work, described, where_recorded, works
from scalpel_bench.benchmarks.cli.app import app
from scalpel_bench.benchmarks.messages import UserError, terminal
from scalpel_bench.benchmarks.records import Folder
from scalpel_bench.benchmarks.report import docstrings
from scalpel_bench.entries import Entry, of_class, read_folder
from tests.benchmarks.recorded import recorded
from tests.benchmarks.runs import conditioning, plan, record

RESULTS = Path(__file__).parents[3] / "results"


def test_the_source_of_a_docstring_is_who_and_when() -> None:
    text = """One line.

    Source: Désidéri 2012, "Multiple-gradient descent"; Liu, Chu & Thuerey 2024, arXiv 2408.11104, Equation 2.
    Differs: unlike Gong & Liu 2021, arXiv 0000.00000.
    """
    found = [Work("Désidéri 2012"), Work("Liu, Chu & Thuerey 2024", "2408.11104")]
    assert works(inspect.cleandoc(text)) == found


TEMPLATE = "d = g_m.\n\nSource: who, when, arXiv id, equation."
DOCSTRINGS = {
    "the template's": (TEMPLATE, []),
    "no capital": ("d = g_m.\n\nSource: yours 2026, a note.", [Work("yours 2026, a note")]),
    "none": ("", []),
    "no source": ("d = g_m.", []),
    "an empty source": ("d = g_m.\n\nSource:", []),
    "an id alone": ("d = g_m.\n\nSource: arXiv 2408.11104.", []),
    "two sources": ("d.\n\nSource: Ada 1843.\n\nSource: Bob 2000.", [Work("Ada 1843")]),
    "letters of all kinds": (
        "d.\n\nSource: Łukasiewicz & Ørsted 2020, arXiv 2001.00001; 王 2021.",
        [Work("Łukasiewicz & Ørsted 2020", "2001.00001"), Work("王 2021")],
    ),
    "markup": ("d | [red] <!-- end -->\n\nSource: [Ada 1843](x|y).", [Work("Ada 1843")]),
}


@pytest.mark.parametrize("case", DOCSTRINGS)
def test_a_method_with_any_docstring_is_listed_and_has_its_row(case: str, tmp_path, monkeypatch) -> None:
    doc, sources = DOCSTRINGS[case]
    mine = Entry("mine", "scalpel_bench.methods.mine", "Mine", doc, doc.partition("\n")[0])
    monkeypatch.setattr(catalogue.methods, "catalogue", lambda package: {"mine": mine})
    assert described({})["mine"].sources == sources
    done = CliRunner().invoke(app, ["list", "methods", "--results", str(tmp_path)])
    assert done.exit_code == 0, done.exception
    assert "\nmine " in done.stdout
    assert list(docstrings.table_of_methods({})["method"]) == ["`mine`"]


def test_a_class_without_a_docstring_has_none_of_its_dataclass(monkeypatch) -> None:
    @dataclass(frozen=True)
    class Mine:
        name: ClassVar[str] = "mine"
        rho: float = 0.5

    entry = of_class(Mine, "a plugin 1.0")
    monkeypatch.setattr(catalogue.methods, "catalogue", lambda package: {"mine": entry})
    assert (described({})["mine"].summary, described({})["mine"].direction) == ("", "")


def test_a_method_without_a_test_claims_no_oracle(monkeypatch) -> None:
    mine = Entry("mine", "scalpel_bench.methods.mine", "Mine", TEMPLATE)
    monkeypatch.setattr(catalogue.methods, "catalogue", lambda package: {"mine": mine})
    assert described({})["mine"].oracles == ()
    assert list(docstrings.table_of_methods({})["oracle"]) == [""]


@pytest.mark.parametrize("name", read_folder("methods").entries)
def test_every_docstring_names_its_works_with_all_their_ids(name: str) -> None:
    doc = read_folder("methods").entries[name].doc
    paragraph = doc.partition("Source:")[2].partition("\n\n")[0].partition("Differs:")[0]
    assert works(doc)
    assert [work.arxiv for work in works(doc) if work.arxiv] == re.findall(r"\d{4}\.\d{5}", paragraph)


def test_a_method_is_evaluated_where_it_has_completed_a_run(tmp_path) -> None:
    Folder(recorded(tmp_path / "conditioning" / "smoke")).pack()
    found = where_recorded(tmp_path)
    assert found == {name: ["conditioning/smoke"] for name in ("sum", "bloop", "mgda")}
    methods = described(found)
    assert (methods["mgda"].evaluated, methods["pcgrad"].evaluated) == ("in 1 sweep", "not evaluated")


def test_what_failed_or_is_no_record_evaluates_nothing(tmp_path) -> None:
    folder = Folder(tmp_path / "conditioning" / "smoke")
    folder.prepare()
    run = plan(conditioning())[0]
    folder.write(record(run, 1.0, 1.0, status="failed"))
    folder.pack()
    lines = [*lzma.decompress(folder.archive.read_bytes()).splitlines(), b'{"run":', b"[1]", b'{"run": 1}']
    folder.archive.write_bytes(lzma.compress(b"\n".join(lines)))
    assert where_recorded(tmp_path) == {}
    assert where_recorded(tmp_path / "nowhere") == {}


def test_only_packed_records_count_and_a_damaged_archive_is_refused(tmp_path) -> None:
    folder = Folder(tmp_path / "conditioning" / "smoke")
    folder.prepare()
    run = plan(conditioning())[0]
    folder.write(record(run, 1.0, 1.0))
    assert where_recorded(tmp_path) == {}
    folder.pack()
    folder.file(run.id).unlink()
    assert where_recorded(tmp_path) == {run.method["name"]: ["conditioning/smoke"]}
    folder.archive.write_bytes(folder.archive.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"runs.jsonl.xz is no archive of records"):
        where_recorded(tmp_path)


def test_the_recorded_results_are_read_as_their_records_are() -> None:
    folder = Folder(RESULTS / "fig7" / "workstation")
    named = {(r.run.method["name"], r.status) for r in folder.read()[0]}  # type: ignore[union-attr]
    assert named == {("bloop", "completed"), ("sum", "completed")}
    places = {name for name, found in where_recorded(RESULTS).items() if "fig7/workstation" in found}
    assert places == {"bloop", "sum"}


def test_the_oracle_of_a_method_is_its_formula_where_no_other_has_it() -> None:
    methods = described({})
    assert methods["pcgrad"].oracles == ("TorchJD", "authors' code")
    assert methods["agem"].oracles == ("formula",)
    assert [name for name, method in methods.items() if not method.oracles] == []
    assert {name for names in ORACLES.values() for name in names} <= methods.keys()


def test_the_list_fits_80_columns_and_says_what_the_rows_say(tmp_path, monkeypatch) -> None:
    Folder(recorded(tmp_path / "conditioning" / "smoke")).pack()
    monkeypatch.setattr(terminal.console, "_width", 80)
    done = CliRunner().invoke(app, ["list", "methods", "--results", str(tmp_path)])
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert max(map(cell_len, lines)) <= 80
    assert lines[1].split() == ["method", "source", "λ", "evaluated", "oracle"]
    block = "\n".join(lines).split("\nmgda ")[1].split("\n\n")[0]
    for word in ("Désidéri 2012", "arXiv:1810.04650", " none ", "in 1", "TorchJD"):
        assert word in block
    listed = [line.split()[0] for line in lines if line and line[0] != " "]
    assert set(described({})) <= set(listed)


def test_without_a_folder_of_results_the_list_says_that_nothing_counts(tmp_path) -> None:
    done = CliRunner().invoke(app, ["list", "methods", "--results", str(tmp_path / "nowhere")])
    assert done.exit_code == 0
    assert "no such folder, so no method counts as evaluated" in done.output
    assert "sweep" not in done.stdout


def test_the_table_of_documents_is_made_of_the_same_rows() -> None:
    table = docstrings.table_of_methods({"mgda": ["a/b", "a/c"]}).set_index("method")
    row = table.loc["`mgda`"]
    assert (row["λ"], row["length of d"]) == ("none", "arbitrary")
    assert (row["evaluated"], row["oracle"]) == ("in 2 sweeps", "TorchJD")
    assert row["source"] == "Désidéri 2012; [Sener & Koltun 2018](https://arxiv.org/abs/1810.04650)"
    assert set(table["evaluated"]) == {"in 2 sweeps", "not evaluated"}


def test_only_the_head_of_a_record_is_parsed(tmp_path) -> None:
    """The measurements of a record may be large; what stands before them tells enough."""
    head = {
        "id": "0",
        "run": {"experiment": "a", "scale": "b", "method": {"name": "m"}},
        "status": "completed",
    }
    line = json.dumps(head, separators=(",", ":"))[:-1] + ',"environment":{}, and no JSON'
    archive = tmp_path / "a" / "b" / "runs.jsonl.xz"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(lzma.compress(line.encode()))
    assert where_recorded(tmp_path) == {"m": ["a/b"]}
