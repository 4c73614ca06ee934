import pytest

from scalpel_bench import methods
from scalpel_bench.benchmarks.execution import code_of
from scalpel_bench.benchmarks.experiments import loading as experiment
from scalpel_bench.benchmarks.experiments.command_line import sweep_command
from scalpel_bench.benchmarks.experiments.loading import load
from scalpel_bench.benchmarks.experiments.schema import MANIFEST, SCALES, Experiment
from scalpel_bench.benchmarks.experiments.simulated import MixedLossExperiment
from scalpel_bench.benchmarks.messages.errors import UserError
from scalpel_bench.benchmarks.records import ANY_DATA, once, sort_out
from tests.benchmarks.runs import BOX, conditioning, plan, record


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
        "squared": False,
    }
    assert fig3a.lam == pytest.approx([10 ** (-4 + k / 2) for k in range(9)])
    bloop = {k: v for k, v in fig3a.methods["bloop"].items() if v is not None}
    assert bloop == {"name": "bloop", "rescale": False, "rho": 0.01, "order": "after"}


def test_fig3a_is_the_authors_script_as_released() -> None:
    fig3a = load("fig3a", "released")
    assert isinstance(fig3a, Experiment)
    training = fig3a.training
    assert (training.optimizer, training.lr, training.epochs) == ("adam", 3e-4, 25)
    assert (training.schedule, training.warmup_epochs) == ("constant", 0)
    assert (fig3a.task["squared"], fig3a.task["validation_fraction"]) == (True, 0.0)
    assert fig3a.methods["bloop"]["order"] == "before"


