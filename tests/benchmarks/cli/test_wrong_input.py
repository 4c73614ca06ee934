"""What a person can do wrong on the command line: one line, and status 2."""

import sys

import pytest

from scalpel_bench.benchmarks.cli import main
from scalpel_bench.benchmarks.cli.parsing import axes, checked

WRONG = {
    "unknown method": (
        ["run", "--task", "quadratic", "--method", "blop"],
        "unknown method 'blop': did you mean bloop",
    ),
    "unknown task": (["run", "--task", "mlp", "--method", "sum"], "unknown task 'mlp'"),
    "unknown experiment": (["sweep", "fig99"], "unknown experiment 'fig99': did you mean fig"),
    "unknown scale": (["sweep", "fig3a", "--scale", "big"], "unknown scale 'big'"),
    "scale of none": (
        ["reproduce", "--scale", "huge"],
        "--scale huge: no such scale, choose from smoke, laptop, workstation, paper",
    ),
    "scale of one": (["reproduce", "--scale", "released"], "--scale released: not every experiment has it"),
    "no argument": (["sweep"], "Missing argument 'EXPERIMENT'; try scalpel sweep --help"),
    "unknown option": (["sweep", "fig3a", "--sed", "1"], "No such option: --sed"),
    "unknown command": (["swep"], "No such command 'swep'. Did you mean 'sweep'? Try scalpel --help"),
    "unknown inner command": (["results", "verfy"], "Did you mean 'verify'? Try scalpel results --help"),
    "word for a number": (["sweep", "fig3a", "--seeds", "x"], "Invalid value for '--seeds': "),
    "no choice": (["list", "nonsense"], "'nonsense' is not one of"),
    "option without a value": (["sweep", "fig3a", "--seeds"], "'--seeds' requires an argument"),
    "neither method nor task": (["check", "multi_digit"], "'multi_digit': did you mean multi_digits?"),
    "no such file": (["check", "nowhere.py"], "nowhere.py: no such file"),
    "unknown key": (["sweep", "fig3a", "--set", "training.speed=1"], "training.speed: unknown key"),
    "negative lam": (["run", "--task", "quadratic", "--method", "sum", "--lam", "-1"], "lam must be finite"),
    "infinite lam": (["sweep", "quadratic", "--lam", "0.1,inf"], "λ must be finite and at least 0"),
    "bad rho": (["run", "--task", "quadratic", "--method", "bloop", "--rho", "0"], "rho must lie in (0, 1]"),
    "rho without EMA": (["run", "--task", "quadratic", "--method", "sum", "--rho", "0.1"], "rho"),
    "lam among settings": (
        ["run", "--task", "quadratic", "--method", "sum", "--set", "method.lam=2"],
        "--set method.lam: give it with --lam",
    ),
    "method among settings": (
        ["run", "--task", "quadratic", "--method", "sum", "--set", "method.name=mgda"],
        "--set method.name: give it with --method",
    ),
    "empty grid": (["sweep", "quadratic", "--lam", ","], "--lam: the grid is empty"),
    "no methods": (["sweep", "quadratic", "--methods", ""], "--methods: the grid is empty"),
    "axis twice": (
        ["sweep", "quadratic", *(["--axis", "training.lr=0.1,0.2"] * 2)],
        "--axis training.lr: given twice; write all its values in one",
    ),
    "rates twice": (
        ["sweep", "quadratic", "--lr", "0.1,0.2", "--axis", "training.lr=0.5,0.6"],
        "--lr 0.1,0.2: --axis training.lr gives learning rates, too",
    ),
    "rate set and listed": (
        ["sweep", "quadratic", "--lr", "0.1", "--set", "training.lr=0.2"],
        "--set training.lr: --lr or --axis gives one, too",
    ),
    "setting that is an axis": (
        ["sweep", "convex", "--set", "task.batch_size=64"],
        "--set task.batch_size: the experiment has an axis of it: give --axis task.batch_size=VALUE",
    ),
    "records of a task": (["list", "tasks", "--results", "x"], "--results: only methods are listed by"),
    "scale of a method": (
        ["new", "method", "x", "--scale", "smoke"],
        "--scale: has no effect on a new method",
    ),
    "folder of a box": (["new", "box", "fig3a", "--folder", "x"], "--folder: has no effect on a new box"),
    "each for one method": (["leaderboard", "--method", "bloop", "--each"], "--each: --method has a row"),
    "device of no run": (
        ["results", "verify", "x", "--device", "cpu"],
        "--device: nothing is run without --rep",
    ),
    "sizes of a GPU": (["bench", "--part", "gpu", "--full"], "--full: --part gpu has one size"),
    "share of no GPU": (
        ["sweep", "fig2", "--device", "cpu", "--gpu-share", "0.5"],
        "--gpu-share 0.5: runs are on cpu",
    ),
    "experiment twice": (
        ["reproduce", "fig2", "fig2", "--scale", "smoke"],
        "fig2: given twice, or two files",
    ),
    "ray on no device": (
        ["sweep", "fig2", "--executor", "ray", "--device", "nonsense"],
        "--device nonsense: Expected one of cpu",
    ),
    "address without a port": (
        ["sweep", "fig2", "--executor", "ray", "--address", "localhost:port"],
        "--address localhost:port: write host:port of the cluster's head, or auto",
    ),
    "address of a Ray client": (
        ["sweep", "fig2", "--executor", "ray", "--address", "ray://localhost:10001"],
        "--address ray://localhost:10001: write host:port",
    ),
    "seed too large": (
        ["run", "--task", "quadratic", "--method", "sum", "--seed", "9" * 20],
        "Invalid value for '--seed'",
    ),
    "word in grid": (
        ["sweep", "quadratic", "--lr", "fast"],
        "--lr: could not convert string to float: 'fast'",
    ),
    "missing folder": (["sweep", "fig3a", "--data", "nowhere"], "nowhere: no such folder"),
    "name too long": (["sweep", "fig3a", "--data", "x" * 300], "xxx: File name too long"),
    "folder lacks it": (["sweep", "fig3a", "--data", "."], "ylecun/mnist could not be read"),
    "embedded at workstation": (["sweep", "fig3a", "--scale", "workstation"], "needs its real data"),
    "unwritable results": (["sweep", "fig2", "--results", "/proc/x"], "results folder /proc/x"),
    "no device": (["sweep", "fig2", "--device", "warp"], "--device warp"),
    "device of nothing": (["sweep", "fig2", "--device", "meta"], "--device meta: it holds no numbers"),
    "report of nothing": (["report", "nowhere"], "experiment.json: no such file"),
    "half a seed": (["simulate", "verdicts", "--seeds", "2.5"], "--seeds 2.5: write whole numbers"),
    "no noise": (["simulate", "verdicts", "--noise-of", "nowhere"], "results/nowhere"),
    "axis of the task's name": (
        ["sweep", "quadratic", "--axis", "task.name=1"],
        "axes: task.name: unknown setting 'name'",
    ),
    "axis of the data": (["sweep", "quadratic", "--axis", "task.data=1"], "axes: task.data: unknown setting"),
    "data in a setting": (
        ["sweep", "quadratic", "--set", "task.data=hub"],
        "task: data: no setting of an experiment: give --data to the command",
    ),
    "no examples": (
        ["sweep", "quadratic", "--set", "task.examples=-1"],
        "task: examples must be at least 1, got -1",
    ),
    "word for examples": (
        ["sweep", "quadratic", "--set", 'task.examples="a"'],
        "task: examples must be a whole number, got 'a'",
    ),
    "all for validation": (
        ["sweep", "fig3a", "--dry-run", "--set", "task.validation_fraction=0.9999"],
        "validation_fraction 0.9999 leaves none of the",
    ),
    "kernels too large": (
        ["sweep", "multi_digits", "--dry-run", "--set", "task.kernels=[9,9]"],
        "kernels [9, 9] are too large for images of",
    ),
    "more than memory": (
        ["run", "--task", "quadratic", "--method", "sum", "--set", "task.features=1000000000000000"],
        "check its settings features = 1000000000000000; if they are right, its data is kept in",
    ),
    "batch too large": (
        ["run", "--task", "smooth_mlp", "--method", "sum", "--set", "task.batch_size=99999"],
        "batch_size",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_gets_one_line_and_status_2(case, tmp_path, monkeypatch, capfd) -> None:
    arguments, message = WRONG[case]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["scalpel", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    error = capfd.readouterr().err
    assert caught.value.code == 2
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


FILES = {
    "idea.py": "class Idea: pass\n",
    "broken.py": "def :\n",
    "neither.py": "from scalpel_bench.tasks import Task\nclass Neither(Task): pass\n",
}
MEANT = {
    "check": (["check", "idea"], "unknown method or task 'idea': did you mean idea.py:Idea?"),
    "check, with its class": (["check", "idea:Idea"], "did you mean idea.py:Idea?"),
    "sweep": (["sweep", "fig3a", "--methods", "sum,idea"], "method 'idea': did you mean idea.py:Idea?"),
    "compare": (["compare", "idea", "--on", "fig3a"], "unknown method 'idea': did you mean idea.py:Idea?"),
    "method": (["run", "--task", "mlp", "--method", "idea"], "method 'idea': did you mean idea.py:Idea?"),
    "task": (["run", "--task", "idea", "--method", "sum"], "task 'idea': did you mean idea.py:Idea?"),
    "no class": (["check", "idea.py"], "idea.py is a file: say which class, idea.py:Idea"),
    "no Python": (["check", "broken.py"], "error: broken.py: SyntaxError: invalid syntax (line 1)"),
    "no Python, with a class": (["check", "broken.py:X"], "error: broken.py: SyntaxError: invalid syntax"),
    "no name": (["check", "neither.py:Neither"], "neither a method nor a task with a name of its own"),
}


@pytest.mark.parametrize("case", MEANT)
def test_a_file_that_is_meant_is_named(case, tmp_path, monkeypatch, capfd) -> None:
    arguments, message = MEANT[case]
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["scalpel", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    error = capfd.readouterr().err
    assert (caught.value.code, error.count("\n")) == (2, 1)
    assert message in error


def test_a_name_of_the_suite_is_no_file(tmp_path, monkeypatch) -> None:
    (tmp_path / "sum.py").write_text("")
    (tmp_path / "mine.py").write_text("")
    monkeypatch.chdir(tmp_path)
    assert checked("sum", "method") == "sum"
    assert checked("mine", "method", ["mine"]) == "mine"


def test_whole_numbers_on_an_axis_are_of_settings_that_are_whole() -> None:
    (values,) = axes(["task.batch_size=16,1e2,0.5"]).values()
    assert [(type(value), value) for value in values] == [(int, 16), (int, 100), (float, 0.5)]


def test_a_command_that_only_has_others_shows_its_help(capfd, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["scalpel", "results"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "Commands:" in "".join(capfd.readouterr())
