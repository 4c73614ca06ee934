import itertools
import math

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from scalpel_bench import methods, tasks
from scalpel_bench.benchmarks.execution import ExecutionOptions, Job, execute
from scalpel_bench.benchmarks.experiments.loading import load
from scalpel_bench.benchmarks.experiments.schema import Experiment
from scalpel_bench.benchmarks.experiments.settings import TrainingRun
from scalpel_bench.benchmarks.records import Folder
from scalpel_bench.benchmarks.training import FlatModel, Stepper, loop, stream, train
from tests.benchmarks import regression
from tests.benchmarks.regression import Regression, Slow
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
    for run in smooth_runs()[:2]:
        torch.manual_seed(1)
        first = train([run], task)[0]
        torch.manual_seed(2)
        assert train([run], task)[0].trajectory == first.trajectory


def test_training_leaves_the_global_generator_untouched() -> None:
    state = torch.get_rng_state()
    train([smooth_runs()[0]], tasks.create("smooth_mlp"))
    assert torch.equal(state, torch.get_rng_state())


class Spy(Regression):
    """A task that remembers what a run starts from, its batches, what the model draws, and its precision."""

    def __init__(self) -> None:
        super().__init__()
        self.start: list[torch.Tensor] = []
        self.seen: list[torch.Tensor] = []
        self.drawn: list[float] = []
        self.precisions: set[tuple[bool, torch.dtype]] = set()

    def build(self):
        module = super().build()
        self.start = [p.detach().clone() for p in module.parameters()]
        return module

    def batches(self, generator):
        for batch in super().batches(generator):
            self.seen.append(batch["inputs"])
            yield batch

    def losses(self, model, batch):
        self.drawn.append(torch.rand(()).item())
        self.precisions.add((model.module.training, model(batch["inputs"]).dtype))
        yield from super().losses(model, batch)


def spied(method: str = "sum", lam: float = 0.5, seed: int = 0, **training) -> Spy:
    spy = Spy()
    train([regression.run_of(method, lam, seed, **training)], spy)
    return spy


def test_all_methods_see_the_same_start_batches_and_draws_at_equal_seed() -> None:
    by_seed = {
        seed: [spied(method, lam, seed) for method in ("sum", "bloop", "rlw") for lam in (0.1, 1.0)]
        for seed in (0, 1)
    }
    for first, *others in by_seed.values():
        for other in others:
            assert all(torch.equal(a, b) for a, b in zip(first.start, other.start, strict=True))
            assert all(torch.equal(a, b) for a, b in zip(first.seen, other.seen, strict=True))
            assert first.drawn == other.drawn
    a, b = by_seed[0][0], by_seed[1][0]
    assert not torch.equal(a.start[0], b.start[0])
    assert not any(torch.equal(x, y) for x, y in zip(a.seen, b.seen, strict=True))
    assert not set(a.drawn) & set(b.drawn)


def test_each_purpose_has_a_stream_of_its_own_that_never_changes() -> None:
    assert stream(0, "initialisation") == 5719629758967893556
    assert stream(0, "batches") == 958974869244695683
    assert stream(1, "batches") == 2249922797557605253
    for seed in (0, 1):
        generator = torch.Generator().manual_seed(stream(seed, "model"))
        assert spied(seed=seed).drawn[0] == torch.rand((), generator=generator).item()


def test_bfloat16_is_for_training_alone() -> None:
    assert spied().precisions == {(True, torch.float32), (False, torch.float32)}
    assert spied(bf16=True).precisions == {(True, torch.bfloat16), (False, torch.float32)}


def test_conditioning_reaches_its_analytic_solutions() -> None:
    """As one population: that replicas are single runs is tested beside it."""
    experiment = conditioning(lam=[0.3, 1.0, 10.0], training={"epochs": 500, "evaluations": 1})
    runs = [r for r in plan(experiment) if r.label in ("sum", "bloop", "bloop_no_ema")]
    assert len(runs) == 9
    for run, outcome in zip(runs, train(runs, tasks.create("conditioning")), strict=True):
        last = outcome.trajectory[-1]["train"]
        expected = run.lam / (1 + run.lam) if run.label == "sum" else 0.0
        assert (last["a"], last["b"]) == pytest.approx((expected, 0), abs=1e-5), run.label


