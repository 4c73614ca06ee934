"""Measuring part after part, and the record of what was measured."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from ..execution import threads
from ..messages.errors import UserError
from ..records import environment, write_atomically
from .measurements import GPU, ON_CPU, PARTS, Measurement

PEERS = ("torchjd", "LibMTL")


class BenchRecord(BaseModel):
    """What was measured, and where; ``commits`` has the code that each part was last measured with."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    environment: dict[str, str | int | None]
    commits: dict[str, str | None] = {}
    rows: list[Measurement]


def measure(results: Path, device: str, full: bool, parts: str = "") -> Iterator[Measurement]:
    """Measure row after row, and write ``results/bench/quick.json`` or ``full.json`` at the end.

    Each side of a ratio runs on one thread, so that a busy machine slows down both. On a GPU the names are
    ``quick-gpu.json`` and ``full-gpu.json``.

    Args:
        parts: letters of `PARTS` to measure again, the record's other rows kept; none for all. Or ``"gpu"``:
            what only a GPU can tell, into ``results/bench/gpu.json``.

    Raises:
        UserError: a letter is none of `PARTS`, or of a part that is measured on the CPU alone, there is no
            record to keep rows of, or one of another machine or of other versions, or there is no GPU.
    """
    if parts == GPU:
        yield from _measure_gpu(results, device)
        return
    every = [part for part in PARTS if device == "cpu" or part not in ON_CPU]
    if unknown := set(parts) - set(every):
        if unknown <= set(PARTS):
            raise UserError(f"--part {''.join(sorted(unknown))} is of the CPU: add --device cpu")
        raise UserError(
            f"--part {''.join(sorted(unknown))}: there are {', '.join(PARTS)}, and {GPU} by itself"
        )
    path = record_path(results, full, gpu=device != "cpu")
    path.parent.mkdir(parents=True, exist_ok=True)
    kept, commits, rows = [], {}, []
    with threads(1):
        facts = environment(device) | {name.lower(): _version(name) for name in PEERS}
        if parts:
            record = read(path)
            _check_same(path, record.environment, facts)
            kept = [row for row in record.rows if row.part not in parts]
            commits = dict(record.commits)
        for row in _measured(device, full, parts or "".join(every)):
            rows.append(row)
            yield row
    ordered = sorted(kept + rows, key=lambda row: list(PARTS).index(row.part))
    _write(path, facts, ordered, commits | _commits(facts, rows))


def _measure_gpu(results: Path, device: str) -> Iterator[Measurement]:
    if device == "cpu":
        raise UserError(f"--part {GPU}: there is no GPU here; PyTorch {torch.__version__} sees the CPU alone")
    from . import gpu

    facts = environment(device)
    rows = []
    for row in gpu.measure(device):
        rows.append(row.model_copy(update={"part": GPU}))
        yield rows[-1]
    path = record_path(results, full=False, gpu=True, part=GPU)
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, facts, rows, _commits(facts, rows))


def _check_same(
    path: Path, then: Mapping[str, str | int | None], now: Mapping[str, str | int | None]
) -> None:
    """Refuse to put rows that are measured here beside those of another machine, or of other versions.

    Raises:
        UserError: something but the code, whose commits are kept by part, is not as it was.
    """
    for name in sorted(now.keys() - {"commit", "scalpel", "suite"}):
        if then.get(name) != now[name]:
            raise UserError(
                f"{path} was measured with {name} {then.get(name)}, and here it is {now[name]}: "
                "measure all parts again, without --part"
            )


def _commits(facts: Mapping[str, str | int | None], rows: Sequence[Measurement]) -> dict[str, str | None]:
    """The code that each part was measured with; None where it is in no repository."""
    commit = facts["commit"]
    return {row.part: None if commit is None else str(commit) for row in rows}


def _write(
    path: Path,
    facts: dict[str, str | int | None],
    rows: list[Measurement],
    commits: Mapping[str, str | None],
) -> None:
    record = BenchRecord(environment=facts, commits=dict(sorted(commits.items())), rows=rows)
    write_atomically(path, record.model_dump_json(indent=1, exclude_defaults=True) + "\n")


def read(path: Path) -> BenchRecord:
    """A record.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    device = " --device cuda" if "-gpu" in path.stem else " --device cpu"
    command = "scalpel bench" + " --full" * ("full" in path.stem)
    command += " --part gpu" if path.stem == GPU else device
    if not path.exists():
        raise UserError(f"{path} does not exist: {command} makes it")
    try:
        return BenchRecord.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise UserError(f"{path} is no record of the bench: {command} makes it again") from error


def record_path(results: Path, full: bool, gpu: bool = False, part: str = "") -> Path:
    """Where the record of a measurement is."""
    if part == GPU:
        return results / "bench" / f"{GPU}.json"
    return results / "bench" / f"{'full' if full else 'quick'}{'-gpu' if gpu else ''}.json"


def _measured(device: str, full: bool, parts: str) -> Iterator[Measurement]:
    from . import peers, population, steps, surgeon, surgery, sweeps

    parts_by_letter: dict[str, Callable[[], Iterator[Measurement]]] = {
        "a": partial(steps.measure_time, device, full),
        "b": partial(peers.measure, device, full),
        "c": partial(surgery.measure_against_copy, device, full),
        "d": partial(population.measure, device, full),
        "e": partial(surgery.measure_growth, device, full),
        "f": partial(steps.measure_memory, device, full),
        "g": partial(sweeps.measure, full),
        "h": surgeon.measure,
    }
    for part in dict.fromkeys(parts):
        yield from parts_by_letter[part]()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
