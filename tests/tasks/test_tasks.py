"""What every task must satisfy, and what the suite's own tasks promise."""

import math
from importlib.util import find_spec
from itertools import islice

import pytest
import torch

from scalpel_bench import tasks
from scalpel_bench.benchmarks.contract import check_task
from scalpel_bench.benchmarks.training import FlatModel
from scalpel_bench.tasks import DataError
from scalpel_bench.tasks.bases import finetuned
from scalpel_bench.tasks.bases.checkpoint import trained_once
from scalpel_bench.tasks.data import carve, epochs
from scalpel_bench.tasks.models import lecun_normal
from tests.gradients import gradient

NAMES = [
    pytest.param(name, marks=pytest.mark.skipif(not find_spec("river"), reason="river is not installed"))
    if name == "many_labels"
    else name
    for name in tasks.available()
]


@pytest.fixture(autouse=True)
def short_first_trainings(monkeypatch) -> None:
    """Of the tasks that start from a checkpoint; under an identity of their own."""
    monkeypatch.setattr(finetuned, "islice", lambda batches, steps: islice(batches, min(steps, 2)))
    monkeypatch.setattr(finetuned, "trained_once", lambda asked, train: trained_once([asked, "short"], train))


@pytest.mark.parametrize("name", NAMES)
def test_contract(name: str) -> None:
    assert {rule: broken for rule, broken in check_task(name).items() if broken} == {}


@pytest.mark.parametrize("name", NAMES)
def test_flat_gradients_equal_autograd_on_the_module(name: str) -> None:
    task = tasks.create(name)
    module = task.build()
    flat = FlatModel(module, "cpu")
    batch = next(task.batches(torch.Generator().manual_seed(0)))
    (main, *_), parameters = task.losses(flat.model(), batch), list(module.parameters())
    flat_gradient = gradient(flat, main)
    direct, *_ = task.losses(tasks.Model(module, dict(module.named_parameters()), flat.buffers), batch)
    gradients = torch.autograd.grad(direct, parameters, allow_unused=True)
    zeros = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True)]
    torch.testing.assert_close(flat_gradient, torch.cat([g.flatten() for g in zeros]))


def test_a_fingerprint_is_of_the_contents() -> None:
    first, again = (tasks.create("quadratic").dataset.fingerprint for _ in range(2))
    assert first == again != tasks.create("quadratic", examples=255).dataset.fingerprint


def test_unknown_task_and_setting() -> None:
    with pytest.raises(ValueError, match="unknown task 'mlp'; known: .*conditioning"):
        tasks.create("mlp")
    with pytest.raises(ValueError, match="'quadratic'.*depth"):
        tasks.create("quadratic", depth=3)


def test_only_a_class_with_a_name_of_its_own_is_registered() -> None:
    known = tasks.get("smooth_mlp")

    class Derived(known):
        pass

    assert tasks.get("smooth_mlp") is known
    with pytest.raises(ValueError, match="two tasks are named 'smooth_mlp': .*smooth_mlp.SmoothMLP and"):

        class Another(known):
            name = "smooth_mlp"


def test_splits_are_disjoint_and_the_same_for_every_task_object() -> None:
    rows = {"x": torch.arange(100)}
    left, taken = carve(rows, 0.2)
    assert len(taken["x"]) == 20
    assert sorted([*left["x"].tolist(), *taken["x"].tolist()]) == list(range(100))
    assert torch.equal(carve(rows, 0.2)[1]["x"], taken["x"])
    sizes = {s: len(t["labels"]) for s, t in tasks.create("smooth_mlp").dataset.splits.items()}
    assert sizes == {"train": 1294, "validation": 144, "test": 359}


def test_without_validation_there_is_no_such_split() -> None:
    assert tasks.create("smooth_mlp", validation_fraction=0.0).splits == ("train", "test")


def test_epochs_cover_the_data_once_each() -> None:
    batches = epochs({"x": torch.arange(12)}, 4, torch.Generator().manual_seed(0))
    for _ in range(3):
        assert sorted(torch.cat([next(batches)["x"] for _ in range(3)]).tolist()) == list(range(12))


