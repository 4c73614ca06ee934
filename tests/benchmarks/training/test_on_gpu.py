"""Every task's whole step on a GPU that is not there, at every scale; nothing in it waits for the device."""

from typing import Any

import pytest
import torch

from scalpel_bench import methods, tasks
from scalpel_bench.benchmarks.experiments.loading import load
from scalpel_bench.benchmarks.experiments.schema import Experiment
from scalpel_bench.benchmarks.experiments.settings import TrainingRun
from scalpel_bench.benchmarks.training import Stepper
from scalpel_bench.tasks import Data, ImageTask, LeNetTask, Task, smooth_mlp
from scalpel_bench.tasks.data.images import ResidentImages
from scalpel_bench.tasks.two_datasets import Pair
from tests.benchmarks.runs import DATA
from tests.fake_gpu import GPU, fake_gpu

TRAINED = (
    *("conditioning", "quadratic", "fig3a", "fig3b", "fig4", "fig5a", "fig5b", "fig10"),
    *("kovasznay", "multi_digits", "robustness", "unlearning", "forgetting"),
)
"""An experiment of each task."""
OF_A_KIND = {"fig5a", "fig5b", "unlearning", "forgetting"}
"""Texts, which take seconds to make."""
QUICK = {("fig3a", "paper"), ("fig4", "paper")}
METHODS = ("sum", "bloop")
"""One backward pass for both losses, where they share a forward pass, and one for each."""
SHAPES = {
    "mnist": (28, 28, 1),
    "multi_mnist": (36, 36, 1),
    "cifar10": (32, 32, 3),
    "imagenet": (224, 224, 3),
}
LABELS = ("labels", "digits", "top_left", "bottom_right")
WAITS = {"smooth_mlp": {torch.ops.aten._linalg_eigh}}
"""What a step waits for: its spectral norms take the eigenvectors of small matrices from a library."""


class Unread(ResidentImages):
    """Images whose moments are not computed: that takes all of them to the CPU."""

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        channels = self.splits["train"]["images"].shape[-1]
        return torch.zeros(channels), torch.ones(channels)


