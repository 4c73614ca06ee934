"""Next-byte prediction: the windows, the losses and their graphs, the evaluation."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from scalpel_bench.benchmarks.training import FlatModel
from tests.gradients import gradient
from tests.tasks.articles import contents, make, write_all


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_all(tmp_path / "data")


def test_windows_are_contiguous_text_of_their_own_corpus(folder) -> None:
    task = make(folder)
    files = contents(task)
    batches = task.batches(torch.Generator().manual_seed(0))
    seen = set()
    for batch in itertools.islice(batches, 50):
        for name, windows in batch.items():
            assert windows.shape == (4, 25)
            assert windows.dtype == torch.uint8
            for window in map(bytes, windows.tolist()):
                assert window in files["train", name]
                seen.add(window)
    assert len(seen) > 150


def test_a_stream_is_that_of_its_seed(folder) -> None:
    task = make(folder)

    def batches(seed: int):
        return task.batches(torch.Generator().manual_seed(seed))

    for a, b in itertools.islice(zip(batches(3), batches(3), strict=True), 5):
        assert all(torch.equal(a[name], b[name]) for name in ("main", "aux"))
    assert not torch.equal(next(batches(3))["main"], next(batches(4))["main"])


def test_a_later_byte_changes_no_earlier_prediction(folder) -> None:
    torch.manual_seed(0)
    model = FlatModel(make(folder).build(), "cpu").model()
    tokens = torch.randint(256, (2, 24))
    changed = tokens.clone()
    changed[:, 15] = (changed[:, 15] + 1) % 256
    with torch.no_grad():
        before, after = (model(input_ids=t).logits for t in (tokens, changed))
    torch.testing.assert_close(before[:, :15], after[:, :15])
    assert (before[:, 15:] - after[:, 15:]).abs().amax((0, 2)).min() > 1e-5


def test_losses_are_the_mean_nats_of_every_next_byte(folder) -> None:
    task = make(folder)
    model = FlatModel(task.build(), "cpu").model()
    batch = next(task.batches(torch.Generator().manual_seed(0)))
    for name, loss in zip(task.objectives, task.losses(model, batch), strict=True):
        log_p = model(input_ids=batch[name][:, :-1].long()).logits.log_softmax(-1)
        expected = [-log_p[i, j, int(batch[name][i, j + 1])] for i in range(4) for j in range(24)]
        torch.testing.assert_close(loss, torch.stack(expected).mean())
        assert loss.item() == pytest.approx(math.log(256), abs=0.3)


def test_evaluation_takes_evenly_spaced_windows_whatever_the_seed(folder) -> None:
    task = make(folder, evaluation_windows=7)
    model = FlatModel(task.build(), "cpu").model()
    corpus = task.dataset.splits["test"]["aux"]
    starts = np.linspace(0, len(corpus) - 25, 7).astype(int)
    windows = torch.stack([corpus[s : s + 25] for s in starts]).long()
    with torch.no_grad():
        logits = model(input_ids=windows[:, :-1]).logits
        torch.manual_seed(1)
        metrics = task.evaluate(model, "test")
        torch.manual_seed(2)
        assert task.evaluate(model, "test") == metrics
    expected = cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten()).item()
    assert metrics["aux"] == pytest.approx(expected, rel=1e-6)
    for name in ("main", "aux"):
        assert metrics[f"{name}_bits_per_byte"] == pytest.approx(metrics[name] / math.log(2))


def test_the_first_graph_is_dead_when_the_second_is_built(folder) -> None:
    task, alive, most = make(folder), 0, []

    class Saved:
        def __init__(self, tensor: torch.Tensor) -> None:
            nonlocal alive
            self.tensor, alive = tensor, alive + 1

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    flat = FlatModel(task.build(), "cpu")
    batch = next(task.batches(torch.Generator().manual_seed(0)))
    with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor):
        for loss in task.losses(flat.model(), batch):
            most.append(alive)
            gradient(flat, loss)
    assert most[0] == most[1] > 20
    assert not task.shared_forward


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"context": 0}, "context must be at least 1, got 0"),
        ({"aux_articles": 0}, "aux_articles must be at least 1"),
        ({"width": 15}, "width 15 must be a multiple of heads 2"),
        (
            {"aux_validation_articles": 3, "validation_fraction": 0.0},
            "aux_validation_articles: with a validation_fraction of 0 there is no validation",
        ),
        ({"validation_fraction": 1.0}, r"validation_fraction must lie in \[0, 1\), got 1"),
        ({"specialised": "rcv2"}, "specialised must be reuters21578 or rcv1, got 'rcv2'"),
    ],
)
def test_settings_outside_their_range_are_refused(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        make(Path(), **settings)
