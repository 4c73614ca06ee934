import pytest

from scalpel_bench.benchmarks.experiments import schema as experiment
from scalpel_bench.benchmarks.experiments.schema import SCALES, Experiment, MixedLossExperiment, load
from scalpel_bench.benchmarks.messages.errors import UserError
from tests.benchmarks.runs import BOX, conditioning, plan


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", experiment.available())
def test_every_experiment_loads_at_every_scale(name: str, scale: str) -> None:
    loaded = load(name, scale)
    planned = loaded.plan(lambda settings: {"name": "none", "fingerprint": "0"})
    assert bool(planned) != isinstance(loaded, MixedLossExperiment)


def test_fig3a_is_the_papers_at_its_scale() -> None:
    fig3a = load("fig3a", "paper")
    assert isinstance(fig3a, Experiment)
    training = fig3a.training
    assert (training.optimizer, training.lr, training.epochs) == ("adam", 3e-4, 100)
    assert (training.schedule, training.warmup_epochs) == ("cosine", 5)
    assert fig3a.task == {
        "name": "smooth_mlp",
        "hidden": (256, 128),
        "batch_size": 256,
        "validation_fraction": 0.0,
    }
    assert fig3a.lam == pytest.approx([10 ** (-4 + k / 2) for k in range(9)])
    bloop = {k: v for k, v in fig3a.methods["bloop"].items() if v is not None}
    assert bloop == {"name": "bloop", "rescale": False, "rho": 0.01, "order": "after"}


