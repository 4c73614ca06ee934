"""What is told of a file that is wrong: everything at once, each with its line, all in one line."""

import pytest

from scalpel_bench.benchmarks.experiments.complaints import Lines, places
from scalpel_bench.benchmarks.experiments.loading import load
from scalpel_bench.benchmarks.messages import UserError

FILE = """\
seeds = 3
lam = [0.1, 1.0]
[task]
name = "conditioning"
[methods]
sum = {}
bloop = { rho = 0.01 }
[training]
optimizer = "sgd"
lr = 0.1
epochs = 2
[scales.smoke]
seeds = 1
[scales.smoke.box]
aux = [0.2, 0.5]
main = [0.1, 0.3]
reason = "a test"
date = 2026-11-25
tighter = { aux = [0.3, 0.4], main = [0.1, 0.2] }
wider = { aux = [0.1, 0.6], main = [0.05, 0.4] }
[[claims]]
id = "first"
text = "t"
kind = "better"
method = "bloop"
than = ["sum"]
[[claims]]
id = "second"
text = "t"
kind = "better"
method = "bloop"
than = ["sum"]
margin = 0.1
"""

WRONG = {
    "syntax": ("lr = 0.1", "lr = ", r": Invalid value \(at line 10, column 6\)"),
    "table twice": ("[scales.smoke]", "[training]", r": Cannot declare .* twice \(at line 12"),
    "unknown key": (
        "lr = 0.1",
        "lrr = 0.1",
        r", line 10: training.lrr: .*did you mean lr.*; missing: training.lr",
    ),
    "whole experiment's key in a table": (
        'optimizer = "sgd"',
        'optimizer = "sgd"\naxes = 1',
        r", line 10: training.axes: unknown key here; it is one of the whole experiment",
    ),
    "type": ("epochs = 2", 'epochs = "many"', ", line 11: training.epochs: .*got 'many'"),
    "value": ("lr = 0.1", "lr = -0.1", ", line 10: training.lr: .*greater than 0, got -0.1"),
    "value of the scale": ("seeds = 1", "seeds = 0", ", line 13: seeds: .*got 0"),
    "value of a list": ("lam = [0.1, 1.0]", "lam = [0.1, -1.0]", r", line 2: lam.1: [^;]*got -1.0$"),
    "value of an axis": (
        "[methods]",
        '[axes]\n"training.lr" = [0.1, nan]\n[methods]',
        r", line 6: axes.training.lr.1: Input should be a finite number, got nan$",
    ),
    "method": ("bloop = {", "blop = {", ", line 7: methods: blop: unknown method 'blop': did you mean bloop"),
    "setting": (
        "rho = 0.01",
        "rhoo = 1",
        ", line 7: methods: bloop: .*unknown setting 'rhoo': did you mean rho",
    ),
    "task": ('"conditioning"', '"conditionning"', ", line 3: task: unknown task .*did you mean conditioning"),
    "setting of the task": ("[methods]", "widht = 1\n[methods]", ", line 5: task: .*unknown setting 'widht'"),
    "box out of order": (
        "aux = [0.2, 0.5]",
        "aux = [0.5, 0.2]",
        ", line 15: box: aux: 0.5 must be less than 0.2",
    ),
    "tighter box": ("aux = [0.3, 0.4]", "aux = [0.1, 0.4]", ", line 14: box: tighter must lie inside"),
    "box that lacks keys": (
        'reason = "a test"\ndate = 2026-11-25\n',
        "",
        r": missing: box.reason \(line 14\), box.date \(line 14\)$",
    ),
    "kind of a claim": (
        'kind = "better"',
        'kind = "beter"',
        ", line 24: claims.0.kind: unknown kind 'beter': did",
    ),
    "claim that lacks its kind": ('kind = "better"\n', "", r": missing: claims.0.kind \(line 21\)"),
    "value of the second claim": ("margin = 0.1", "margin = 2", ", line 33: claims.1.margin: .*got 2"),
    "key of the second claim": (
        "margin = 0.1",
        "margn = 2",
        ", line 33: claims.1.margn: .*did you mean margin",
    ),
    "metric of a claim": (
        "margin = 0.1",
        "of = 'mainn'",
        ", line 28: claims: second: unknown metric 'mainn'",
    ),
    "two things": ("seeds = 3\nlam = [0.1, 1.0]", "sed = 3", ", line 1: sed: .*; missing: lam$"),
    "name": ("seeds = 3", "name = 'x'", ", line 1: name: unknown key; an experiment is called as its file"),
    "everything": (FILE, "[scales.smoke]", ": missing: seeds, task, methods, lam, training$"),
}


@pytest.mark.parametrize("case", WRONG)
def test_file_and_line_are_told(case: str, tmp_path) -> None:
    old, new, told = WRONG[case]
    assert old in FILE
    file = tmp_path / "mine.toml"
    file.write_text(FILE.replace(old, new, 1))
    with pytest.raises(UserError, match=f"^{file}{told}") as caught:
        load(str(file), "smoke")
    assert "\n" not in str(caught.value)


def test_the_file_is_right_before_it_is_made_wrong(tmp_path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(FILE)
    assert [claim.id for claim in load(str(file), "smoke").claims] == ["first", "second"]


def test_what_the_command_gives_has_no_line(tmp_path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(FILE)
    with pytest.raises(UserError, match="mine.toml: training.lr: "):
        load(str(file), "smoke", {"training": {"lr": -1.0}})


def test_places_are_those_of_statements_of_several_lines_and_of_tables_in_arrays() -> None:
    text = 'a = [\n  1,\n  2,\n]\n# c = 1\n"b.c" = """\nd = 1\n"""\n'
    text += "[[x]]\n[x.at]\nk = 1\n[[x]]\n[x.at]\nk.l = 1\n"
    found = places(text)
    assert found[("a",)] == found[("a", 1)] == 1
    assert found[("b.c",)] == 6
    assert ("d",) not in found
    assert ("c",) not in found
    assert (found[("x", 0, "at", "k")], found[("x", 1, "at", "k", "l")]) == (11, 14)
    assert Lines(text, "s").of(("x", 1, "tag", "at")) == 13
    assert Lines(text, "s").of(("y",)) is None
