"""What plugins, files and data sets say is shown, and is no markup, formula or path."""

import math

import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from scalpel_bench import methods
from scalpel_bench.benchmarks.execution import ExecutionOptions, execute
from scalpel_bench.benchmarks.figures.panels import save
from scalpel_bench.benchmarks.messages import terminal
from scalpel_bench.benchmarks.records.record import parse
from scalpel_bench.benchmarks.report.files import as_csv, read_table
from scalpel_bench.words import plain, said
from tests.benchmarks.runs import conditioning, jobs_of

RAISES = """
from dataclasses import dataclass
from typing import ClassVar
from scalpel_bench.methods import Method

class Mute(Exception):
    def __str__(self):
        raise OSError

@dataclass(frozen=True)
class Speaker(Method):
    name: ClassVar[str] = "speaker"

    def coefficients(self, gram, state, losses):
        raise {}
"""

MARKUP = "[/red] closes nothing [bold]"


def method_file(tmp_path, text: str):
    file = tmp_path / "theirs.py"
    file.write_text(text)
    return file


@pytest.fixture(autouse=True)
def _forget():
    yield
    for name in ("speaker", "theirs"):
        methods.REGISTRY.remove(name)
    methods.REGISTRY._files.clear()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (f"ValueError({MARKUP!r})", f"ValueError: {MARKUP}"),
        ("ValueError('lone \\ud800')", r"ValueError: lone \ud800"),
        ("ValueError('\\x1b[2J\\nnext\\0')", "ValueError: \\x1b[2J\nnext\\x00"),
        ("ValueError()", "ValueError: ValueError"),
        ("Mute()", "Mute: Mute without a text: that raises OSError"),
        ("SystemExit('bye')", "SystemExit: bye"),
    ],
)
def test_whatever_an_error_says_is_recorded(error: str, reason: str, tmp_path, folder, capsys) -> None:
    file = method_file(tmp_path, RAISES.format(error))
    experiment = conditioning(lam=[1.0], methods={"speaker": {"name": f"{file}:Speaker"}})
    jobs = [job for job in jobs_of(experiment, folder) if job.run.label == "speaker"]
    (done,) = execute(jobs, ExecutionOptions())
    assert (done.record.status, done.record.reason) == ("failed", reason)
    assert parse(done.record.sealed().encode())[0] == done.record
    terminal.table("failed", pd.DataFrame([{"reason": done.record.reason}]))
    assert reason.splitlines()[0][:20] in capsys.readouterr().out


def test_a_long_error_is_cut() -> None:
    assert said(ValueError("x" * 10**6)) == "x" * 2000 + "…"


def test_control_characters_are_escaped_and_words_of_any_language_stay() -> None:
    assert plain("λ 中文 é\tb\n") == "λ 中文 é\tb\n"
    assert plain("\x1b[31m\r\x9b") == r"\x1b[31m\r\x9b"


def test_a_table_shows_markup_as_it_is(capsys) -> None:
    terminal.listing(MARKUP, [[MARKUP, MARKUP]], {MARKUP: None})
    terminal.table(MARKUP, pd.DataFrame({MARKUP: [MARKUP]}))
    assert capsys.readouterr().out.count(MARKUP) == 7


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-x", "@a", "\t=1", "'=1", "'plain", "x=1", "–"])
def test_no_cell_of_a_csv_file_is_a_formula_and_each_is_read_as_it_was(cell: str, tmp_path) -> None:
    frame = pd.DataFrame({"method": [cell], "value": [-0.5]})
    (tmp_path / "table.csv").write_text(text := as_csv(frame))
    assert text.splitlines()[1].strip('"')[0] not in "=+-@\t"
    pd.testing.assert_frame_equal(read_table(tmp_path, "table"), frame)


def test_dollar_signs_in_a_figure_are_no_formula(tmp_path) -> None:
    figure = Figure()
    axes = figure.subplots()
    axes.plot([1, 10], [1, 10], label=r"$\frac{$")
    axes.set(title=r"$\frac{$", xlabel=r"$\frac{$", xscale="log")
    figure.suptitle(r"$\frac{$")
    axes.legend()
    assert all(file.stat().st_size for file in save(figure, tmp_path / "figure"))


@pytest.mark.parametrize("name", ["../x", "a b", "<b>", "", "é", ".x", "a/b"])
def test_a_name_is_letters_digits_and_signs_that_mean_nothing(name: str, tmp_path) -> None:
    file = method_file(tmp_path, RAISES.format("ValueError").replace('"speaker"', repr(name)))
    with pytest.raises(ValueError, match="letters, digits"):
        methods.get(f"{file}:Speaker")


CHANGES = {
    "torch.set_default_dtype(torch.float64)": "the default dtype",
    "torch.set_grad_enabled(False)": "whether gradients are recorded",
    "torch.set_num_threads(7)": "the number of threads",
    "torch.use_deterministic_algorithms(True)": "deterministic algorithms",
    "import os; os.chdir('/')": "the working directory",
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)": "what is done on SIGTERM",
    "torch.dot = lambda a, b: a": "torch.dot",
    "import math; math.sqrt = lambda x: x": "math.sqrt",
    "methods.Method.combine = lambda *a: a": "Method.combine",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_the_process_is_refused_and_undone(change: str, tmp_path) -> None:
    before = torch.dot, math.sqrt, methods.Method.combine, torch.get_default_dtype()
    file = method_file(tmp_path, f"import torch\nfrom scalpel_bench import methods\n{change}\n")
    with pytest.raises(ValueError, match=f"importing it changes {CHANGES[change]}: set this where"):
        methods.get(f"{file}:Theirs")
    assert before == (torch.dot, math.sqrt, methods.Method.combine, torch.get_default_dtype())
    assert torch.is_grad_enabled()
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_file_that_leaves_at_import_is_named(tmp_path) -> None:
    file = method_file(tmp_path, "import sys\nsys.exit(3)\n")
    with pytest.raises(ValueError, match=r"theirs.py: it leaves the process"):
        methods.get(f"{file}:Theirs")