def test_one_step_is_the_direction_of_the_formula() -> None:
    """SGD without momentum: θ₁ = θ₀ − lr d, d from gradients that autograd gives on the module itself."""
    task = tasks.create("smooth_mlp")
    settings = {"optimizer": "sgd", "momentum": 0.0, "lr": 0.5, "epochs": 1}
    run = next(r for r in smooth_runs(training=settings) if r.label == "bloop")
    stepper = Stepper([run], task)
    batch, start = next(stepper.batches()), stepper.models.theta.detach().clone()
    module = task.build()
    weights = list(module.parameters())
    torch.nn.utils.vector_to_parameters(start, weights)
    stepper.step(batch)
    main = torch.nn.functional.cross_entropy(module(batch["images"]), batch["labels"])
    aux = sum(torch.linalg.matrix_norm(w.double(), 2).log() for w in weights if w.dim() == 2)
    g_m, g_a = (
        torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights, materialize_grads=True)]).double()
        for loss in (main, aux)
    )
    direction = g_m + run.lam * (g_a - (g_a @ g_m) / (g_m @ g_m) * g_m)
    moved = (start - stepper.models.theta.detach()).double() / 0.5
    torch.testing.assert_close(moved, direction, rtol=1e-3, atol=1e-6)


def test_divergence_is_recorded_with_its_step_and_never_as_a_number(tmp_path) -> None:
    experiment = conditioning(training={"lr": 1e20, "epochs": 60, "evaluations": 6}, lam=[1.0])
    run = next(r for r in plan(experiment) if r.label == "sum")
    folder = Folder(tmp_path)
    folder.prepare()
    record = execute([Job(run, folder)], ExecutionOptions())[0].record
    assert record.status == "diverged"
    assert record.diverged_at == 2  # a is 1e20 after the first step, and its square no float32
    assert [row["step"] for row in record.trajectory] == [0]
    folder.write(record)
    text = (folder.runs / f"{run.id}.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text


@pytest.mark.parametrize("objective", [0, 1])
def test_a_run_diverges_at_the_step_at_which_any_loss_is_not_finite(objective) -> None:
    class Breaking(Regression):
        steps = 0

        def losses(self, model, batch):
            self.steps += model.module.training
            for k, loss in enumerate(super().losses(model, batch)):
                yield loss * math.inf if self.steps == 7 and k == objective else loss

    steps: list[int] = []
    (outcome,) = train([regression.run_of(evaluations=4)], Breaking(), steps.append)
    assert outcome.diverged_at == 7
    assert [row["step"] for row in outcome.trajectory] == [0, 5]
    assert steps == list(range(1, 11))  # it is noticed at the next evaluation, and nothing follows


def test_a_run_diverges_at_the_evaluation_that_is_not_finite() -> None:
    class Breaking(Regression):
        evaluated = 0

        def evaluate(self, model, split):
            self.evaluated += 1
            values = super().evaluate(model, split)
            return {**values, "accuracy": math.nan} if self.evaluated == 3 else values

    (outcome,) = train([regression.run_of(evaluations=4)], Breaking())
    assert outcome.diverged_at == 10
    assert [row["step"] for row in outcome.trajectory] == [0, 5]


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


def test_blocks_are_filled_in_with_the_models_parameters() -> None:
    settings = {"metabalance": {"blocks": True}}
    run = next(r for r in smooth_runs(methods=settings) if r.label == "metabalance")
    stepper = Stepper([run], tasks.create("smooth_mlp"))
    assert stepper.groups[0].method.blocks == (256 * 64, 256, 128 * 256, 128, 10 * 128, 10)
    with pytest.raises(ValueError, match="call with_blocks"):
        methods.create(**run.method).init(stepper.models.theta.detach().expand(2, -1))
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
        fast.step(batch)
        assert len(calls) == 1
        full.step(batch, diagnose=True)
        assert len(calls) == 3
        calls.clear()
        gap = torch.linalg.vector_norm(fast.direction - full.direction)
        assert gap < 1e-5 * torch.linalg.vector_norm(full.direction)
        torch.testing.assert_close(fast.losses, full.losses)


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_known_gradient_is_weighted_like_the_others(replicas) -> None:
    class Decayed(Regression):
        shared_forward = True

        def losses(self, model, batch):
            main, _ = super().losses(model, batch)
            yield main
            squares = torch.stack([p.square().sum() for p in model.parameters.values()])
            yield tasks.Known(squares.sum() / 2, dict(model.parameters))

    runs = [regression.run_of(lam=lam) for lam in (0.3, 2.0)[:replicas]]
    fast, full = (Stepper(runs, Decayed()) for _ in range(2))
    assert fast.single_backward
    batch = next(full.batches())
    fast.step(batch)
    full.step(batch, diagnose=True)
    torch.testing.assert_close(fast.direction, full.direction)
    main, theta = full.gradients.unbind(-2)
    lam = torch.tensor([[0.3], [2.0]])[:replicas]
    torch.testing.assert_close(full.direction, (main + lam * theta).view_as(main))


def test_methods_that_read_gradients_take_one_pass_per_loss() -> None:
    experiment = load("fig4", "smoke", {"methods": {"sum": {"ema": 0.1}, "bloop": {}}, "lam": [0.1]})
    assert isinstance(experiment, Experiment)
    task = tasks.create(**experiment.task)
    assert not any(Stepper([run], task).single_backward for run in experiment.plan(lambda settings: DATA))


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("option", [None, True])
def test_a_model_is_compiled_where_it_is_asked_for(option, replicas, monkeypatch) -> None:
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda function: compiled.append(function) or function)
    runs = [regression.run_of(seed=seed, epochs=1, compile=option) for seed in range(replicas)]
    train(runs, Regression())
    assert len(compiled) == bool(option)


