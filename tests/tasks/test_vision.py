"""The tasks on images: their losses, their gradients and their batch statistics."""

import math

import pytest
import torch

from scalpel_bench import tasks
from scalpel_bench.benchmarks.experiments.loading import load
from scalpel_bench.benchmarks.experiments.schema import Experiment
from scalpel_bench.benchmarks.experiments.settings import Training, TrainingRun
from scalpel_bench.benchmarks.training import FlatModel, Stepper
from tests.benchmarks.runs import DATA
from tests.gradients import watch_backward_passes


def first_run(name: str, **overrides) -> tuple[TrainingRun, tasks.Task]:
    experiment = load(name, "smoke", {"lam": [0.1], **overrides})
    assert isinstance(experiment, Experiment)
    run = experiment.plan(lambda settings: DATA)[0]
    settings = dict(run.task)
    return run, tasks.create(settings.pop("name"), **settings)


def batch_of(task: tasks.Task) -> tasks.Batch:
    return next(task.batches(torch.Generator().manual_seed(0)))


def stepped(steps: int = 2, experiment: str = "fig4", **training) -> Stepper:
    run, task = first_run(experiment, training=training)
    stepper = Stepper([run], task)
    batches = task.batches(torch.Generator().manual_seed(0))
    for _ in range(steps):
        stepper.step(next(batches), diagnose=True)
    return stepper


class TestSmallWeights:
    @pytest.mark.parametrize("decay", ["all", "matrices"])
    def test_the_gradient_is_theta_without_a_backward_pass(self, decay: str, monkeypatch) -> None:
        run, task = first_run("fig3b", task={"decay": decay})
        stepper = Stepper([run], task)
        theta = stepper.models.theta.detach().clone()
        calls = watch_backward_passes(monkeypatch)
        stepper.step(batch_of(task), diagnose=True)
        assert len(calls) == 1
        row = stepper.models.parts(stepper.gradients[1])
        for name, part in stepper.models.parts(theta).items():
            decayed = decay == "all" or part.dim() > 1
            assert torch.equal(row[name], part if decayed else torch.zeros_like(part))
        kept = [p for p in stepper.models.parts(theta).values() if decay == "all" or p.dim() > 1]
        expected = sum(p.double().square().sum().item() for p in kept) / 2
        assert stepper.losses[1].item() == pytest.approx(expected, rel=1e-5)


class TestTwoDatasets:
    def test_each_data_set_has_statistics_of_its_own(self) -> None:
        task = tasks.create("two_datasets")
        flat = FlatModel(task.build(), "cpu")
        before = {name: b.clone() for name, b in flat.buffers.items()}
        losses = task.losses(flat.model(), batch_of(task))
        next(losses)
        changed = {name for name, b in flat.buffers.items() if not torch.equal(b, before[name])}
        assert changed
        assert all("statistics.0." in name for name in changed)
        next(losses)
        changed = {name for name, b in flat.buffers.items() if not torch.equal(b, before[name])}
        assert any("statistics.1." in name for name in changed)

    def test_each_data_set_is_standardised_by_its_own_moments(self) -> None:
        task = tasks.create("two_datasets")
        module, seen = task.build(), []
        module.net.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        for which, images in enumerate(task.dataset.pair):
            with torch.no_grad():
                module(images.splits["train"]["images"], which)
            torch.testing.assert_close(seen[-1].mean((0, 2, 3)), torch.zeros(3), atol=1e-3, rtol=0)
            deviation = seen[-1].std((0, 2, 3), correction=0)
            torch.testing.assert_close(deviation, torch.ones(3), atol=1e-3, rtol=0)

    def test_a_head_gets_no_gradient_of_the_other_loss(self) -> None:
        task = tasks.create("two_datasets")
        flat = FlatModel(task.build(), "cpu")
        for which, loss in enumerate(task.losses(flat.model(), batch_of(task))):
            row = torch.empty_like(flat.theta, requires_grad=False)
            flat.gradient(loss, row, keep=False)
            parts = flat.parts(row)
            assert parts[f"net.heads.{which}.weight"].any()
            assert not parts[f"net.heads.{1 - which}.weight"].any()

    def test_each_data_set_is_evaluated_by_its_own_head(self) -> None:
        task = tasks.create("two_datasets", evaluation_limit=40)

        def guess(images: torch.Tensor, which: int) -> torch.Tensor:
            logits = torch.zeros(len(images), 10)
            logits[:, 3 * which] = 2  # class 0 of the first, class 3 of the second
            return logits

        found = task.evaluate(guess, "test")
        for prefix, which, name in (("", 0, "main"), ("aux_", 1, "aux")):
            labels = task.dataset.pair[which].splits["test"]["labels"][:40]
            right = (labels == 3 * which).double().mean().item()
            expected = math.log(math.exp(2) + 9) - 2 * right
            assert found[f"{prefix}accuracy"] == pytest.approx(right)
            assert found[name] == pytest.approx(expected, rel=1e-5)

    def test_both_data_sets_are_in_the_fingerprint(self) -> None:
        same, other = ("mnist", "mnist"), ("mnist", "cifar10")
        prints = {
            tasks.create("two_datasets", main_images=a, aux_images=b).dataset.fingerprint
            for a, b in (same, other, other[::-1])
        }
        assert len(prints) == 3