BAD = {
    "unknown key": ("colour = 1", "colour: unknown key"),
    "misspelt key": ("seed = 1", r"seed: unknown key \(did you mean seeds\?\)"),
    "negative lam": ("lam = [-1.0]", "lam.0: Input should be greater than or equal to 0, got -1.0"),
    "infinite lam": ("lam = [inf]", "lam.0: Input should be a finite number, got inf"),
    "empty lam": ("lam = []", "lam: Tuple should have at least 1 item"),
    "no methods": ("methods = {}", "methods: Dictionary should have at least 1 item"),
    "unknown method": ("methods = {blop = {}}", "methods: blop: unknown method 'blop': did you mean bloop"),
    "bad rho": ("methods = {bloop = {rho = 0.0}}", r"methods: bloop: rho must lie in \(0, 1\], got 0"),
    "unknown setting": ("methods = {sum = {rho = 0.1}}", "methods: sum: method 'sum': unknown setting 'rho'"),
    "axis that no method has": (
        "axes = {'method.lenght' = [0.1]}",
        r"axes: method.lenght: unknown setting 'lenght': did you mean length\?",
    ),
    "unknown task": ("task = {name = 'mlp'}", "unknown task 'mlp'"),
    "unknown task setting": ("task = {name = 'quadratic', depth = 2}", "depth"),
    "bad seeds": ("seeds = 0", "seeds: Input should be greater than 0, got 0"),
    "bad rate": (
        "training = {optimizer = 'adam', lr = -1, epochs = 1}",
        "training.lr: .*greater than 0, got -1",
    ),
    "bad optimiser": (
        "training = {optimizer = 'lion', lr = 1, epochs = 1}",
        "training.optimizer: .*'adamw' or 'sgd'",
    ),
    "weight decay of another optimiser": (
        "training = {optimizer = 'adam', lr = 1, epochs = 1, weight_decay = 0.1}",
        "training: weight_decay is of adamw alone",
    ),
    "unknown reference": (
        "training = {optimizer = 'adam', lr = 1, epochs = 1, step_of = {name = 'blop'}}",
        "training: unknown method 'blop'",
    ),
    "own rate": (
        "methods = {sum = {training = {lr = 1.0}}}",
        "methods: sum: training: a method's own may be optimizer, .*, not lr",
    ),
    "own training is no table": (
        "methods = {sum = {training = 1}}",
        "methods: sum: training: expected a table",
    ),
    "own second moment of SGD": (
        "methods = {sum = {training = {second_moment = 'gradient'}}}",
        "methods: sum: training: second_moment is of adam and adamw",
    ),
    "own reference": (
        "methods = {sum = {training = {step_of = {name = 'bloop', rho = 2.0}}}}",
        r"methods: sum: rho must lie in \(0, 1\], got 2",
    ),
    "own reference is no table": (
        "methods = {sum = {training = {step_of = 1}}}",
        "methods: sum: training: step_of",
    ),
    "λ of a reference": (
        "methods = {sum = {training = {step_of = {name = 'bloop', lam = 2.0}}}}",
        "methods: sum: λ belongs in the key 'lam'",
    ),
    "bad axis": ("axes = {lr = [1.0]}", "axes: 'lr' must start with"),
    "empty axis": ("axes = {'training.lr' = []}", "axes.training.lr: the grid is empty"),
    "not TOML": ("lam = [", "Invalid value"),
    "true for a number": ("seeds = true", "seeds: true and false are no numbers"),
    "true in a list": ("lam = [true]", "lam: true and false are no numbers"),
    "true in a grid": ("lam = {low = true, high = 1.0, count = 2}", "low: true and false are no numbers"),
    "true for a rate": (
        "training = {optimizer = 'sgd', lr = true, epochs = 1}",
        "training: lr: true and false are no numbers",
    ),
    "true on an axis": ("axes = {'training.lr' = [true]}", "axes: true and false are no numbers"),
    "true for a method's λ": (
        "methods = {sum = {lam = [true]}}",
        "methods: sum: lam: .*valid number, got True",
    ),
    "true for a method's setting": (
        "methods = {bloop = {rho = true}}",
        "methods: bloop: rho must be a finite number, got true",
    ),
    "word for a method's option": (
        "methods = {sum = {rescale = 'no'}}",
        "methods: sum: rescale must be true or false, got 'no'",
    ),
    "word for a task's option": (
        "task = {name = 'small_weights', flip = 'no'}",
        "task: flip must be true or false, got 'no'",
    ),
    "source of the data": ("task = {name = 'quadratic', data = 'hub'}", "task: data: .*: give --data to the"),
    "device": ("task = {name = 'quadratic', device = 'cuda'}", "task: device: .*: give --device to the"),
    "more epochs than ever end": (
        "training = {optimizer = 'sgd', lr = 1, epochs = 1e10}",
        "training.epochs: .*less than or equal to 1000000000, got 1",
    ),
    "endless training": (
        "training = {optimizer = 'sgd', lr = 1, epochs = 1e20}",
        "training.epochs: Input is too large, got 1e\\+20",
    ),
    "rate beyond single precision": (
        "training = {optimizer = 'sgd', lr = 1e39, epochs = 1}",
        "training.lr: .*less than or equal to 10+, got 1e",
    ),
    "decay beyond single precision": (
        "training = {optimizer = 'adamw', lr = 1, epochs = 1, weight_decay = 1e39}",
        "training.weight_decay: .*less than or equal to 10+, got 1e",
    ),
    "evaluations without end": (
        "training = {optimizer = 'sgd', lr = 1, epochs = 1, evaluations = 1e12}",
        "training.evaluations: .*less than or equal to 1000000",
    ),
    "too many threads": (
        "training = {optimizer = 'sgd', lr = 1, epochs = 1, threads = 100000}",
        "training.threads: .*less than or equal to 1024",
    ),
    "λ beyond single precision": ("lam = [1e39]", "lam.0: .*less than or equal to 10+, got 1e"),
    "method's λ beyond single precision": (
        "methods = {sum = {lam = [1e39]}}",
        "methods: sum: lam must be at most 1e\\+38, got 1e\\+39",
    ),
    "label of the reference": (
        "methods = {sum = {name = 'mgda'}, plain = {name = 'sum'}}",
        "methods: sum: the label of a method of the suite, and this is mgda: choose another",
    ),
    "label of another method": (
        "methods = {bloop = {name = 'pcgrad'}}",
        "methods: bloop: the label of a method of the suite, and this is pcgrad",
    ),
    "setting that follows no axis": (
        "methods = {bloop = {rho = {x = [1]}}}",
        "methods: bloop: rho: x must be an axis of 1 values",
    ),
    "settings that follow axes of two lengths": (
        "methods = {bloop = {rho = {x = [1]}, order = {x = ['after', 'before']}}}",
        "methods: bloop: rho, order: must have as many values as one another",
    ),
    "axis of the name": ("axes = {'task.name' = [1]}", "axes: task.name: unknown setting 'name'"),
    "axis of the data": ("axes = {'task.data' = [1]}", "axes: task.data: unknown setting 'data'"),
    "axis of no training": ("axes = {'training.rate' = [1]}", "axes: training.rate: unknown setting 'rate'"),
    "comparison that is called a simulation": (
        "kind = 'noise'",
        "lam: no key of an experiment of kind 'noise'; one that trains has it: leave kind out",
    ),
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
    with pytest.raises(UserError, match=rf"mine.toml(, line \d+)?: .*{message}") as caught:
        load(str(file), "smoke")
    assert "\n" not in str(caught.value)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UserError, match="unknown experiment 'fig99': did you mean fig"):
        load("fig99", "smoke")
    with pytest.raises(UserError, match="unknown scale 'huge'; known: smoke, laptop"):
        load("fig3a", "huge")
    with pytest.raises(UserError, match="nowhere.toml"):
        load("nowhere.toml", "smoke")


