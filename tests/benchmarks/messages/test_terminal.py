"""What the terminal shows: tables of any width, times that are in doubt, names that are completed."""

import sys

import pandas as pd
import pytest

from scalpel_bench.benchmarks.cli import main
from scalpel_bench.benchmarks.commands.plan import Cost, Measured, _total
from scalpel_bench.benchmarks.messages import terminal
from tests.benchmarks.runs import conditioning, plan


def shown(frame: pd.DataFrame, monkeypatch, capsys) -> list[str]:
    """The lines of a table in a terminal of 80 columns."""
    monkeypatch.setattr(terminal.console, "_width", 80)
    terminal.table("verdicts", frame)
    return capsys.readouterr().out.splitlines()


def test_a_table_that_fits_has_a_row_a_line(monkeypatch, capsys) -> None:
    lines = shown(pd.DataFrame({"method": ["sum", "bloop"], "scale": "laptop"}), monkeypatch, capsys)
    assert lines[0] == "verdicts"
    assert len(lines) == 1 + 3 + 2 + 1


def test_what_all_rows_share_leaves_a_table_that_does_not_fit(monkeypatch, capsys) -> None:
    frame = pd.DataFrame({"method": ["sum", "bloop"], "data": "d" * 60, "verdict": ["supported", "worse"]})
    lines = shown(frame.assign(scale="workstation", seeds=""), monkeypatch, capsys)
    assert lines[0] == f"verdicts; data {'d' * 60}; scale workstation"
    assert len(lines) == 1 + 3 + 2 + 1
    assert "…" not in "".join(lines)


def test_a_table_that_does_not_fit_is_shown_in_lines(monkeypatch, capsys) -> None:
    frame = pd.DataFrame({f"column{k}": [f"{row}" * 30 for row in "ab"] for k in range(3)})
    lines = [line.split() for line in shown(frame, monkeypatch, capsys)]
    values = [[f"column{k}", row * 30] for row in "ab" for k in range(3)]
    assert [line for line in lines[1:] if line] == values


def test_a_plan_says_when_its_times_are_not_to_be_trusted() -> None:
    (run, *_) = plan(conditioning())
    said = {
        busy: _total([Cost(run, 1, 10, Measured(0.1, 0.1, 1, 1, 1, busy))], 1, "cpu") for busy in (0.1, 0.6)
    }
    assert "trusted" not in said[0.1]
    assert "not to be trusted: for up to 60% of them the processor did other work" in said[0.6]


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("scalpel sw", "sweep"),
        ("scalpel sweep fig3", "fig3a\nfig3b"),
        ("scalpel run --task quad", "quadratic"),
        ("scalpel sweep fig3a --methods sum,one_s", "sum,one_sided_bloop"),
        ("scalpel new experiment quad", "quadratic"),
        ("scalpel new box fig3", "fig3a\nfig3b"),
        ("scalpel check pcg", "pcgrad"),
    ],
)
def test_the_shell_completes_commands_and_names(words: str, completed: str, monkeypatch, capfd) -> None:
    count = str(len(words.split()) - 1)
    asked = {"_SCALPEL_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": count}
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["scalpel"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert capfd.readouterr().out.strip() == completed
