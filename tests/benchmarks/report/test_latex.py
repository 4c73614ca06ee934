"""Tables and figures for papers: their structure as LaTeX reads it, and the pages' sizes."""

import re
from pathlib import Path

import pandas as pd
import pytest

from scalpel_bench.benchmarks import figures
from scalpel_bench.benchmarks.analysis import analyse
from scalpel_bench.benchmarks.analysis.wording import with_interval
from scalpel_bench.benchmarks.commands.report import report
from scalpel_bench.benchmarks.messages import UserError
from scalpel_bench.benchmarks.records import Folder, load_sweep
from scalpel_bench.benchmarks.report.latex import escape, table
from tests.benchmarks.command_line import scalpel
from tests.benchmarks.recorded import HOSTILE, recorded

COMMANDS = {"textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^", "textless": "<"}
COMMANDS |= {"textgreater": ">", "textbar": "|", "`": "`"}
MATHS = {"\\lambda": "λ", "\\rho": "ρ", "-": "−", "\\times": "×"}
TOKEN = re.compile(
    r"\\(?P<command>[A-Za-z]+|`)\{\}|\\(?P<special>[&%$#_{}])|\$(?P<maths>[^$]*)\$|(?P<open>\{)|(?P<close>\})"
    r"|(?P<bad>[\\%$#_^~&])|(?P<plain>.)",
    re.DOTALL,
)


def read(latex: str) -> str:
    """What a cell says, by the few rules of LaTeX that matter here; refuses what would not compile."""
    shown, depth = "", 0
    for token in TOKEN.finditer(latex):
        assert not token["bad"], (token["bad"], latex)
        depth += bool(token["open"]) - bool(token["close"])
        assert depth >= 0
        if token["command"]:
            shown += COMMANDS[token["command"]]
        elif token["maths"] is not None:
            shown += MATHS[token["maths"]]
        else:
            shown += token["special"] or token["plain"] or ""
    assert depth == 0
    return shown


def rows(latex: str) -> list[list[str]]:
    """The cells of a booktabs table, heads first."""
    body = latex.partition("\\toprule\n")[2].partition("\\bottomrule")[0].replace("\\midrule\n", "")
    lines = body.split(" \\\\\n")
    assert lines.pop() == ""
    return [[read(cell) for cell in re.split(r"(?<!\\) & ", line)] for line in lines]


@pytest.mark.parametrize(
    "text",
    [
        "a_b & 50 % of $x^2$ #1 {y} ~ \\input{/etc/passwd}",
        "λ = 0.1, ρ × 2",
        "[first] stays text",
        "* too",
        "`quoted` <tag> | é",
        HOSTILE,
    ],
)
def test_what_is_escaped_reads_as_it_was(text) -> None:
    assert read(escape(text)) == text
    assert not escape(text).startswith(("[", "*"))


def test_what_pdflatex_lacks_is_spelt_out() -> None:
    assert escape("-0.25 [-0.3, 1e-5]") == "$-$0.25 [$-$0.3, 1e-5]"
    assert escape("a--b") == "a-{}-b"
    assert escape("ﬁ 中\n\x07") == "fi (U+4E2D) \\textbackslash{}x07"


def test_a_table_has_a_column_for_each_and_breaks_long_cells() -> None:
    latex = table(pd.DataFrame({"a_1": ["x" * 50, "[y"], "b": ["1 & 2", ""]}))
    assert "\\begin{tabular}{p{0.4\\linewidth}l}\n\\toprule" in latex
    assert latex.endswith("\\bottomrule\n\\end{tabular}\n")
    assert rows(latex) == [["a_1", "b"], ["x" * 50, "1 & 2"], ["[y", ""]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = recorded(tmp_path_factory.mktemp("recorded") / "conditioning" / "smoke", rates=(0.1,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "draw", lambda *arguments: [])
        report([path], None, latex=True, methods=["bloop", HOSTILE])
    return path


def test_tables_say_what_was_measured(folder) -> None:
    analysis = analyse(load_sweep(Folder(folder)))
    metrics = analysis.metrics
    (own,) = metrics[
        (metrics["method"] == "bloop")
        & (metrics["split"] == "test")
        & (metrics["protocol"] == "fixed")
        & (metrics["statistic"] == "front_ratio")
        & (metrics["seed"].astype(str) == "all")
    ].itertuples()
    heads, *body = rows((folder / "latex" / "front_ratios_fixed.tex").read_text(encoding="utf-8"))
    assert [row[0] for row in body] == ["Bloop", HOSTILE]  # `sum` was not asked for
    assert body[0][heads.index("test")] == with_interval(own.value, own.low, own.high)
    assert "validation" not in heads
    heads, verdict = rows((folder / "latex" / "verdicts.tex").read_text(encoding="utf-8"))
    assert heads[:3] == ["claim", "split", "fixed"]
    assert verdict[0] == "Bloop <b>is</b> better"


def test_figures_are_as_wide_as_a_column_and_bring_their_fonts(folder) -> None:
    files = sorted(file.name for file in (folder / "latex").glob("*.pdf"))
    assert {"fronts_fixed_test.pdf", "fronts_fixed_train.pdf", "relative_fixed_test.pdf"} <= set(files)
    for name in files:
        content = (folder / "latex" / name).read_bytes()
        box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+) ?\]", content)
        assert box, name
        assert float(box[1]) == pytest.approx(3.25 * 72)
        assert float(box[2]) < 3.25 * 72
        assert b"/FontFile2" in content
        assert b"/Type3" not in content


def test_methods_that_are_not_there_are_refused(folder) -> None:
    with pytest.raises(UserError, match="unknown method 'blop': did you mean bloop"):
        report([folder], None, latex=True, methods=["sum", "blop"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--methods", "sum"], "--methods chooses what --latex writes"),
        (["--latex", "--methods", ","], "--methods: no method is named"),
    ],
)
def test_methods_are_refused_without_latex_and_where_none_is_named(tmp_path, options, message) -> None:
    assert message in scalpel("report", "results", *options, cwd=tmp_path, status=2).stderr