class TestPlan:
    def test_has_every_cell_once(self) -> None:
        runs = plan(conditioning(seeds=2, lam=[0.1, 1.0]))
        assert len({run.id for run in runs}) == len(runs) == 2 * (5 * 2 + 1)

    def test_a_method_without_a_trade_off_is_run_at_one_lambda(self) -> None:
        runs = plan(conditioning(seeds=2, lam=[0.0, 0.1], methods={"nash_mtl": {}, "gradvac": {}}))
        for label in ("mgda", "nash_mtl"):
            assert [(r.seed, r.lam) for r in runs if r.label == label] == [(0, 1.0), (1, 1.0)]
        for label in ("sum", "gradvac"):
            assert [r.lam for r in runs if r.label == label] == [0.0, 0.1, 0.0, 0.1]

    def test_a_method_without_a_trade_off_has_no_lambda_to_rescale_by(self) -> None:
        with pytest.raises(UserError, match="methods: agem: agem has no λ to rescale by: leave rescale out"):
            conditioning(methods={"agem": {"rescale": True}})

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
        assert {r.lam for r in runs if r.label == "mgda"} == {1.0}
        assert {r.label for r in runs} == set(conditioning().methods)

    def test_an_axis_of_a_method_varies_the_methods_that_have_it(self) -> None:
        runs = plan(conditioning(axes={"method.rho": [0.1, 0.9]}, lam=[0.1]))
        assert sorted(r.label for r in runs if r.method["name"] == "bloop") == [
            "bloop (rho=0.1)",
            "bloop (rho=0.9)",
        ]
        assert [r.label for r in runs if r.method["name"] == "sum"] == ["sum"]

    def test_a_bad_value_of_a_task_on_an_axis_is_refused(self) -> None:
        for value, message in ((0, "batch_size must be at least 1"), (1.5, "batch_size must be a whole")):
            made = load("quadratic", "smoke", {"axes": {"task.batch_size": [8, value]}})
            with pytest.raises(UserError, match=f"axes: {message}"):
                plan(made)

    def test_a_bad_value_on_an_axis_is_refused(self) -> None:
        with pytest.raises(UserError, match=r"axes: rho must lie in \(0, 1\], got 2"):
            plan(conditioning(axes={"method.rho": [0.1, 2.0]}))
        with pytest.raises(UserError, match="axes: .*lr"):
            plan(conditioning(axes={"training.lr": [-1.0]}))


OWN = {
    "sum_step_of_bloop": {"name": "sum", "training": {"step_of": {"name": "bloop", "rho": 0.1}}},
    "bloop_adam": {"name": "bloop", "training": {"optimizer": "adam", "second_moment": "gradient"}},
}