class Vocabulary:
    """A tokenizer of any size."""

    def __init__(self, size: int) -> None:
        self.size = size

    def get_vocab_size(self) -> int:
        return self.size


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    """Tests leave the user's cache folder alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def images(task: ImageTask | LeNetTask, name: str) -> Unread:
    rows = 2 * task.batch_size
    split = {"images": torch.empty(rows, *SHAPES[name], dtype=torch.uint8, device="cuda")}
    split |= {label: torch.zeros(rows, dtype=torch.int64, device="cuda") for label in LABELS}
    augmented = (task.padding, task.flip) if isinstance(task, ImageTask) else ()
    return Unread("embedded", name, {"train": split, "test": split}, *augmented)


def without_data(task: Task) -> Task:
    """The task on data of the real shapes without numbers; of text on the embedded one."""
    if task.name == "smooth_mlp":
        split = {"images": torch.empty(1024, 784, device="cuda")}
        split["labels"] = torch.zeros(1024, dtype=torch.int64, device="cuda")
        task.__dict__["dataset"] = Data("embedded", "mnist", {"train": split, "test": split})
    elif task.name == "two_datasets":
        main, aux = images(task, task.main_images), images(task, task.aux_images)
        task.__dict__["dataset"] = Pair("embedded", "both", main.splits, (main, aux))
    elif isinstance(task, ImageTask | LeNetTask):
        task.__dict__["dataset"] = images(task, getattr(task, "images", "cifar10"))
    elif task.name == "translation":
        small = tasks.create("translation", vocabulary=400, max_length=task.max_length)
        object.__setattr__(small._pairs, "tokenizer", Vocabulary(task.vocabulary))
        task.__dict__["_pairs"] = small._pairs
    elif task.name in ("language_model", "unlearning", "forgetting"):
        task.main_articles, task.aux_articles, task.validation_fraction = 20, 20, 0.1
        task.pretraining_steps = 1
        _ = task.dataset
    return task


def built_there(task: Task) -> Task:
    """The task with models that are made on the GPU, so that large ones take no memory."""
    build = task.build

    def on_gpu() -> torch.nn.Module:
        with torch.device("cuda"):
            module = build()
        module.to = lambda device: module
        return module

    task.build = on_gpu
    return task


def run_of(name: str, scale: str, method: str, **overrides: Any) -> TrainingRun:
    experiment = load(name, scale, {"seeds": 1, "lam": [0.1], **overrides})
    assert isinstance(experiment, Experiment)
    run = experiment.plan(lambda settings: DATA)[0]
    return run.model_copy(update={"method": methods.create(method).settings})


def task_of(run: TrainingRun) -> Task:
    return tasks.create(**{**run.task, "device": "cuda"})


def trained(gpu: GPU, runs: list[TrainingRun], task: Task, steps: int = 2) -> Stepper:
    """Two steps, of which the second waits for nothing."""
    stepper = Stepper(runs, task)
    batches = stepper.batches()
    stepper.step(next(batches))
    gpu.excused, gpu.may_wait = WAITS.get(task.name, set()), False
    for _ in range(1, steps):
        stepper.step(next(batches), diagnose=False)
    gpu.may_wait = True
    assert stepper.models.theta.is_cuda
    assert all(value.is_cuda for state in stepper.states for value in state.values())
    assert all(buffer.is_cuda for buffer in stepper.models.buffers.values())
    return stepper


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in OF_A_KIND else ()) for name in TRAINED],
)
def test_steps_diagnostics_and_evaluations_at_the_smallest_scale(name) -> None:
    with fake_gpu() as gpu:
        task = task_of(run_of(name, "smoke", "sum"))
        for method in METHODS:
            stepper = trained(gpu, [run_of(name, "smoke", method)], task)
        stepper.diagnosed_step(next(stepper.batches()))
        stepper.check_losses()
        assert stepper.diagnostics(0)["main_norm"] == 1
        with torch.no_grad():
            for split in task.splits:
                assert {*task.objectives} <= task.evaluate(stepper.models.model(), split).keys()


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        pytest.param(name, scale, marks=() if (name, scale) in QUICK else pytest.mark.slow)
        for name in TRAINED[2:]
        for scale in ("laptop", "workstation", "paper")
    ],
)
def test_steps_at_the_larger_scales(name, scale, monkeypatch) -> None:
    monkeypatch.setattr(smooth_mlp, "lecun_normal", lambda linear: linear)  # it looks at numbers
    run = run_of(name, scale, "bloop")
    with fake_gpu() as gpu:
        task = built_there(without_data(task_of(run)))
        trained(gpu, [run], task)


@pytest.mark.parametrize(
    "name",
    ["quadratic", "fig3a", *(pytest.param(n, marks=pytest.mark.slow) for n in ("fig3b", "fig4", "fig5a"))],
)
def test_populations(name) -> None:
    runs = [
        run_of(name, "smoke", method).model_copy(update={"seed": seed})
        for method, seed in (("sum", 0), ("bloop", 0), ("bloop", 1), ("pcgrad", 1))
    ]
    with fake_gpu() as gpu:
        stepper = trained(gpu, runs, task_of(runs[0]))
        stepper.diagnosed_step(next(stepper.batches()))
        assert stepper.diagnostics(2)["main_norm"] == 1


@pytest.mark.parametrize("method", ["famo", "uncertainty"])
def test_methods_that_observe_or_weigh_the_losses(method) -> None:
    with fake_gpu() as gpu:
        run = run_of("fig4", "smoke", method)
        trained(gpu, [run], task_of(run))


@pytest.mark.slow
def test_channels_last() -> None:
    with fake_gpu() as gpu:
        run = run_of("fig4", "smoke", "bloop", training={"channels_last": True})
        trained(gpu, [run], task_of(run))
