"""The pages of methods: written with their table, and made of code and records alone."""

from pathlib import Path

import pytest

from scalpel_bench.benchmarks import speed as bench
from scalpel_bench.benchmarks.messages import UserError
from scalpel_bench.benchmarks.report import docstrings, documents, method_pages
from scalpel_bench.benchmarks.speed import Measurement
from scalpel_bench.entries import Entry

COINCIDE = """
## When methods coincide

| methods | when | up to | because |
| --- | --- | --- | --- |
| `bloop`, `bloop_no_ema` | ρ = 1 | exact | both project against m |
| `stch`, `sum` | beside `bloop` | length | the softmax is uniform |

## Another

| `bloop` | of another table |
"""
TABLE = "<!-- methods: all pages -->\n<!-- end -->\n"


def measured(results: Path, *figures: str) -> None:
    """A record of the bench."""
    path = bench.record_path(results, full=False)
    path.parent.mkdir()
    rows = [Measurement(part="a", figure=figure, value=1.25, low=1.2, high=1.3) for figure in figures]
    path.write_text(bench.BenchRecord(environment={}, rows=rows).model_dump_json())


def entry(name: str, origin: str | None = None) -> Entry:
    return Entry(name, f"scalpel_bench.methods.{name}", "Mine", f"d = {name}.", origin=origin)


def test_a_table_of_methods_with_a_folder_has_their_pages_in_it(tmp_path) -> None:
    measured(tmp_path, "step of bloop / step of sum with two gradients (MLP)")
    document = tmp_path / "list.md"
    document.write_text(TABLE + COINCIDE)
    documents.fill(document, tmp_path)
    text = document.read_text()
    assert "| [`bloop`](pages/bloop.md) |" in text
    assert {page.stem for page in (tmp_path / "pages").iterdir()} == docstrings.own("methods").keys()
    page = (tmp_path / "pages" / "bloop.md").read_text()
    assert page.startswith("# bloop\n")
    for told in (
        "m ← (1 − ρ) m + ρ g_m.",
        "`scalpel compare bloop --on fig3a/released",
        "(MLP) | 1.25 [1.20, 1.30] |",
    ):
        assert told in page
    documents.fill(tmp_path / "pages" / "bloop.md", tmp_path)
    assert (tmp_path / "pages" / "bloop.md").read_text() == page
    (tmp_path / "pages" / "bloop.md").write_text("edited")
    documents.fill(document, tmp_path)
    assert (tmp_path / "pages" / "bloop.md").read_text() == page
    assert document.read_text() == text


def test_a_table_without_a_folder_has_no_pages(tmp_path) -> None:
    document = tmp_path / "list.md"
    document.write_text("<!-- methods: all -->\n<!-- end -->\n")
    documents.fill(document, tmp_path)
    assert "| `bloop` |" in document.read_text()
    assert [file.name for file in tmp_path.iterdir()] == ["list.md"]


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path) -> None:
    measured(tmp_path)
    (tmp_path / "pages").write_text("")
    (tmp_path / "list.md").write_text(TABLE)
    with pytest.raises(UserError, match="pages cannot be made: File exists"):
        documents.fill(tmp_path / "list.md", tmp_path)


def test_a_page_has_the_rows_in_which_its_method_coincides_with_others(monkeypatch) -> None:
    names = ("bloop", "sum", "mine")
    monkeypatch.setattr(docstrings, "catalogue", lambda package: {name: entry(name) for name in names})
    bloop, summed, mine = method_pages.pages_of(TABLE + COINCIDE).values()
    assert "| `bloop`, `bloop_no_ema` | ρ = 1 | exact | both project against m |\n" in bloop
    assert "the softmax is uniform" not in bloop
    assert "of another table" not in bloop
    assert "| methods | when | up to | because |\n| --- | --- | --- | --- |\n| `stch`, `sum` |" in summed
    assert "No row of the [table](../methods.md#when-methods-coincide) names it." in mine
    assert "| methods |" not in mine


def test_a_plugin_needs_no_page(monkeypatch) -> None:
    there = {"mine": entry("mine"), "theirs": entry("theirs", "a plugin 1.0")}
    monkeypatch.setattr(docstrings, "catalogue", lambda package: there)
    assert list(method_pages.pages_of(TABLE)) == [Path("pages/mine.md")]
    with pytest.raises(UserError, match="unknown method 'theirs'"):
        documents.render("<!-- docstrings: theirs -->\n<!-- end -->", Path())


def test_the_cost_of_a_method_is_that_of_its_own_step(tmp_path) -> None:
    measured(
        tmp_path,
        "step of bloop / step of sum with two gradients (MLP)",
        "step of bloop_no_ema / step of sum with two gradients (MLP)",
    )
    table = method_pages.cost(tmp_path, "bloop")
    assert not isinstance(table, str)
    assert table["figure"].tolist() == ["step of bloop / step of sum with two gradients (MLP)"]
    assert "in units of its own" in str(method_pages.cost(tmp_path, "sum"))
    assert method_pages.cost(tmp_path, "mgda") == "The bench does not measure it.\n"
