"""Experiment files, records and checkpoints that were damaged in every way."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from scalpel_bench.benchmarks.commands.verify import findings
from scalpel_bench.benchmarks.experiments import loading as experiment
from scalpel_bench.benchmarks.messages.errors import UserError
from scalpel_bench.benchmarks.records import ANY_DATA, Folder, manifest, read_manifest, write_manifest
from scalpel_bench.benchmarks.training import Checkpoint
from tests.benchmarks.runs import conditioning, plan, record

TRICKS: list[Any] = [
    None, True, -1, 0, 10**400, 1e308, float("nan"), float("inf"), "", "../../escaped", "/tmp/escaped", "a/b",
    "..",    "trap.py:Trap", "\x00", "x" * 10_000, [], {}, [[]], {"name": "../x"}, "NaN", "experiment.toml",
]  # fmt: skip


def mutated(count: int = 500) -> Iterator[dict[str, Any]]:
    """A row for each kind of file; bad is what raises, changes a number, or writes elsewhere."""
    draw = random.Random(0)
    kinds: dict[str, Callable[[random.Random, Path], bool]] = {
        "experiment": _experiment,
        "manifest": _manifest,
        "record": _record,
        "checkpoint": _checkpoint,
    }
    for n, (kind, is_fine) in enumerate(kinds.items()):
        trials = count // len(kinds) + (n < count % len(kinds))
        with tempfile.TemporaryDirectory() as base, contextlib.chdir(base):
            trap = Path(base) / "trap.py"
            trap.write_text("open('sprung', 'w')\n")
            inside = Path(base) / "inside"
            inside.mkdir()
            bad = 0
            for _ in range(trials):
                bad += not is_fine(draw, inside)
            bad += {file.name for file in Path(base).iterdir()} != {"inside", "trap.py"}
        yield {"what": f"mutated {kind}s: one clear line, no other number", "trials": trials, "bad": bad}


def _damage(draw: random.Random, content: bytes) -> bytes:
    """Truncated, with flipped bits, with a piece doubled or cut out, or with a trick in place of a value."""
    kind = draw.randrange(5)
    at = draw.randrange(len(content))
    if kind == 0:
        return content[:at]
    if kind == 1:
        flipped = bytearray(content)
        for _ in range(draw.randint(1, 5)):
            flipped[draw.randrange(len(flipped))] ^= 1 << draw.randrange(8)
        return bytes(flipped)
    end = min(len(content), at + draw.randint(1, 60))
    if kind == 2:
        return content[:end] + content[at:]
    if kind == 3:
        return content[:at] + content[end:]
    return content[:at] + json.dumps(draw.choice(TRICKS), default=str).encode() + content[end:]


def _tricked(draw: random.Random, value: Any) -> Any:
    """A copy of a JSON value in which one leaf or branch is something else."""
    if isinstance(value, dict) and value and draw.random() < 0.85:
        key = draw.choice(list(value))
        return {**value, key: _tricked(draw, value[key])}
    if isinstance(value, list) and value and draw.random() < 0.85:
        index = draw.randrange(len(value))
        return [*value[:index], _tricked(draw, value[index]), *value[index + 1 :]]
    return draw.choice(TRICKS)


def _experiment(draw: random.Random, inside: Path) -> bool:
    """Loading and planning a file gives an experiment or a `UserError`."""
    source = draw.choice(list(experiment.available().values()))
    file = inside / "mine.toml"
    file.write_bytes(_damage(draw, source.read_bytes()))
    with contextlib.suppress(UserError):
        loaded = experiment.load(str(file), draw.choice(["smoke", "laptop"]))
        if (loaded.name, loaded.scale) not in (("mine", "smoke"), ("mine", "laptop")):
            return False
        if getattr(loaded, "seeds", 1) < 100:
            loaded.plan(lambda settings: ANY_DATA)
    return True


def _sweep(inside: Path) -> Folder:
    folder = Folder(inside / "conditioning" / "smoke")
    if not folder.path.exists():
        folder.prepare()
        made = conditioning(lam=[0.1, 1.0], methods={"pcgrad": {"name": "pcgrad"}})
        for run in plan(made):
            folder.write(record(run, 0.1 + run.lam, 0.2))
        write_manifest(folder, made, "0" * 16)
    return folder


def _quietly(action: Callable[[], Any]) -> None:
    with contextlib.suppress(UserError), contextlib.redirect_stdout(io.StringIO()):
        action()


def _manifest(draw: random.Random, inside: Path) -> bool:
    """What reads a folder says that its manifest is none, or takes its settings, and stays in the folder."""
    folder = _sweep(inside)
    file = folder.path / manifest.FILE
    before = file.read_bytes()
    try:
        content = json.dumps(_tricked(draw, json.loads(before))).encode()
        file.write_bytes(content if draw.random() < 0.6 else _damage(draw, before))
        _quietly(lambda: findings(folder))
        _quietly(lambda: read_manifest(folder))
    finally:
        file.write_bytes(before)
    return True


def _record(draw: random.Random, inside: Path) -> bool:
    """A damaged record is set aside; a sound one says what was written."""
    folder = _sweep(inside)
    written = {sound.id: sound for sound in folder.read()[0]}
    file = draw.choice(sorted(folder.runs.glob("*.json")))
    before = file.read_bytes()
    try:
        if draw.random() < 0.5:
            file.write_bytes(_damage(draw, before))
        else:
            changed = _tricked(draw, json.loads(before))
            if isinstance(changed, dict) and draw.random() < 0.5:
                changed.pop("sha256", None)
            file.write_bytes(json.dumps(changed).encode())
        sealed = b"sha256" in file.read_bytes()
        read, rejected = folder.read()
        _quietly(lambda: findings(folder))
        _quietly(lambda: folder.set_aside(folder.content()))
        if sealed and any(sound != written[sound.id] for sound in read):
            return False
        return len(read) + len(rejected) == len(written)
    finally:
        file.write_bytes(before)
        for aside in folder.runs.glob("*.rejected"):
            aside.unlink()


def _checkpoint(draw: random.Random, inside: Path) -> bool:
    """A damaged checkpoint counts for nothing, also where its hash was made to fit."""
    state = {"theta": torch.arange(50.0), "done": 7, "methods": [{"memory": torch.ones(3)}]}
    checkpoint = Checkpoint(inside / "0.checkpoint", 0, {"runs": ["a"]})
    checkpoint.save(state)
    content = checkpoint.path.read_bytes() if checkpoint.path else b""
    damaged = _damage(draw, content)
    forged = draw.random() < 0.3
    if forged:
        damaged = hashlib.sha256(damaged[32:]).digest() + damaged[32:]
    (inside / "0.checkpoint").write_bytes(damaged)
    loaded = checkpoint.load()
    if forged or damaged == content:
        return True
    return loaded is None
