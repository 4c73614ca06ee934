"""Two images in one: how they are composed, and the network that tells them apart."""

import pytest
import torch
from torch.nn.functional import cross_entropy, max_pool2d, relu

from scalpel_bench import tasks
from scalpel_bench.tasks import DataError
from scalpel_bench.tasks.data.images import load_grey
from scalpel_bench.tasks.models import LeNet
from scalpel_bench.tasks.multi_digits import composed, of_another_class


def drawn(count: int, side: int, seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (count, side, side, 1), generator=generator, dtype=torch.uint8)
    return {"images": images, "labels": torch.arange(count) % 10}


def marked(count: int, value: int) -> dict[str, torch.Tensor]:
    """Black images of 28 x 28 pixels, the first pixel apart."""
    images = torch.zeros(count, 28, 28, 1, dtype=torch.uint8)
    images[:, 0, 0] = value
    return {"images": images, "labels": torch.arange(count) % 10}


def model_of(task: tasks.Task) -> tasks.Model:
    module = task.build()
    return tasks.Model(module, dict(module.named_parameters()), dict(module.named_buffers()))


def test_two_images_are_added_up_to_255_each_near_its_corner() -> None:
    first, second = drawn(12, 7, 0), drawn(5, 7, 1)
    found = composed(first, second, False, 2, "x")
    assert found["images"].shape == (24, 9, 9, 1)
    assert found["top_left"].tolist() == [i // 2 % 10 for i in range(24)]
    for i, (image, label) in enumerate(zip(found["images"], found["bottom_right"].tolist(), strict=True)):
        above, below = first["images"][i // 2].int(), second["images"][label].int()
        fits = []
        for place in range(16):
            up, left, down, right = ((place >> k) & 1 for k in range(4))
            square = torch.zeros(9, 9, 1, dtype=torch.int32)
            square[up : up + 7, left : left + 7] += above
            square[1 + down : 8 + down, 1 + right : 8 + right] += below
            same_place = (up, left) == (1 + down, 1 + right)
            fits += [(torch.equal(square.clamp(max=255), image.int()), same_place)]
        assert fits.count((True, False)) == 1
        assert (True, True) not in fits


def test_every_placement_but_that_of_both_in_one_place_is_equally_likely() -> None:
    count = 31_200
    images = composed(marked(count, 1), marked(count, 2), False, 1, "x")["images"].flatten(1)
    (above, below) = ((images == value).int().argmax(1) for value in (1, 2))
    seen = torch.bincount(above * images.shape[1] + below).long()
    seen = seen[seen > 0]
    assert images.shape[1] == 36 * 36
    assert not (images == 3).any()
    assert len(seen) == 5**4 - 1
    assert ((seen - 50.0).square() / 50).sum() < 624 + 5 * (2 * 624) ** 0.5  # chi square
    assert {(v // 36, v % 36) for v in above.tolist()} == {(r, c) for r in range(5) for c in range(5)}
    assert {(v // 36, v % 36) for v in below.tolist()} == {(4 + r, 4 + c) for r in range(5) for c in range(5)}


def test_a_partner_is_any_image_of_another_class_with_equal_probability() -> None:
    among = torch.tensor([3, 0, 3, 1, 3, 0])
    labels = torch.tensor([3, 1]).repeat_interleave(9000)
    place = of_another_class(labels, among, torch.Generator().manual_seed(0))
    for label in (3, 1):
        others = [i for i, other in enumerate(among.tolist()) if other != label]
        counts = torch.bincount(place[labels == label], minlength=len(among))
        assert counts.nonzero().flatten().tolist() == others
        expected = 9000 / len(others)
        assert (counts[others] - expected).abs().max() < 5 * expected**0.5


def test_one_class_alone_is_refused() -> None:
    rows = drawn(6, 7, 0) | {"labels": torch.zeros(6, dtype=torch.int64)}
    with pytest.raises(DataError, match=r"mnist, train: all images are of one class, expected two or more"):
        composed(rows, rows, True, 1, "mnist, train")


def test_validation_is_carved_before_images_are_composed() -> None:
    task = tasks.create("multi_digits", overlays=2)
    digits = load_grey("mnist", "embedded", 0.1)
    sizes = {split: len(rows["images"]) for split, rows in task.dataset.splits.items()}
    assert sizes == {"train": 2588, "validation": 288, "test": 718}
    own = digits.splits["validation"]
    expected = composed(own, own, True, 2, "x")
    assert all(torch.equal(rows, expected[key]) for key, rows in task.dataset.splits["validation"].items())
    for rows in task.dataset.splits.values():
        assert (rows["top_left"] != rows["bottom_right"]).all()


def test_sets_differ_and_only_one_set_excludes_equal_classes() -> None:
    assert (
        tasks.create("multi_digits").dataset.fingerprint == tasks.create("multi_digits").dataset.fingerprint
    )
    mixed = tasks.create("multi_digits", images="fashion_and_mnist").dataset.splits["train"]
    assert 0.05 < (mixed["top_left"] == mixed["bottom_right"]).double().mean() < 0.15


def test_the_main_loss_is_of_the_top_left_and_both_share_a_forward_pass() -> None:
    task = tasks.create("multi_digits")
    model, batch = model_of(task), next(task.batches(torch.Generator().manual_seed(0)))
    calls: list[int] = []
    model.module.register_forward_hook(lambda *_: calls.append(1))
    main, aux = task.losses(model, batch)
    assert calls == [1]
    first, second = model(batch["images"])
    assert torch.equal(main, cross_entropy(first, batch["top_left"]))
    assert torch.equal(aux, cross_entropy(second, batch["bottom_right"]))


def test_evaluation_is_of_the_first_images_of_a_split() -> None:
    task = tasks.create("multi_digits", evaluation_limit=70)
    model, rows = model_of(task), {k: v[:70] for k, v in task.dataset.splits["test"].items()}
    found = task.evaluate(model, "test")
    for logits, place, loss, accuracy in zip(
        model(rows["images"]),
        ("top_left", "bottom_right"),
        ("main", "aux"),
        ("accuracy", "aux_accuracy"),
        strict=True,
    ):
        assert found[loss] == pytest.approx(cross_entropy(logits, rows[place]).item(), rel=1e-6)
        assert found[accuracy] == (logits.argmax(1) == rows[place]).double().mean().item()


def test_the_network_is_that_of_lin_et_al() -> None:
    torch.manual_seed(0)
    net = LeNet(36, (10, 20), (9, 5), 50, (10, 10))
    assert sum(p.numel() for p in net.parameters()) == 31_910
    images = torch.randn(3, 1, 36, 36)
    features = max_pool2d(relu(net.first(images)), 2)
    features = max_pool2d(relu(net.second(features)), 2).reshape(3, 5 * 5 * 20)
    expected = [head(relu(net.hidden(features))) for head in net.heads]
    for found, logits in zip(net(images), expected, strict=True):
        assert torch.equal(found, logits)


@pytest.mark.parametrize("name", ["multi_digits", "robustness"])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"images": "svhn"}, "images must be one of .*, got 'svhn'"),
        ({"channels": [10]}, r"channels must be a list of 2 whole numbers, got \[10\]"),
        ({"kernels": [5, 0]}, r"kernels must be two numbers of at least 1, got \[5, 0\]"),
        ({"hidden": 0}, "hidden must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
    ],
)
def test_bad_settings_are_refused(name, settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        tasks.create(name, **settings)


def test_no_overlays_and_kernels_larger_than_the_images_are_refused() -> None:
    with pytest.raises(ValueError, match="overlays must be at least 1, got 0"):
        tasks.create("multi_digits", overlays=0)
    with pytest.raises(ValueError, match=r"kernels \[9, 5\] are too large for images of 10 x 10 pixels"):
        tasks.create("multi_digits", kernels=[9, 5]).build()
