"""Fourteen labels: losses by hand, and files that are not what they should be."""

import gzip
from importlib.util import find_spec

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from scalpel_bench import tasks
from scalpel_bench.benchmarks.training import FlatModel
from scalpel_bench.tasks import DataError

HEADER = ",".join([*(f"Att{i}" for i in range(1, 104)), *(f"Class{i}" for i in range(1, 15))])


@pytest.fixture
def folder(tmp_path):
    generator = torch.Generator().manual_seed(0)
    rows = [
        [*(f"{x:.4f}" for x in torch.randn(103, generator=generator).tolist())]
        + [str(int(x)) for x in torch.randint(2, (14,), generator=generator)]
        for _ in range(60)
    ]
    written(tmp_path, [HEADER, *(",".join(row) for row in rows)])
    return tmp_path


def written(folder, lines: list[str]) -> None:
    (folder / "yeast").mkdir(exist_ok=True)
    with gzip.open(folder / "yeast" / "yeast.csv.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def lines(folder) -> list[str]:
    with gzip.open(folder / "yeast" / "yeast.csv.gz", "rt", encoding="utf-8") as file:
        return file.read().splitlines()


def test_each_label_is_an_objective(folder) -> None:
    task = tasks.create("many_labels", data=str(folder), batch_size=8)
    torch.manual_seed(0)
    flat = FlatModel(task.build(), "cpu")
    split = task.dataset.splits["test"]
    logits = flat.model()(split["features"])
    losses = torch.stack(list(task.losses(flat.model(), split)))
    assert len(losses) == len(task.objectives) == 14
    for k in (0, 5, 13):
        expected = binary_cross_entropy_with_logits(logits[:, k], split["labels"][:, k])
        torch.testing.assert_close(losses[k], expected)
    metrics = task.evaluate(flat.model(), "test")
    assert metrics["label_6"] == pytest.approx(losses[5].item())
    assert metrics["aux"] == pytest.approx(losses[1:].sum().item(), rel=1e-5)
    wrong = (logits > 0).float() != split["labels"]
    assert metrics["hamming"] == pytest.approx(wrong.double().mean().item())


def test_splits_and_scales_are_those_of_train(folder) -> None:
    splits = tasks.create("many_labels", data=str(folder), batch_size=8).dataset.splits
    assert {name: len(split["labels"]) for name, split in splits.items()} == {
        "train": 34,
        "validation": 8,
        "test": 18,
    }
    torch.testing.assert_close(splits["train"]["features"].mean(0), torch.zeros(103), atol=1e-6, rtol=0)
    torch.testing.assert_close(splits["train"]["features"].std(0, correction=0), torch.ones(103))


def test_a_byte_order_mark_is_no_part_of_the_header(folder) -> None:
    plain = tasks.create("many_labels", data=str(folder), batch_size=8).dataset.fingerprint
    written(folder, ["\ufeff" + lines(folder)[0], *lines(folder)[1:]])
    assert tasks.create("many_labels", data=str(folder), batch_size=8).dataset.fingerprint == plain


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [rows[0].replace("Att2,", "Att3,", 1), *rows[1:]], "expected rows of Att1 to Att103"),
        (lambda rows: [], "expected rows of Att1 to Att103"),
        (lambda rows: [rows[0], "1_0" + rows[1][rows[1].index(",") :]], "row 0: expected 103 numbers"),
        (lambda rows: rows[:1], "expected rows of Att1 to Att103"),
        (lambda rows: [*rows[:3], rows[3] + ",1"], "row 2: expected 103 numbers, and 14 of 0 or 1"),
        (lambda rows: [rows[0], rows[1][:-1] + "2"], "row 0: expected 103 numbers, and 14 of 0 or 1"),
        (lambda rows: [rows[0], "nan" + rows[1][rows[1].index(",") :]], "row 0: expected 103 numbers"),
        (lambda rows: [rows[0], "x" + rows[1]], "row 0: expected 103 numbers"),
    ],
)
def test_a_file_that_is_not_the_data_is_refused(folder, change, message: str) -> None:
    written(folder, change(lines(folder)))
    with pytest.raises(DataError, match=f"data set yeast: .*{message}") as caught:
        _ = tasks.create("many_labels", data=str(folder)).dataset
    assert "\n" not in str(caught.value)


def test_missing_data_names_the_ways_to_it(tmp_path, monkeypatch) -> None:
    with pytest.raises(DataError, match="no such file: install it .*river.*--data PATH"):
        _ = tasks.create("many_labels", data=str(tmp_path)).dataset
    with pytest.raises(DataError, match="yeast is not on the hub: use --data embedded"):
        _ = tasks.create("many_labels", data="hub").dataset
    monkeypatch.setattr("scalpel_bench.tasks.data.multilabel.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"river, which is not installed: install it \(pip install river\)"):
        _ = tasks.create("many_labels").dataset


@pytest.mark.skipif(not find_spec("river"), reason="river is not installed")
def test_the_data_are_those_of_the_source() -> None:
    splits = tasks.create("many_labels").dataset.splits
    labels = torch.cat([split["labels"] for split in splits.values()])
    assert labels.shape == (2417, 14)
    assert labels.sum(0).int().tolist()[:3] == [762, 1038, 983]


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"hidden must be widths of at least 1, got \[\]"):
        tasks.create("many_labels", hidden=[])