class TestOwnTraining:
    """Methods of one experiment that differ in how a direction becomes a step."""

    def test_it_is_the_runs_and_leaves_the_ids_of_others(self) -> None:
        plain = {run.id for run in plan(conditioning())}
        runs = plan(conditioning(methods=OWN))
        assert plain < {run.id for run in runs}
        by_label = {run.label: run for run in runs}
        matched, summed = by_label["sum_step_of_bloop"], by_label["sum"]
        assert matched.id != summed.id
        assert matched.method == summed.method
        assert matched.training.step_of == methods.create("bloop", rho=0.1).settings
        assert matched.training.model_copy(update={"step_of": None}) == summed.training
        adam = by_label["bloop_adam"].training
        assert (adam.optimizer, adam.second_moment, adam.lr) == ("adam", "gradient", summed.training.lr)

    def test_a_reference_of_the_experiment_is_filled_in_like_one_of_a_method(self) -> None:
        (run, *_) = plan(conditioning(training={"step_of": {"name": "bloop", "rho": 0.1}}))
        (own, *_) = [r for r in plan(conditioning(methods=OWN)) if r.label == "sum_step_of_bloop"]
        assert run.training == own.training
        assert run.id == own.id

    def test_records_belong_by_it(self, tmp_path) -> None:
        loaded = conditioning(methods=OWN, training={"epochs": 2, "evaluations": 1})
        assert Experiment.model_validate(loaded.model_dump(mode="json"), context=MANIFEST) == loaded
        records = [record(run, 1.0, 1.0) for run in plan(loaded)]
        own, left_out = sort_out(records, loaded, "0" * 16)
        assert (len(own), left_out) == (len(records), [])
        plain = {**loaded.methods, "sum_step_of_bloop": loaded.methods["sum"]}
        _, left_out = sort_out(records, loaded.model_copy(update={"methods": plain}), "0" * 16)
        assert {r.record.run.label for r in left_out} == {"sum_step_of_bloop"}
        assert all(r.reason.startswith("training.step_of is {") for r in left_out)

    def test_methods_named_with_it_are_in_the_remark_of_the_command(self) -> None:
        loaded = conditioning(methods=OWN)
        assert "with the settings of sum_step_of_bloop, bloop_adam" in sweep_command(loaded, {"embedded"})
        changed = conditioning(methods={"sum": {"training": {"optimizer": "adam"}}})
        assert "with the settings of sum in" in sweep_command(changed, {"embedded"})

    def test_the_learning_rate_is_tuned_by_the_sum_as_it_is_trained_by_all(self) -> None:
        first = {"sum": {"training": {"optimizer": "adam"}}, "plain_sum": {"name": "sum"}}
        runs = plan(conditioning(methods=first, axes={"training.lr": [0.1, 0.2]}, lam=[0.1]))
        assert {run.label for run in runs if run.lam == 0} == {"plain_sum"}

    def test_a_setting_may_follow_an_axis(self) -> None:
        rates, rhos = [0.1, 0.2], [0.01, 0.5]
        own = {"following": {"name": "bloop", "rho": {"training.lr": rhos}}}
        loaded = conditioning(methods=own, axes={"training.lr": rates}, lam=[0.1])
        runs = [run for run in plan(loaded) if run.method_label == "following"]
        assert {(run.training.lr, run.method["rho"]) for run in runs} == set(zip(rates, rhos, strict=True))
        again = Experiment.model_validate(loaded.model_dump(mode="json"), context=MANIFEST)
        assert again == loaded
        kept, left_out = sort_out([record(run, 1.0, 1.0) for run in runs], again, "0" * 16)
        assert (len(once(kept)), left_out) == (2, [])

    @pytest.mark.parametrize(
        ("rho", "message"),
        [
            ({"training.lr": [0.1]}, "following: rho: training.lr must be an axis of 1 values"),
            ({"training.lr": [0.1, 2.0]}, "following: rho must lie in"),
            ({"training.lr": 0.1}, "following: rho: expected a value, or {"),
        ],
    )
    def test_a_setting_that_follows_no_axis_is_refused(self, rho, message) -> None:
        own = {"following": {"name": "bloop", "rho": rho}}
        with pytest.raises(UserError, match=message):
            conditioning(methods=own, axes={"training.lr": [0.1, 0.2]})

    def test_what_is_an_axis_is_no_methods_own(self) -> None:
        own = {"bloop_adam": {"name": "bloop", "training": {"momentum": 0.5}}}
        with pytest.raises(UserError, match="methods: bloop_adam: training: momentum is an axis"):
            conditioning(methods=own, axes={"training.momentum": [0.0, 0.9]})

    def test_a_reference_for_positive_losses_is_refused_where_the_task_has_others(self) -> None:
        with pytest.raises(UserError, match="methods: matched is defined for positive losses only"):
            load(
                "fig3a",
                "smoke",
                {"methods": {"matched": {"name": "sum", "training": {"step_of": {"name": "dwa"}}}}},
            )

    def test_the_code_of_a_reference_counts(self) -> None:
        by_label = {run.label: run for run in plan(conditioning(methods=OWN))}
        assert code_of(by_label["sum_step_of_bloop"]) != code_of(by_label["sum"])
        assert by_label["bloop_adam"].methods == {"bloop", "sum"}


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
    with pytest.raises(UserError, match="missing: box.main"):
        load(str(file), "other")