BAD = {
    "unknown key": ("colour = 1", "colour: unknown key"),
    "negative lam": ("lam = [-1.0]", "lam.0: Input should be greater than or equal to 0, got -1.0"),
    "infinite lam": ("lam = [inf]", "lam.0: Input should be a finite number, got inf"),
    "empty lam": ("lam = []", "lam: Tuple should have at least 1 item"),
    "no methods": ("methods = {}", "methods: Dictionary should have at least 1 item"),
    "unknown method": ("methods = {blop = {}}", "methods: blop: unknown method 'blop'; known: agem"),
    "bad rho": ("methods = {bloop = {rho = 0.0}}", r"methods: bloop: rho must lie in \(0, 1\], got 0"),
    "unknown setting": ("methods = {sum = {rho = 0.1}}", "methods: sum: method 'sum'.*rho"),
    "unknown task": ("task = {name = 'mlp'}", "unknown task 'mlp'"),
    "unknown task setting": ("task = {name = 'quadratic', depth = 2}", "depth"),
    "bad seeds": ("seeds = 0", "seeds: Input should be greater than 0, got 0"),
    "bad rate": (
        "training = {optimizer = 'adam', lr = -1, epochs = 1}",
        "training.lr: .*greater than 0, got -1",
    ),
    "bad optimiser": (
        "training = {optimizer = 'lion', lr = 1, epochs = 1}",
        "training.optimizer: .*'adam' or 'sgd'",
    ),
    "bad axis": ("axes = {lr = [1.0]}", "axes: 'lr' must start with"),
    "empty axis": ("axes = {'training.lr' = []}", "axes.training.lr: the grid is empty"),
    "not TOML": ("lam = [", "Invalid value"),
    "huge grid": ("lam = {low = 0, high = 1, count = 3}", "low: Input should be greater than 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_in_one_line(case: str, tmp_path) -> None:
    line, message = BAD[case]
    text = """
title = "t"
paper = "p"
seeds = 1
lam = [0.1]
task = {name = "quadratic"}
methods = {sum = {}}
training = {optimizer = "sgd", lr = 0.1, epochs = 1}
labels = {main = "m", aux = "a"}
"""
    key = line.partition(" =")[0]
    kept = [old for old in text.splitlines() if not old.startswith(f"{key} =")]
    file = tmp_path / "mine.toml"
    file.write_text("\n".join([*kept, line, "[scales.smoke]"]))
    with pytest.raises(UserError, match=f"mine.toml: .*{message}") as caught:
        load(str(file), "smoke")
    assert "\n" not in str(caught.value)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UserError, match="unknown experiment 'fig99'; known: conditioning"):
        load("fig99", "smoke")
    with pytest.raises(UserError, match="unknown scale 'huge'; it has smoke, laptop"):
        load("fig3a", "huge")
    with pytest.raises(UserError, match="nowhere.toml"):
        load("nowhere.toml", "smoke")


class TestPlan:
    def test_has_every_cell_once(self) -> None:
        runs = plan(conditioning(seeds=2, lam=[0.1, 1.0]))
        assert len({run.id for run in runs}) == len(runs) == 6 * 2 * 2

    def test_ids_are_hashes_of_the_settings_alone(self) -> None:
        (run, *_), (again, *_) = plan(conditioning()), plan(conditioning())
        assert run.id == again.id
        assert run.model_copy(update={"label": "other"}).id == run.id
        for change in (
            {"lam": 0.5},
            {"seed": 3},
            {"scale": "paper"},
            {"method": {"name": "sum", "rescale": True}},
        ):
            assert run.model_copy(update=change).id != run.id

    def test_a_learning_rate_axis_adds_the_runs_that_tune_it(self) -> None:
        runs = plan(conditioning(axes={"training.lr": [0.1, 0.2]}, lam=[0.1]))
        assert {(r.label, r.training.lr) for r in runs if r.lam == 0} == {("sum", 0.1), ("sum", 0.2)}
        assert len(runs) == 6 * 2 + 2
        assert {r.label for r in runs} == set(conditioning().methods)

    def test_an_axis_of_a_method_varies_the_methods_that_have_it(self) -> None:
        runs = plan(conditioning(axes={"method.rho": [0.1, 0.9]}, lam=[0.1]))
        assert sorted(r.label for r in runs if r.method["name"] == "bloop") == [
            "bloop (rho=0.1)",
            "bloop (rho=0.9)",
        ]
        assert [r.label for r in runs if r.method["name"] == "sum"] == ["sum"]

    def test_a_bad_value_on_an_axis_is_refused(self) -> None:
        with pytest.raises(UserError, match=r"axes: rho must lie in \(0, 1\], got 2"):
            plan(conditioning(axes={"method.rho": [0.1, 2.0]}))
        with pytest.raises(UserError, match="axes: .*lr"):
            plan(conditioning(axes={"training.lr": [-1.0]}))


OUTSIDE = {"aux": (0.0, 9.0), "main": (1e-5, 2.0)}
BAD_BOXES = {
    "in order": ({"aux": (9.0, 1.0)}, "box: aux: 9 must be less than 1"),
    "main above 0": ({"main": (0.0, 2.0)}, "box: main: 0 must be above 0, since logarithms are taken"),
    "with a reason": ({"reason": ""}, "box.reason: .*at least 1 character"),
    "with a day": ({"date": "soon"}, "box.date: .*valid date"),
    "tighter": ({"tighter": OUTSIDE}, "box: tighter must lie inside the box"),
    "wider": ({"wider": BOX["tighter"]}, "box: wider must hold the box"),
    "splits": ({"train": {**OUTSIDE, "aux": (1.0, 1.0)}}, "box.train"),
    "keys": ({"cap": 2.0}, "box.cap: unknown key"),
}


@pytest.mark.parametrize("case", BAD_BOXES)
def test_bad_boxes_are_refused_in_one_line(case) -> None:
    changed, message = BAD_BOXES[case]
    with pytest.raises(UserError, match=f"conditioning.toml: .*{message}") as caught:
        load("conditioning", "smoke", {"box": {**BOX, **changed}})
    assert "\n" not in str(caught.value)


def test_a_box_is_that_of_every_split_but_those_with_their_own() -> None:
    own = {key: {**BOX[key], "aux": (3.0, 4.0)} for key in ("tighter", "wider")}
    made = {**own, "aux": (3.0, 4.0), "main": BOX["main"]}
    box = load("conditioning", "smoke", {"box": {**BOX, "train": made}}).box
    assert (box.of("train").aux, box.of("test").aux) == ((3.0, 4.0), (1.0, 9.0))
    assert list(box.of("test").alternatives) == ["tighter box", "wider box"]


def test_the_box_of_a_scale_replaces_that_of_the_file(tmp_path) -> None:
    text = experiment.available()["conditioning"].read_text()
    file = tmp_path / "mine.toml"
    file.write_text(f"{text}\n[scales.other.box]\naux = [0.0, 1.0]\n")
    with pytest.raises(UserError, match="box.main: Field required"):
        load(str(file), "other")