def test_the_remainder_of_an_epoch_is_dropped() -> None:
    batches = epochs({"x": torch.arange(14)}, 4, torch.Generator().manual_seed(0))
    for _ in range(2):
        drawn = [next(batches)["x"].tolist() for _ in range(3)]
        assert [len(batch) for batch in drawn] == [4, 4, 4]
        assert len(set().union(*drawn)) == 12


@pytest.mark.parametrize("size", [0, 13])
def test_a_batch_larger_than_the_data_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="batch_size must lie between 1 and the 12"):
        next(epochs({"x": torch.arange(12)}, size, torch.Generator()))


def test_smooth_mlp_evaluates_the_exact_bound() -> None:
    torch.manual_seed(0)
    task = tasks.create("smooth_mlp")
    flat = FlatModel(task.build(), "cpu")
    product = math.prod(
        torch.linalg.svdvals(p.double())[0].item() for p in flat.model().parameters.values() if p.dim() == 2
    )
    metrics = task.evaluate(flat.model(), "test")
    assert metrics["bound"] == pytest.approx(product, rel=1e-9)
    assert metrics["aux"] == pytest.approx(math.log(product), rel=1e-9)
    test = task.dataset.splits["test"]
    right = flat.model()(test["images"]).argmax(1) == test["labels"]
    assert metrics["accuracy"] == right.double().mean().item()


def test_smooth_mlp_doubles_its_auxiliary_loss_where_norms_are_squared() -> None:
    found = []
    for squared in (False, True):
        torch.manual_seed(0)
        task = tasks.create("smooth_mlp", squared=squared)
        flat = FlatModel(task.build(), "cpu")
        main, aux = task.losses(flat.model(), next(task.batches(torch.Generator().manual_seed(0))))
        metrics = task.evaluate(flat.model(), "test")
        found.append((main.item(), aux.item(), metrics["main"], metrics["aux"], gradient(flat, aux)))
    (main, aux, main_test, aux_test, slope), squared_ones = found
    assert squared_ones[:4] == pytest.approx((main, 2 * aux, main_test, 2 * aux_test), rel=1e-6)
    torch.testing.assert_close(squared_ones[4], 2 * slope)


def test_smooth_mlp_sees_standardised_pixels_by_train_alone() -> None:
    splits = tasks.create("smooth_mlp").dataset.splits
    train = splits["train"]["images"].double()
    assert train.mean().item() == pytest.approx(0, abs=1e-6)
    assert train.std(correction=0).item() == pytest.approx(1, rel=1e-6)
    raw = {name: (split["images"].double() - train.min()) for name, split in splits.items()}
    darkest = raw["train"].max()
    assert {round(16 * (x.max() / darkest).item(), 4) for x in raw.values()} == {16}
    assert abs(splits["test"]["images"].mean()) > 1e-4


def test_lecun_normal_draws_the_same_in_every_version_of_pytorch() -> None:
    torch.manual_seed(0)
    linear = lecun_normal(torch.nn.Linear(3, 400))
    normal = torch.empty(400, 3)
    torch.manual_seed(0)
    torch.nn.Linear(3, 400)
    normal.normal_()
    inside = normal.abs() <= 2
    ratio = (linear.weight.detach() / normal)[inside]
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio))
    assert 0.9 < inside.double().mean() < 1


def test_lecun_normal_has_the_variance_after_truncation() -> None:
    torch.manual_seed(0)
    linear = lecun_normal(torch.nn.Linear(400, 2000))
    scaled = linear.weight.detach().double() * 20
    assert scaled.var().item() == pytest.approx(1, abs=5e-3)
    assert scaled.abs().max().item() == pytest.approx(2 / 0.8796256610342398, rel=1e-3)  # Flax's constant
    assert not linear.bias.any()