@pytest.mark.parametrize("experiment", ["fig4", "fig10"])
def test_evaluation_uses_running_statistics_and_leaves_them(experiment) -> None:
    stepper = stepped(1, experiment)
    before = {name: b.clone() for name, b in stepper.models.buffers.items()}
    stepper.models.module.eval()
    with torch.no_grad():
        whole = stepper.task.evaluate(stepper.models.model(), "test")
        again = stepper.task.evaluate(stepper.models.model(), "test")
    assert whole == again
    assert all(torch.equal(b, before[name]) for name, b in stepper.models.buffers.items())
    stepper.step(batch_of(stepper.task))
    assert any(not torch.equal(b, before[name]) for name, b in stepper.models.buffers.items())


class TestOptions:
    def test_off_is_no_part_of_a_runs_identity(self) -> None:
        plain, _ = first_run("fig4")
        off, _ = first_run("fig4", training={"bf16": False, "compile": False, "channels_last": False})
        on, _ = first_run("fig4", training={"bf16": True})
        assert plain.id == off.id != on.id
        assert Training(optimizer="sgd", lr=1, epochs=1, bf16=False).bf16 is None

    def test_channels_last_takes_the_same_steps(self) -> None:
        plain, last = stepped(), stepped(channels_last=True)
        for name, part in plain.models.parts(plain.models.theta).items():
            moved = last.models.parts(last.models.theta)[name]
            torch.testing.assert_close(moved, part, rtol=1e-3, atol=1e-4, msg=name)
            assert part.dim() != 4 or moved.is_contiguous(memory_format=torch.channels_last)

    def test_bf16_rounds_the_gradients_and_keeps_the_parameters_in_float32(self) -> None:
        plain, rounded = stepped(1), stepped(1, bf16=True)
        assert rounded.models.theta.dtype == rounded.gradients.dtype == torch.float32
        difference = torch.linalg.vector_norm(rounded.gradients - plain.gradients, dim=1)
        share = difference / torch.linalg.vector_norm(plain.gradients, dim=1)
        assert (share > 1e-4).all()
        assert (share < 0.3).all()

    @pytest.mark.slow
    def test_compiled_takes_the_same_steps(self) -> None:
        plain, compiled = stepped(), stepped(compile=True)
        torch.testing.assert_close(compiled.models.theta, plain.models.theta, rtol=1e-3, atol=1e-4)
        for name, value in plain.models.buffers.items():
            torch.testing.assert_close(compiled.models.buffers[name], value, rtol=1e-3, atol=1e-4)
