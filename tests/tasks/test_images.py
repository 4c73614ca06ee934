"""The path of images from files to batches: reading, checking, augmenting, streaming."""

import io
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scalpel_bench import tasks
from scalpel_bench.benchmarks.execution.loaded_tasks import _kept_data
from scalpel_bench.benchmarks.messages import UserError
from scalpel_bench.tasks import DataError
from scalpel_bench.tasks.cifar_mnist import OPACITY, overlay
from scalpel_bench.tasks.data import crop_flip
from scalpel_bench.tasks.data.images import (
    CIFAR10,
    FASHION_MNIST,
    MNIST,
    ImageSet,
    ResidentImages,
    load_images,
    read_images,
    stream_images,
)
from scalpel_bench.tasks.data.images.stream import StreamedImages

TINY = ImageSet("ILSVRC/imagenet-1k", "image", "label", None, 1000)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Writes data sets in the hub's layout; returns the folder."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "data"

    def write(known: ImageSet, splits: dict, classes: int | None = None, drop: str | None = None):
        names = [str(i) for i in range(classes or known.classes)]
        features = datasets.Features(
            {known.image: datasets.Image(), known.label: datasets.ClassLabel(names=names)}
        )
        target = folder / known.name / "data"
        target.mkdir(parents=True, exist_ok=True)
        for split, rows in splits.items():
            cells = [data and {"bytes": data, "path": None} for data, _ in rows]
            table = {known.image: cells, known.label: [label for _, label in rows]}
            written = datasets.Dataset.from_dict(table, features)
            if drop:
                written = written.remove_columns(drop)
            written.to_parquet(target / f"{split}-00000-of-00001.parquet")
        return str(folder)

    return write


def png(shape: tuple[int, int, int], value: int = 0) -> bytes:
    return encoded(np.random.default_rng(value).integers(0, 256, shape, dtype=np.uint8))


