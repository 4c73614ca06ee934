import itertools
import math

import pytest
import torch

from scalpel_bench import methods, tasks
from scalpel_bench.benchmarks.execution.jobs import Folder, Job, Place, execute
from scalpel_bench.benchmarks.experiments.schema import Experiment, load
from scalpel_bench.benchmarks.experiments.settings import DataRecord, Training, TrainingRun
from scalpel_bench.benchmarks.training.loop import train
from scalpel_bench.benchmarks.training.stepper import Stepper
from scalpel_bench.tasks import Model, Task
from tests.benchmarks.runs import DATA, conditioning, plan
from tests.gradients import watch_backward_passes


def smooth_runs(**overrides) -> list[TrainingRun]:
    experiment = load("fig3a", "smoke", {"lam": [0.1], **overrides})
    assert isinstance(experiment, Experiment)
    return experiment.plan(lambda settings: DATA)


def without_diagnostics(row: dict) -> dict:
    return {k: v for k, v in row.items() if k != "diagnostics"}


def test_equal_settings_are_bit_identical_whatever_the_global_generator() -> None:
    task = tasks.create("smooth_mlp")
    for run in smooth_runs():
        torch.manual_seed(1)
        first = train([run], task)[0]
        torch.manual_seed(2)
        assert train([run], task)[0].trajectory == first.trajectory


def test_training_leaves_the_global_generator_untouched() -> None:
    state = torch.get_rng_state()
    train([smooth_runs()[0]], tasks.create("smooth_mlp"))
    assert torch.equal(state, torch.get_rng_state())


class Spy(Task):
    """A task that remembers the initial parameters and the batches of a run."""

    def __init__(self) -> None:
        self.inner = tasks.create("smooth_mlp")
        self.start: list[torch.Tensor] = []
        self.seen: list[torch.Tensor] = []

    dataset = property(lambda self: self.inner.dataset)
    steps_per_epoch = property(lambda self: self.inner.steps_per_epoch)

    def build(self):
        module = self.inner.build()
        self.start = [p.detach().clone() for p in module.parameters()]
        return module

    def losses(self, model, batch):
        self.seen.append(batch["labels"])
        return self.inner.losses(model, batch)

    def batches(self, generator):
        return self.inner.batches(generator)

    def evaluate(self, model, split):
        return self.inner.evaluate(model, split)


def test_all_methods_see_the_same_start_and_batches_at_equal_seed() -> None:
    def spied(run: TrainingRun) -> Spy:
        spy = Spy()
        train([run], spy)
        return spy

    runs = smooth_runs(seeds=2, lam=[0.1, 1.0])
    by_seed = {seed: [spied(r) for r in runs if r.seed == seed] for seed in (0, 1)}
    for spies in by_seed.values():
        for other in spies[1:]:
            assert all(torch.equal(a, b) for a, b in zip(spies[0].start, other.start, strict=True))
            assert all(torch.equal(a, b) for a, b in zip(spies[0].seen, other.seen, strict=True))
            assert len(spies[0].seen) == 10
    a, b = by_seed[0][0], by_seed[1][0]
    assert not torch.equal(a.start[0], b.start[0])
    assert not torch.equal(a.seen[0], b.seen[0])


@pytest.mark.parametrize("lam", [0.1, 1.0, 10.0])
def test_conditioning_reaches_its_analytic_solutions(lam: float) -> None:
    def end(name: str) -> tuple[float, float]:
        settings = {"lam": [lam], "methods": {name: {}}, "training": {"epochs": 1500, "evaluations": 1}}
        (run,) = [r for r in plan(conditioning(**settings)) if r.label == name]
        last = train([run], tasks.create("conditioning"))[0].trajectory[-1]["train"]
        return last["a"], last["b"]

    assert end("sum") == pytest.approx((lam / (1 + lam), 0), abs=1e-5)
    assert end("bloop") == pytest.approx((0, 0), abs=1e-5)
    assert end("bloop_no_ema") == pytest.approx((0, 0), abs=1e-5)


def test_one_step_is_the_direction_of_the_formula() -> None:
    """SGD without momentum: θ₁ = θ₀ − lr d, d from gradients that autograd gives on the module itself."""
    task = tasks.create("smooth_mlp")
    settings = {"optimizer": "sgd", "momentum": 0.0, "lr": 0.5, "epochs": 1}
    run = next(r for r in smooth_runs(training=settings) if r.label == "bloop")
    spy = Spy()
    parameters: list[list[torch.Tensor]] = []

    def losses(model: Model, batch):
        parameters.append([p.detach().clone() for p in model.parameters.values()])
        spy.seen.append(batch)
        return spy.inner.losses(model, batch)

    spy.losses = losses  # type: ignore[method-assign]
    train([run], spy)
    module = spy.inner.build()
    with torch.no_grad():
        for p, start in zip(module.parameters(), spy.start, strict=True):
            p.copy_(start)
    weights = list(module.parameters())
    main = torch.nn.functional.cross_entropy(module(spy.seen[0]["images"]), spy.seen[0]["labels"])
    aux = sum(torch.linalg.matrix_norm(w.double(), 2).log() for w in weights if w.dim() == 2)
    g_m = torch.cat([g.flatten() for g in torch.autograd.grad(main, weights)]).double()
    g_a = torch.cat(
        [
            torch.zeros_like(w).flatten() if g is None else g.flatten()
            for w, g in zip(weights, torch.autograd.grad(aux, weights, allow_unused=True), strict=True)
        ]
    ).double()
    direction = g_m + run.lam * (g_a - (g_a @ g_m) / (g_m @ g_m) * g_m)
    first, second = (torch.cat([p.flatten() for p in parameters[i]]).double() for i in (0, 1))
    torch.testing.assert_close((first - second) / 0.5, direction, rtol=1e-3, atol=1e-6)
    assert len(task.objectives) == 2


