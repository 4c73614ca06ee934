"""Experiment files, manifests, records, archives and checkpoints that were damaged in every way."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import lzma
import random
import tempfile
import tomllib
import unittest.mock
from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import torch

from scalpel_bench.benchmarks import figures
from scalpel_bench.benchmarks.catalogue import where_recorded
from scalpel_bench.benchmarks.commands.planning import recorded
from scalpel_bench.benchmarks.commands.report import report
from scalpel_bench.benchmarks.commands.verify import findings
from scalpel_bench.benchmarks.dashboard.runs import of_record
from scalpel_bench.benchmarks.experiments import loading as experiment
from scalpel_bench.benchmarks.experiments.toml_file import merge
from scalpel_bench.benchmarks.messages.errors import UserError
from scalpel_bench.benchmarks.records import (
    ANY_DATA,
    Folder,
    adopt,
    adopted,
    adoption,
    manifest,
    origin_of,
    read_manifest,
    write_manifest,
)
from scalpel_bench.benchmarks.training import Checkpoint
from tests.benchmarks.runs import conditioning, plan, record
from tests.torture.damage import damaged, is_fine, tricked


def mutated(count: int = 1000) -> Iterator[dict[str, Any]]:
    """A row for each kind of file; bad is what raises, changes a number, or writes elsewhere."""
    draw = random.Random(0)
    kinds: dict[str, Callable[[random.Random, Path], Any]] = {
        "experiment": _experiment,
        "experiment with another value": _other_values,
        "manifest": _manifest,
        "record": _record,
        "record that is sealed again": _sealed_again,
        "archive": _archive,
        "list of replays": _replays,
        "checkpoint": _checkpoint,
    }
    for n, (kind, trial) in enumerate(kinds.items()):
        trials = count // len(kinds) + (n < count % len(kinds))
        with tempfile.TemporaryDirectory() as base, contextlib.chdir(base):
            trap = Path(base) / "trap.py"
            trap.write_text("open('sprung', 'w')\n")
            allowed = {"inside", "trap.py", *(["sprung"] if trial is _other_values else [])}
            inside = Path(base) / "inside"
            inside.mkdir()
            bad = sum(not is_fine(partial(trial, draw, inside)) for _ in range(trials))
            bad += not {file.name for file in Path(base).iterdir()} <= allowed
        yield {"what": f"mutated: {kind}: one clear line, no other number", "trials": trials, "bad": bad}


def _experiment(draw: random.Random, inside: Path) -> bool:
    """Loading and planning a file gives an experiment or a `UserError`."""
    source = draw.choice(list(experiment.available().values()))
    file = inside / "mine.toml"
    file.write_bytes(damaged(draw, source.read_bytes()))
    with contextlib.suppress(UserError):
        loaded = experiment.load(str(file), draw.choice(["smoke", "laptop"]))
        if (loaded.name, loaded.scale) not in (("mine", "smoke"), ("mine", "laptop")):
            return False
        loaded.plan(lambda settings: ANY_DATA)
    return True


def _other_values(draw: random.Random, inside: Path) -> None:
    """Loading and planning a sound file with another value gives an experiment or a `UserError`."""
    stated = tomllib.loads(draw.choice(list(experiment.available().values())).read_text(encoding="utf-8"))
    scales = stated.pop("scales")
    changed = tricked(draw, merge(stated, scales[draw.choice(["smoke", "laptop"])]))
    tables = changed if isinstance(changed, dict) else {}
    lines = [f"{json.dumps(key)} = {_toml(value)}" for key, value in tables.items()]
    file = inside / "mine.toml"
    file.write_text("\n".join([*lines, "scales = { smoke = {} }"]), encoding="utf-8")
    experiment.load(str(file), "smoke").plan(lambda settings: ANY_DATA)


def _toml(value: Any) -> str:
    """A value as TOML has it; it has no null."""
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{json.dumps(key)} = {_toml(each)}' for key, each in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, float):
        return repr(value)
    return '""' if value is None else value.isoformat() if isinstance(value, date) else json.dumps(value)


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
    out, err = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    with contextlib.suppress(UserError), out, err:
        action()


def _manifest(draw: random.Random, inside: Path) -> bool:
    """What reads a folder says that its manifest is none, or takes its settings, and stays in the folder."""
    folder = _sweep(inside)
    file = folder.path / manifest.FILE
    before = file.read_bytes()
    try:
        content = json.dumps(tricked(draw, json.loads(before))).encode()
        file.write_bytes(content if draw.random() < 0.6 else damaged(draw, before))
        _quietly(lambda: findings(folder, *folder.read()))
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
            file.write_bytes(damaged(draw, before))
        else:
            changed = tricked(draw, json.loads(before))
            if isinstance(changed, dict) and draw.random() < 0.5:
                changed.pop("sha256", None)
            file.write_bytes(json.dumps(changed).encode())
        sealed = b"sha256" in file.read_bytes()
        read, rejected = folder.read()
        _quietly(lambda: findings(folder, *folder.read()))
        _quietly(lambda: folder.set_aside(folder.content()))
        if sealed and any(sound != written[sound.id] for sound in read):
            return False
        return len(read) + len(rejected) == len(written)
    finally:
        file.write_bytes(before)
        for aside in folder.runs.glob("*.rejected"):
            aside.unlink()


def _sealed_again(draw: random.Random, inside: Path) -> None:
    """What reads a record with another value, and a hash that fits, shows it or sets it aside."""
    folder = _sweep(inside)
    file = draw.choice(sorted(folder.runs.glob("*.json")))
    before = file.read_bytes()
    content = json.loads(before)
    del content["sha256"]
    key = draw.choice([*content, *["trajectory"] * len(content)])
    text = json.dumps({**content, key: tricked(draw, content[key])})[:-1]
    try:
        file.write_text(f'{text},"sha256":"{hashlib.sha256(text.encode()).hexdigest()}"}}\n')
        _quietly(lambda: findings(folder, *folder.read()))
        _quietly(lambda: recorded({folder: folder.content()}))
        for record in folder.read()[0]:
            of_record(record).line()
        with unittest.mock.patch.object(figures, "draw"):
            _quietly(lambda: report([folder.path], None))
    finally:
        file.write_bytes(before)


def _archive(draw: random.Random, inside: Path) -> bool:
    """A damaged archive is named; its records say what was written, or are left out."""
    folder = _sweep(inside)
    written = {sound.id: sound for sound in folder.read()[0]}
    packed = Folder(inside / "packed" / "smoke")
    packed.path.mkdir(parents=True, exist_ok=True)
    lines = "".join(record.sealed() for record in written.values()).encode()
    whole = lzma.compress(lines)
    content = damaged(draw, whole) if draw.random() < 0.5 else lzma.compress(damaged(draw, lines))
    packed.archive.write_bytes(content)
    read, _ = packed.read()
    _quietly(lambda: where_recorded(inside))
    return all(record == written[record.id] for record in read)


def _replays(draw: random.Random, inside: Path) -> None:
    """A damaged list of replays counts for nothing, and is written anew."""
    folder = _sweep(inside)
    origin = origin_of(folder.read()[0][0])
    file = folder.path / adoption.FILE
    file.unlink(missing_ok=True)
    adopt(folder, origin, "0" * 12, ["0" * 16], 3, ["the same bits"])
    before = file.read_bytes()
    changed = json.dumps(tricked(draw, json.loads(before))).encode()
    file.write_bytes(changed if draw.random() < 0.6 else damaged(draw, before))
    adopted(folder)
    adopt(folder, origin, "1" * 12, ["0" * 16], 3, ["the same bits"])


def _checkpoint(draw: random.Random, inside: Path) -> bool:
    """A damaged checkpoint counts for nothing, also where its hash was made to fit."""
    state = {"theta": torch.arange(50.0), "done": 7, "methods": [{"memory": torch.ones(3)}]}
    checkpoint = Checkpoint(inside / "0.checkpoint", 0, {"runs": ["a"]})
    checkpoint.save(state)
    content = checkpoint.path.read_bytes() if checkpoint.path else b""
    changed = damaged(draw, content)
    forged = draw.random() < 0.3
    if forged:
        changed = hashlib.sha256(changed[32:]).digest() + changed[32:]
    (inside / "0.checkpoint").write_bytes(changed)
    loaded = checkpoint.load()
    if forged or changed == content:
        return True
    return loaded is None