def encoded(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(buffer, "png")
    return buffer.getvalue()


def rows(shape: tuple[int, int, int], size: int, classes: int = 10) -> list[tuple[bytes, int]]:
    return [(png(shape, i), i % classes) for i in range(size)]


def cifar(size: int = 6) -> list[tuple[bytes, int]]:
    return rows((32, 32, 3), size)


def test_decoded_images_are_those_of_the_files_and_come_from_a_cache_later(hub, tmp_path) -> None:
    folder = hub(CIFAR10, {"train": cifar(), "test": cifar(4)})
    for _ in range(2):
        splits = read_images(CIFAR10, folder)
        assert splits["train"]["images"].shape == (6, 32, 32, 3)
        expected = np.asarray(Image.open(io.BytesIO(png((32, 32, 3), 3))))
        assert np.array_equal(splits["train"]["images"][3].numpy(), expected)
        assert splits["test"]["labels"].tolist() == [0, 1, 2, 3]
        assert len(list((tmp_path / "cache" / "scalpel").glob("uoft-cs-cifar10-*.npy"))) == 2


def test_a_changed_data_set_is_decoded_again(hub) -> None:
    folder = hub(CIFAR10, {"train": cifar(), "test": cifar(4)})
    first = read_images(CIFAR10, folder)["train"]["images"].clone()
    hub(CIFAR10, {"train": cifar()[::-1], "test": cifar(4)})
    assert torch.equal(read_images(CIFAR10, folder)["train"]["images"], first.flip(0))


@pytest.mark.parametrize(
    ("train", "options", "message"),
    [
        ([*cifar(2), (b"no image", 1)], {}, "split train, row 2: the image is missing or corrupt"),
        ([*cifar(2), (png((32, 32, 3))[:100], 1)], {}, "split train, row 2: the image is missing or corrupt"),
        ([*cifar(2), (None, 1)], {}, "split train, row 2: the image is missing or corrupt"),
        ([*cifar(2), (png((28, 30, 3)), 1)], {}, "row 2: the image is 30x28 pixels, expected 32x32"),
        ([*cifar(2), (png((32, 32, 3)), None)], {}, "split train, row 2: no label"),
        (cifar(2), {"drop": "label"}, "split train: no column 'label'; it has img"),
        (cifar(2), {"drop": "img"}, "split train: no column 'img'; it has label"),
        (cifar(2), {"classes": 12}, "split train: 12 classes in column 'label', expected 10"),
    ],
)
def test_bad_rows_are_named(hub, train, options, message) -> None:
    folder = hub(CIFAR10, {"train": train, "test": cifar(2)}, **options)
    with pytest.raises(DataError, match=f"data set uoft-cs/cifar10, .*{message}"):
        read_images(CIFAR10, folder)


def test_a_missing_split_is_named(hub) -> None:
    with pytest.raises(DataError, match=r"uoft-cs/cifar10 has no split 'test'; it has train"):
        read_images(CIFAR10, hub(CIFAR10, {"train": cifar()}))


def test_a_sweep_ends_with_one_line_on_a_corrupt_image(hub, tmp_path, capsys, monkeypatch) -> None:
    from scalpel_bench.benchmarks import cli

    folder = hub(CIFAR10, {"train": [*cifar(2), (b"no image", 1)], "test": cifar(2)})
    command = ["scalpel", "sweep", "fig4", "--scale", "smoke", "--data", folder]
    monkeypatch.setattr("sys.argv", [*command, "--results", str(tmp_path / "results")])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    shown = " ".join(capsys.readouterr().err.split())
    assert "data set uoft-cs/cifar10, split train, row 2: the image is missing or corrupt" in shown
    assert "Traceback" not in shown


class TestCropFlip:
    def test_without_padding_and_flip_nothing_changes(self) -> None:
        images = torch.arange(2 * 4 * 5 * 3).reshape(2, 4, 5, 3)
        assert torch.equal(crop_flip(images, 0, False, generator()), images)

    def test_every_image_is_a_window_of_its_padded_self(self) -> None:
        images = torch.rand(200, 4, 4, 1, generator=generator())
        shifted = crop_flip(images, 1, True, generator(1))
        seen = set()
        for image, result in zip(images.squeeze(-1), shifted.squeeze(-1), strict=True):
            padded = torch.nn.functional.pad(image, (1, 1, 1, 1))
            windows = {
                (top, left, flip): torch.equal(result.flip(1) if flip else result, w)
                for top in range(3)
                for left in range(3)
                for flip in (False, True)
                for w in [padded[top : top + 4, left : left + 4]]
            }
            (found,) = [window for window, same in windows.items() if same]
            seen.add(found)
        assert len(seen) == 18

    def test_the_generator_alone_decides(self) -> None:
        images = torch.rand(8, 4, 4, 3, generator=generator())
        a, b, c = (crop_flip(images, 2, True, generator(seed)) for seed in (1, 1, 2))
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


@pytest.mark.parametrize("name", ["cifar_mnist", "small_weights"])
def test_a_task_trains_on_images_shifted_by_its_padding_and_mirrored_where_it_says_so(name) -> None:
    def first(**settings) -> torch.Tensor:
        return next(tasks.create(name, **settings).batches(generator()))["images"]

    plain = first(padding=0, flip=False)
    flipped, shifted = first(padding=0, flip=True), first(padding=2, flip=False)
    mirrored = [not torch.equal(a, b) for a, b in zip(plain, flipped, strict=True)]
    assert 0 < sum(mirrored) < len(plain)
    assert all(torch.equal(a.flip(1), b) for a, b, m in zip(plain, flipped, mirrored, strict=True) if m)
    assert not torch.equal(plain, shifted)
    assert (shifted == 0).float().mean() > (plain == 0).float().mean()


class TestResident:
    @pytest.fixture
    def images(self) -> ResidentImages:
        pixels = torch.randint(256, (10, 4, 4, 3), dtype=torch.uint8, generator=generator())
        split = {"images": pixels, "labels": torch.arange(10) % 3}
        return ResidentImages("embedded", "random", {"train": split, "test": split})

    def test_moments_are_those_of_the_pixels(self, images) -> None:
        pixels = images.splits["train"]["images"].double().flatten(0, 2)
        mean, std = images.moments()
        torch.testing.assert_close(mean.double(), pixels.mean(0), rtol=1e-6, atol=0)
        torch.testing.assert_close(std.double(), pixels.std(0, correction=0), rtol=1e-6, atol=0)
        assert images.classes == 3

    def test_in_order_is_the_beginning_of_a_split(self, images, monkeypatch) -> None:
        monkeypatch.setattr("scalpel_bench.tasks.data.images.resident.CHUNK", 3)
        chunks = list(images.in_order("test", 7))
        assert [len(chunk["labels"]) for chunk in chunks] == [3, 3, 1]
        assert torch.equal(torch.cat([c["images"] for c in chunks]), images.splits["test"]["images"][:7])
        assert sum(len(chunk["labels"]) for chunk in images.in_order("test")) == 10


class TestCifarMnist:
    def test_a_digit_is_blended_where_it_is_above_zero(self) -> None:
        photographs = torch.full((1, 2, 2, 3), 100, dtype=torch.uint8)
        digits = torch.tensor([[[[0], [255]], [[51], [0]]]], dtype=torch.uint8)
        mixed = overlay(photographs, digits)[0, :, :, 0]
        expected = [[100, 100 * (1 - OPACITY) + 255 * OPACITY], [100 * (1 - OPACITY) + 51 * OPACITY, 100]]
        assert mixed.tolist() == [[round(v) for v in line] for line in expected]

    def test_pairs_follow_the_order_of_the_splits(self, hub) -> None:
        hub(MNIST, {"train": rows((28, 28, 1), 30), "test": rows((28, 28, 1), 12)})
        folder = hub(CIFAR10, {"train": cifar(20), "test": cifar(8)})
        task = tasks.create("cifar_mnist", data=folder, validation_fraction=0.0)
        test = task.dataset.splits["test"]
        assert test["labels"].tolist() == test["digits"].tolist() == list(range(8))
        below, above = (read_images(known, folder)["test"]["images"] for known in (CIFAR10, MNIST))
        assert torch.equal(test["images"], overlay(below, above[:8]))
        assert len(task.dataset.splits["train"]["images"]) == 20
        assert task.dataset.name == "uoft-cs/cifar10 and ylecun/mnist"

    def test_both_losses_share_one_forward_pass(self) -> None:
        task = tasks.create("cifar_mnist")
        module, calls = task.build(), []
        module.register_forward_hook(lambda *_: calls.append(1))
        model = tasks.Model(module, dict(module.named_parameters()), dict(module.named_buffers()))
        list(task.losses(model, next(task.batches(generator()))))
        assert len(calls) == 1


def test_digits_and_clothes_are_overlaid_from_their_own_folders(hub) -> None:
    hub(MNIST, {"train": rows((28, 28, 1), 30), "test": rows((28, 28, 1), 12)})
    settings = {"images": "fashion_and_mnist", "validation_fraction": 0.0}
    folder = str(hub(FASHION_MNIST, {"train": rows((28, 28, 1), 20), "test": rows((28, 28, 1), 8)}))
    task = tasks.create("multi_digits", data=folder, **settings)
    assert task.dataset.name == "ylecun/mnist and zalando-datasets/fashion_mnist"
    sizes = {split: len(tensors["images"]) for split, tensors in task.dataset.splits.items()}
    assert sizes == {"train": 30, "test": 12}
    clothes = read_images(FASHION_MNIST, folder)["test"]["labels"]
    assert set(task.dataset.splits["test"]["bottom_right"].tolist()) <= set(clothes.tolist())
    robustness = tasks.create("robustness", data=folder, images="fashion_mnist").dataset
    assert (robustness.name, len(robustness.splits["test"]["images"])) == (FASHION_MNIST.name, 8)


class TestStream:
    @pytest.fixture(autouse=True)
    def no_pause(self, monkeypatch) -> None:
        import datasets

        monkeypatch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0)  # 5 s a pass

    @pytest.fixture
    def folder(self, hub) -> str:
        train = [(png((20 + i, 24, 3), i), i) for i in range(30)]
        return hub(TINY, {"train": train, "validation": train[:7]})

    def test_batches_are_scaled_shuffled_and_decided_by_the_generator(self, folder) -> None:
        images = stream_images(TINY, folder, side=16, workers=1)
        assert (images.classes, images.steps(8), list(images.splits)) == (1000, 3, ["train", "test"])
        first, again, other = (images.batches(8, generator(seed)) for seed in (1, 1, 2))
        a, b, c = next(first), next(again), next(other)
        assert a["images"].shape == (8, 16, 16, 3)
        assert a["images"].dtype == torch.uint8
        assert torch.equal(a["images"], b["images"])
        assert torch.equal(a["labels"], b["labels"])
        assert not torch.equal(a["labels"], c["labels"])
        later = torch.cat([a["labels"], *(next(first)["labels"] for _ in range(2))])
        assert len(set(later.tolist())) == 24

    def test_moments_are_those_that_torchvision_names(self) -> None:
        mean, deviation = StreamedImages("folder", "any", {}).moments()
        torch.testing.assert_close(mean / 255, torch.tensor([0.485, 0.456, 0.406]), atol=1e-4, rtol=0)
        torch.testing.assert_close(deviation / 255, torch.tensor([0.229, 0.224, 0.225]), atol=1e-4, rtol=0)

    def test_a_pass_of_several_workers_is_of_whole_batches_and_as_long_as_is_said(self, hub, folder) -> None:
        whole = next(Path(folder).rglob("train-*.parquet"))
        for shard in range(2):
            hub(TINY, {"train": [(png((20, 20, 3), i), i) for i in range(15 * shard, 15 * shard + 15)]})
            whole.rename(whole.with_name(f"train-{shard:05}-of-00002.parquet"))
        images = stream_images(TINY, folder, side=16, workers=2)
        for size in (8, 16):  # each worker has 15
            steps = images.steps(size)
            batches = list(islice(images.batches(size, generator()), steps))
            assert steps == 30 // size
            assert len(torch.cat([batch["labels"] for batch in batches]).unique()) == steps * size
            assert all(batch["images"].shape == (size, 16, 16, 3) for batch in batches)

    def test_in_order_is_the_middle_of_each_image(self, folder) -> None:
        images = stream_images(TINY, folder, side=16, workers=1)
        chunks = list(images.in_order("test", 5))
        assert torch.cat([chunk["labels"] for chunk in chunks]).tolist() == [0, 1, 2, 3, 4]
        again = list(images.in_order("test", 5))
        assert torch.equal(chunks[0]["images"], again[0]["images"])

    def test_only_the_middle_of_an_image_is_seen_in_order(self, hub) -> None:
        """It is black all around, and the middle 32 x 32 is white."""
        held = np.zeros((36, 36, 3), dtype=np.uint8)
        held[2:-2, 2:-2] = 255
        rows = [(encoded(held), 0)] * 2
        images = stream_images(TINY, hub(TINY, {"train": rows, "validation": rows}), side=32, workers=1)
        (chunk,) = images.in_order("test")
        assert chunk["images"].float().mean() > 250

    def test_half_of_the_images_are_mirrored_in_training(self, hub) -> None:
        """White on the left: a crop of it, whatever its place, is no darker there than on the right."""
        held = np.zeros((32, 32, 3), dtype=np.uint8)
        held[:, :16] = 255
        rows = [(encoded(held), 0)] * 64
        images = stream_images(TINY, hub(TINY, {"train": rows, "validation": rows[:2]}), side=32, workers=1)
        seen = next(images.batches(64, generator()))["images"].float()
        left, right = seen[:, :, :16].mean((1, 2, 3)), seen[:, :, 16:].mean((1, 2, 3))
        assert (left > right).sum() > 15
        assert (left < right).sum() > 15

    def test_a_corrupt_image_is_named(self, hub) -> None:
        train = [(png((20, 20, 3), i), i) for i in range(4)]
        folder = hub(TINY, {"train": train, "validation": [*train, (b"no image", 2)]})
        with pytest.raises(DataError) as error:
            list(stream_images(TINY, folder, side=16, workers=1).in_order("test"))
        assert str(error.value).startswith(
            "data set ILSVRC/imagenet-1k, split validation, row 4 of the stream"
        )
        assert "\n" not in str(error.value)

    def test_a_fingerprint_is_of_the_files(self, hub, folder) -> None:
        first = stream_images(TINY, folder).fingerprint
        assert stream_images(TINY, folder).fingerprint == first
        hub(TINY, {"validation": [(png((20, 20, 3)), 1)]})
        assert stream_images(TINY, folder).fingerprint != first

    def test_columns_and_splits_are_checked_before_anything_is_read(self, hub) -> None:
        folder = hub(TINY, {"train": [(png((20, 20, 3)), 1)]})
        with pytest.raises(DataError, match="has no split 'validation'"):
            stream_images(TINY, folder)
        hub(TINY, {"train": [(png((20, 20, 3)), 1)], "validation": [(png((20, 20, 3)), 1)]}, classes=10)
        with pytest.raises(DataError, match="10 classes in column 'label', expected 1000"):
            stream_images(TINY, folder)

    def test_small_weights_trains_on_a_stream(self, folder) -> None:
        settings = {"images": "imagenet", "blocks": "resnet8", "width": 4, "stem": "7x7", "batch_size": 4}
        task = tasks.create("small_weights", data=folder, validation_fraction=0.0, **settings)
        task.dataset = stream_images(TINY, folder, side=16, workers=1)
        module = task.build()
        model = tasks.Model(module, dict(module.named_parameters()), dict(module.named_buffers()))
        main, aux = task.losses(model, next(task.batches(generator())))
        assert main.isfinite()
        assert aux.value > 0
        assert set(task.evaluate(model, "test")) == {"main", "aux", "accuracy"}