def test_quadratic_gradients_are_those_of_its_formulas() -> None:
    task = tasks.create("quadratic")
    flat = FlatModel(task.build(), "cpu")
    data = task.dataset.splits["train"]
    with torch.no_grad():
        flat.theta.normal_(generator=torch.Generator().manual_seed(0))
    theta = flat.theta.detach().clone()
    main, aux = (gradient(flat, loss) for loss in task.losses(flat.model(), data))
    torch.testing.assert_close(
        main, data["x"].T @ (data["x"] @ theta - data["y"]) / 256, rtol=1e-4, atol=1e-2
    )
    torch.testing.assert_close(aux, theta - task._problem[1])
    assert aux.norm() > 100


def test_the_data_of_quadratic_have_the_law_that_it_states() -> None:
    task = tasks.create("quadratic", examples=4000)
    x, y = (task.dataset.splits["train"][name].double() for name in ("x", "y"))
    torch.testing.assert_close(x.std(0), torch.linspace(1, 10, 300, dtype=torch.float64), rtol=0.1, atol=0)
    truth = torch.linalg.lstsq(x, y[:, None]).solution
    assert (y - (x @ truth)[:, 0]).std().item() == pytest.approx(0.05, rel=0.1)
    assert truth.std().item() == pytest.approx(1, rel=0.15)
    assert task._problem[1].std().item() == pytest.approx(10, rel=0.15)


@pytest.mark.parametrize("name", ["smooth_mlp", "small_weights", "cifar_mnist", "quadratic", "pinn"])
def test_what_is_evaluated_of_a_split_is_each_loss_on_all_of_that_split(name: str) -> None:
    torch.manual_seed(0)
    task = tasks.create(name)
    flat = FlatModel(task.build(), "cpu")
    flat.module.eval()
    for split in task.splits:
        with torch.no_grad():
            found = task.evaluate(flat.model(), split)
            losses = list(task.losses(flat.model(), task.dataset.splits[split]))
        for objective, loss in zip(task.objectives, losses, strict=True):
            value = loss.value if isinstance(loss, tasks.Known) else loss
            assert found[objective] == pytest.approx(value.item(), rel=1e-4), (split, objective)


class TestFolder:
    """A folder in the hub's layout, made on the spot."""

    @pytest.fixture
    def folder(self, tmp_path, monkeypatch):
        import datasets
        import numpy as np

        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
        rng = np.random.default_rng(0)
        target = tmp_path / "data" / "ylecun" / "mnist" / "mnist"
        target.mkdir(parents=True)
        features = datasets.Features(
            {"image": datasets.Image(), "label": datasets.ClassLabel(names=[str(i) for i in range(10)])}
        )
        for split, size in (("train", 40), ("test", 20)):
            images = [rng.integers(0, 256, (28, 28), dtype=np.uint8) for _ in range(size)]
            rows = datasets.Dataset.from_dict(
                {"image": images, "label": [i % 10 for i in range(size)]}, features
            )
            rows.to_parquet(target / f"{split}-00000-of-00001.parquet")
        return tmp_path / "data"

    def test_is_read_like_the_hub(self, folder) -> None:
        data = tasks.create("smooth_mlp", data=str(folder)).dataset
        assert (data.source, data.name) == ("folder", "ylecun/mnist")
        assert data.splits["train"]["images"].shape == (36, 784)
        assert data.splits["test"]["labels"].tolist() == [i % 10 for i in range(20)]
        assert data.splits["train"]["images"].double().std(correction=0).item() == pytest.approx(1, rel=1e-6)

    def test_a_missing_folder_or_data_set_is_named(self, tmp_path) -> None:
        with pytest.raises(DataError, match="nowhere: no such folder"):
            _ = tasks.create("smooth_mlp", data=str(tmp_path / "nowhere")).dataset
        with pytest.raises(DataError, match=r"ylecun/mnist could not be read.*--data hub.*PATH.*embedded"):
            _ = tasks.create("smooth_mlp", data=str(tmp_path)).dataset

    def test_a_missing_column_is_named(self, folder) -> None:
        import pyarrow.parquet as pq

        file = folder / "ylecun" / "mnist" / "mnist" / "test-00000-of-00001.parquet"
        pq.write_table(pq.read_table(file).drop_columns("label"), file)
        with pytest.raises(DataError, match="ylecun/mnist, split test, row 0: no label"):
            _ = tasks.create("smooth_mlp", data=str(folder)).dataset