@pytest.mark.parametrize("replicas", [1, 2])
def test_seconds_are_of_steps_or_of_evaluations_and_shared_out(replicas, monkeypatch) -> None:
    clock = [0.0]

    def on_step(step: int) -> None:
        clock[0] += 1

    monkeypatch.setattr(loop.time, "perf_counter", lambda: clock[0])
    runs = [regression.run_of(lam=lam, evaluations=4) for lam in (0.1, 1.0)[:replicas]]
    for outcome in train(runs, Slow(clock), on_step):
        assert outcome.timings == {"train": 20 / replicas, "evaluate": 500, "step": 1 / replicas}


class Frozen(Regression):
    """Of the network, the last layer is trained alone."""

    def build(self) -> nn.Module:
        network = super().build()
        network[0].requires_grad_(False)
        return network


def test_parameters_that_require_no_gradient_stay_as_they_are() -> None:
    runs = [regression.run_of(seed=seed) for seed in (0, 1)]
    stacked = Stepper(runs, Frozen())
    alone = [Stepper([run], Frozen()) for run in runs]
    assert not torch.equal(alone[0].models.buffers["0.weight"], alone[1].models.buffers["0.weight"])
    before = [stepper.models.buffers["0.weight"].clone() for stepper in alone]
    for stepper in (stacked, *alone):
        for batch, _ in zip(stepper.batches(), range(3), strict=False):
            stepper.step(batch)
    for replica, stepper in enumerate(alone):
        assert stepper.models.shapes.keys() == {"3.weight", "3.bias"}
        assert torch.equal(stepper.models.buffers["0.weight"], before[replica])
        torch.testing.assert_close(stacked.models.theta[replica], stepper.models.theta)


class Reentrant(Regression):
    """A network that is computed again in the backward pass."""

    def build(self) -> nn.Module:
        network = super().build()
        network.forward = lambda x: network[3](checkpoint(network[:2], x, use_reentrant=True))
        return network

    def draw(self, generator: torch.Generator) -> dict[str, torch.Tensor]:
        batch = super().draw(generator)
        return {**batch, "inputs": batch["inputs"].requires_grad_()}


def test_a_reentrant_checkpoint_is_refused() -> None:
    with pytest.raises(ValueError, match="checkpoint with use_reentrant=False"):
        train([regression.run_of()], Reentrant())


@pytest.mark.parametrize("change", [lambda layer: layer.double(), lambda layer: layer.half()])
def test_parameters_of_several_dtypes_or_none_are_refused(change) -> None:
    network = Regression().build()
    with pytest.raises(
        ValueError, match="require no gradient: they must be of one dtype, and one be trained"
    ):
        FlatModel(Regression().build().requires_grad_(False), "cpu")
    change(network[3])
    with pytest.raises(ValueError, match=r"are of torch.float\d\d, torch.float\d\d: they must be of one"):
        FlatModel(network, "cpu")