@pytest.mark.parametrize(
    ("task", "settings", "message"),
    [
        (
            "small_weights",
            {"images": "svhn"},
            "image data set 'svhn'; known: mnist, cifar10, imagenet",
        ),
        ("two_datasets", {"aux_images": "svhn"}, "unknown image data set 'svhn'"),
        ("small_weights", {"decay": "some"}, "decay must be one of all, matrices, got 'some'"),
        ("cifar_mnist", {"blocks": "resnet9"}, "blocks must be one of resnet8, .*, got 'resnet9'"),
        ("cifar_mnist", {"stem": "5x5"}, "stem must be one of 7x7, .*, got '5x5'"),
        ("cifar_mnist", {"width": 0}, "width must be at least 1, got 0"),
        ("cifar_mnist", {"padding": -1}, "padding must be at least 0, got -1"),
        ("cifar_mnist", {"evaluation_limit": 0}, "evaluation_limit must be at least 1, got 0"),
    ],
)
def test_bad_settings_are_refused_when_a_task_is_made(task, settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        tasks.create(task, **settings)


def test_a_stream_has_no_validation_split(tmp_path) -> None:
    with pytest.raises(ValueError, match="imagenet is streamed, and has no validation split"):
        load_images("imagenet", str(tmp_path), 0.1, 0, False)


@pytest.mark.parametrize("held", [0, 40, 2000])
def test_decoded_images_that_were_cut_off_are_one_clear_line(held: int, hub, tmp_path) -> None:
    folder = hub(MNIST, {"train": rows((28, 28, 1), 6), "test": rows((28, 28, 1), 6)})
    read_images(MNIST, folder)
    (kept,) = (tmp_path / "cache").glob("scalpel/*-train-*.npy")
    kept.write_bytes(kept.read_bytes()[:held])
    with (
        pytest.raises(UserError, match="its data cannot be loaded .* remove what is damaged"),
        _kept_data("multi_digits", {}),
    ):
        read_images(MNIST, folder)
