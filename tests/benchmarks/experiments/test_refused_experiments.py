"""What an experiment may have wrong: each is refused in one line when it is loaded or planned."""

import pytest

from scalpel_bench.benchmarks.experiments.loading import load
from scalpel_bench.benchmarks.messages.errors import UserError
from scalpel_bench.benchmarks.records import ANY_DATA
from tests.benchmarks.runs import BOX

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
    "exact front over no batch sizes": (
        "figure = 'exact'",
        "figure: exact is drawn over batch sizes: make task.batch_size an axis",
    ),
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
    "label like a variant's": (
        "methods = {'mine (v2)' = {name = 'sum'}}",
        r"methods: mine \(v2\): what follows ' \(' tells the values of axes",
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