def test_divergence_is_recorded_with_its_step_and_never_as_a_number(tmp_path) -> None:
    experiment = conditioning(training={"lr": 1e20, "epochs": 60, "evaluations": 6}, lam=[1.0])
    run = next(r for r in plan(experiment) if r.label == "sum")
    folder = Folder(tmp_path)
    folder.prepare()
    record = execute([Job(run, folder)], Place())[0].record
    assert record.status == "diverged"
    assert record.diverged_at is not None
    assert 1 < record.diverged_at <= 10
    assert [row["step"] for row in record.trajectory] == [0]
    folder.write(record)
    text = (folder.runs / f"{run.id}.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text


def test_evaluations_are_even_and_end_at_the_last_step() -> None:
    run = plan(conditioning(training={"epochs": 10, "evaluations": 4}))[0]
    rows = train([run], tasks.create("conditioning"))[0].trajectory
    assert [row["step"] for row in rows] == [0, 2, 5, 8, 10]


def test_diagnostics_are_lengths_and_cosines() -> None:
    run = next(r for r in plan(conditioning(lam=[0.5])) if r.label == "bloop")
    rows = train([run], tasks.create("conditioning"))[0].trajectory
    values = rows[1]["diagnostics"]
    assert -1 <= values["main_aux_cosine"] <= 1
    assert values["memory_main_cosine"] == pytest.approx(1)
    assert values["direction_norm"] ** 2 == pytest.approx(
        values["main_norm"] ** 2 + 0.25 * values["aux_norm"] ** 2 * (1 - values["main_aux_cosine"] ** 2),
        rel=1e-4,
    )
    assert values["direction_memory_cosine"] == pytest.approx(values["direction_main_cosine"])
    assert values["step_norm"] == pytest.approx(run.training.lr * values["direction_norm"], rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"schedule": "constant"}, [1.0, 1.0, 1.0, 1.0]),
        ({"schedule": "constant", "warmup_epochs": 2}, [0.5, 1.0, 1.0, 1.0]),
        ({"schedule": "cosine"}, [1.0, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2]),
    ],
)
def test_schedules(settings: dict, expected: list[float]) -> None:
    """Steps of SGD on a constant gradient are the learning rates."""
    training = Training(optimizer="sgd", momentum=0.0, lr=0.1, epochs=4, evaluations=4, **settings)

    class Slope(Task):
        dataset = property(lambda self: tasks.Data("embedded", "none", {"train": {}}))
        steps_per_epoch = 1
        device = "cpu"

        def __init__(self) -> None:
            pass

        def build(self):
            return torch.nn.Linear(1, 1, bias=False)

        def losses(self, model, batch):
            yield model.parameters["weight"].sum()
            yield 0 * model.parameters["weight"].sum()

        def batches(self, generator):
            return itertools.repeat({})

        def evaluate(self, model, split):
            return {"main": model.parameters["weight"].item(), "aux": 0.0}

    run = TrainingRun(
        experiment="x",
        scale="smoke",
        label="sum",
        task={"name": "slope"},
        data=DataRecord(name="none", fingerprint="0"),
        method=methods.create("sum").settings,
        lam=0.0,
        seed=0,
        training=training,
    )
    values = [row["train"]["main"] for row in train([run], Slope())[0].trajectory]
    steps = [(a - b) / 0.1 for a, b in itertools.pairwise(values)]
    assert steps == pytest.approx(expected, abs=1e-5)


def test_blocks_are_filled_in_with_the_models_parameters() -> None:
    settings = {"metabalance": {"blocks": True}}
    run = next(r for r in smooth_runs(methods=settings) if r.label == "metabalance")
    stepper = Stepper([run], tasks.create("smooth_mlp"))
    assert stepper.groups[0].method.blocks == (256 * 64, 256, 128 * 256, 128, 10 * 128, 10)
    with pytest.raises(ValueError, match="call with_blocks"):
        methods.create(**run.method).init(stepper.gradients)
    assert len(train([run], tasks.create("smooth_mlp"))[0].trajectory) == 3


@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize("name", ["sum", "uncertainty"])
def test_one_backward_pass_gives_the_direction_of_one_per_loss(name: str, runs: int, monkeypatch) -> None:
    experiment = load("fig4", "smoke", {"lam": [0.1, 0.5, 2.0][:runs], "methods": {name: {"rescale": True}}})
    assert isinstance(experiment, Experiment)
    task = tasks.create(**experiment.task)
    chosen = [run for run in experiment.plan(lambda settings: DATA) if run.label == name]
    fast, full = (Stepper(chosen, task) for _ in range(2))
    calls = watch_backward_passes(monkeypatch)
    for batch in itertools.islice(full.batches(), 2):
        fast.step(batch, diagnose=False)
        assert len(calls) == 1
        full.step(batch)
        assert len(calls) == 3
        calls.clear()
        gap = torch.linalg.vector_norm(fast.direction - full.direction)
        assert gap < 1e-5 * torch.linalg.vector_norm(full.direction)
        torch.testing.assert_close(fast.losses, full.losses)


def test_methods_that_read_gradients_take_one_pass_per_loss() -> None:
    experiment = load("fig4", "smoke", {"methods": {"sum": {"ema": 0.1}, "bloop": {}}, "lam": [0.1]})
    assert isinstance(experiment, Experiment)
    task = tasks.create(**experiment.task)
    assert not any(Stepper([run], task).single_backward for run in experiment.plan(lambda settings: DATA))
