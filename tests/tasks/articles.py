"""What the tests of `tasks.language_model` and of its corpora share: two small corpora in a folder."""

import gzip
import json
from pathlib import Path

from scalpel_bench import tasks

GENERIC = [f"generic article {i}: " + "the quick brown fox. " * (3 + i % 4) for i in range(40)]
SPECIALISED = [f"WIRE {i} GRAIN UP " * 8 for i in range(30)]
HELD_OUT = ["held out " * 30, "text " * 40]
SMALL = {"layers": 1, "width": 16, "heads": 2, "feed_forward": 32, "context": 24, "batch_size": 4}


def write(folder: Path, name: str, split: str, rows: list[object]) -> None:
    file = folder / name / f"{split}.jsonl.gz"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))


def write_all(folder: Path) -> Path:
    write(folder, "allenai/c4", "train", [{"text": t} for t in GENERIC])
    write(folder, "reuters21578", "train", [{"text": t, "title": ""} for t in SPECIALISED])
    for name in ("allenai/c4", "reuters21578"):
        write(folder, name, "validation", [{"text": t} for t in HELD_OUT])
    return folder


def make(folder: Path, **settings):
    return tasks.create("language_model", data=str(folder), **{**SMALL, **settings})


def contents(task: tasks.Task) -> dict[tuple[str, str], bytes]:
    splits = task.dataset.splits
    return {(s, n): bytes(t.numpy()) for s, corpora in splits.items() for n, t in corpora.items()}


def joined(articles: list[str]) -> bytes:
    return b"".join(article.encode() + b"\xff" for article in articles)