@pytest.mark.parametrize("name", [5, 0.1, True, [], {}])
def test_a_name_that_is_no_text_is_refused(name) -> None:
    with pytest.raises(UserError, match="'name' is missing, or is no text"):
        load("conditioning", "smoke", {"task": {"name": name}})
    with pytest.raises(UserError, match=r"mine: name: .* is no text"):
        load("conditioning", "smoke", {"methods": {"mine": {"name": name}}})


def test_a_grid_that_would_take_all_memory_is_refused_before_it_is_planned() -> None:
    grid = {"low": 0.1, "high": 1.0, "count": 10_000}
    made = load("conditioning", "smoke", {"seeds": 10_000, "lam": grid})
    with pytest.raises(UserError, match=r"conditioning: its grid has [\d,]+ runs, more than 100,000"):
        made.plan(lambda settings: ANY_DATA)


CLAIM = {"id": "c", "text": "t", "kind": "better", "method": "bloop", "than": ["sum"], "of": ["main"]}
REST = {"id": "c", "text": "t", "lam": 0.1, "at": {}, "high": 1.0}
BAD_CLAIMS = {
    "itself": ({**CLAIM, "than": ["sum", "bloop"]}, "compares bloop with itself: name another method"),
    "one twice": ({**CLAIM, "than": ["sum", "sum"]}, "compares sum with itself"),
    "equal to itself": (
        {"id": "c", "text": "t", "kind": "equal", "methods": ["bloop", "sum"], "than": "sum"},
        "compares sum with itself",
    ),
    "at rest at itself": (
        {**REST, "kind": "distance_slope", "method": "bloop", "to": "sum", "than": "bloop"}
        | {"over": "training.lr", "values": [0.1, 0.2]},
        "compares bloop with itself",
    ),
    "close to itself": (
        {"id": "c", "text": "t", "kind": "relative_distance", "methods": ["sum"], "to": "sum"}
        | {"than": "bloop", "most": 0.5, "lam": 0.1, "at": {}},
        "compares sum with itself",
    ),
    "no such method at rest": (
        {**REST, "kind": "distance_slope", "method": "bloop", "to": "sun", "than": "mgda"}
        | {"over": "training.lr", "values": [0.1, 0.2]},
        "unknown method 'sun'",
    ),
    "on no grid": ({**CLAIM, "lam": 0.11}, "lam: 0.11 is on no grid of bloop; near it are .*, 0.1$"),
    "no lambda": ({**CLAIM, "lam": True}, "lam: true and false are no numbers"),
}


@pytest.mark.parametrize("case", BAD_CLAIMS)
def test_claims_that_no_run_answers_are_refused(case: str) -> None:
    claim, message = BAD_CLAIMS[case]
    with pytest.raises(UserError, match=f"claims.*{message}"):
        load("conditioning", "smoke", {"claims": [claim]})


def test_a_claim_may_be_about_a_lambda_of_another_scale() -> None:
    laptop = load("conditioning", "laptop").lam
    smoke = load("conditioning", "smoke").lam
    (value, *_) = sorted(set(laptop) - set(smoke))
    (claim,) = load("conditioning", "smoke", {"claims": [{**CLAIM, "lam": value}]}).claims
    assert claim.lam == value


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("fig2", {"draws": 10**12}, "draws times dimension must be at most 1,000,000,000"),
        ("fig2", {"rhos": [0.5, 3.0]}, "rhos.1: .*less than or equal to 1, got 3.0"),
        ("theorem2", {"replicas": 10**12}, "replicas times dimension must be at most"),
        ("theorem2", {"etas": {"low": 0.1, "high": 9.0, "count": 3}}, "a step size must be at most 1, got 9"),
        (
            "theorem2",
            {"horizon": 1e12},
            "horizon over the least step size must be at most 1,000,000,000 steps",
        ),
        ("fig6", {"points": 10**9}, "points: .*less than or equal to 100000"),
    ],
)
def test_what_cannot_be_simulated_is_refused(name: str, changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(name, "smoke", changes)
