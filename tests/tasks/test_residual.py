"""Residual networks against torchvision's."""

import pytest
import torch
import torchvision
from torch import nn

from scalpel_bench.benchmarks.training import FlatModel
from scalpel_bench.tasks.bases import Score
from scalpel_bench.tasks.models import ResidualNet, Standardise

MOMENTS = torch.tensor([120.0, 110.0, 100.0]), torch.tensor([60.0, 61.0, 62.0])


def images(size: int = 2, side: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (size, side, side, 3), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_full_width_is_torchvisions(name: str) -> None:
    theirs = getattr(torchvision.models, name)(num_classes=7).double()
    ours = nn.Sequential(Standardise(*MOMENTS), ResidualNet(name, 64, "7x7", 3, (7,))).double()
    values = iter(theirs.state_dict().values())
    state = {k: v if k in ("0.mean", "0.std") else next(values) for k, v in ours.state_dict().items()}
    assert next(values, None) is None
    ours.load_state_dict(state)
    pixels = images(4, 32)
    standard = ((pixels.double() - MOMENTS[0]) / MOMENTS[1]).permute(0, 3, 1, 2)
    for training in (True, False):
        (logits,) = ours.train(training)(pixels)
        torch.testing.assert_close(logits, theirs.train(training)(standard))


def test_convolutions_start_as_torchvisions() -> None:
    torch.manual_seed(0)
    theirs = [p for p in torchvision.models.resnet18().parameters() if p.dim() == 4]
    ours = [p for p in ResidualNet("resnet18", 64, "7x7", 3, (10,)).parameters() if p.dim() == 4]
    for a, b in zip(ours, theirs, strict=True):
        assert a.std().item() == pytest.approx(b.std().item(), rel=0.05)


@pytest.mark.parametrize(("stem", "side"), [("7x7", 8), ("3x3", 32), ("3x3/2", 16)])
def test_stems_and_heads(stem: str, side: int) -> None:
    pixels = images().permute(0, 3, 1, 2).float()
    net = ResidualNet("resnet8", 4, stem, 3, (10, 3))
    first = net.trunk[:4] if stem == "7x7" else net.trunk[:3]
    assert first(pixels).shape == (2, 4, side, side)
    assert [logits.shape for logits in net(pixels)] == [(2, 10), (2, 3)]


def test_channels_last_is_a_permutation_of_the_flat_vector() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(Standardise(*MOMENTS), ResidualNet("resnet8", 4, "3x3", 3, (10,))).double()
    plain, last = FlatModel(module, "cpu"), FlatModel(module, "cpu", channels_last=True)
    weight = last.model().parameters["1.trunk.0.weight"]
    assert weight.is_contiguous(memory_format=torch.channels_last)
    gradients = []
    for flat in (plain, last):
        row = torch.empty_like(flat.theta)
        (logits,) = flat.model()(images())
        flat.gradient(logits.square().sum(), row, keep=False)
        gradients.append(flat.parts(row))
    for name in gradients[0]:
        torch.testing.assert_close(gradients[0][name], gradients[1][name])


def test_scores_of_chunks_are_those_of_the_whole() -> None:
    logits = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(10) % 4
    score = Score()
    for chunk in (slice(0, 3), slice(3, 10)):
        score.add(logits[chunk], labels[chunk])
    loss, accuracy = score.values()
    assert loss == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)
    assert accuracy == (logits.argmax(1) == labels).double().mean().item()
