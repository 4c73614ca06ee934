"""What the tests of `tasks.translation` and of its data share."""

from itertools import pairwise

from scalpel_bench.benchmarks.experiments.loading import load
from scalpel_bench.benchmarks.experiments.schema import Experiment

SMALL = {"vocabulary": 300, "batch_size": 8, "width": 32, "heads": 2, "feed_forward": 64, "max_length": 40}


def write_lines(file, lines) -> None:
    file.write_bytes(b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines))


def phrases(task, split: str, objective: str, side: str) -> list[list[int]]:
    data = task.dataset.splits[split]
    ids, ends = data[f"{objective}_{side}"].tolist(), data[f"{objective}_{side}_ends"].tolist()
    return [ids[a:b] for a, b in pairwise(ends)]


def smoke(**overrides) -> Experiment:
    experiment = load("fig5b", "smoke", overrides)
    assert isinstance(experiment, Experiment)
    return experiment
