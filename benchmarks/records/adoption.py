"""Records of older code that are known to hold what today's code computes.

``replays.json`` beside the records says for which: runs of them were computed again, and agreed.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from ..experiments.settings import TrainingRun
from .atomic_write import write_atomically
from .folder import Folder
from .locking import one_at_a_time
from .record import Record

FILE = "replays.json"


class Origin(NamedTuple):
    """What a group of records has in common: code, method, task, and how they were trained."""

    code: str
    method: str
    task: str
    population: int


def origin_of(record: Record) -> Origin:
    """The group of a record; one without a fingerprint of its code has the commit for it."""
    environment, run = record.environment, record.run
    code = str(environment.get("code") or f"commit {environment.get('commit')}")
    population = environment.get("population")
    population = population if isinstance(population, int) else 1
    if isinstance(run, TrainingRun):
        return Origin(code, run.method["name"], run.task["name"], population)
    return Origin(code, run.kind, "", population)


def adopted(folder: Folder) -> set[tuple[Origin, str]]:
    """The groups of records that were replayed and agreed, each with the code that did."""
    return {(Origin(*entry["of"]), entry["code"]) for entry in _read(folder)}


def adopt(folder: Folder, origin: Origin, code: str, runs: list[str], steps: int, found: list[str]) -> None:
    """Note that a group's records hold what this code computes.

    Args:
        folder: of the records.
        origin: the group.
        code: the fingerprint of the code that computed some of its runs again.
        runs: ids of these runs.
        steps: how many steps each was computed again.
        found: how they agreed, in words.

    Raises:
        UserError: the folder cannot be written.
    """
    entry = {"of": list(origin), "code": code, "runs": sorted(runs), "steps": steps, "found": found}
    _note(folder, [entry])


def take_over(folder: Folder, source: Folder) -> None:
    """Note what another folder, whose records this one holds too, knows of their code.

    Raises:
        UserError: the folder cannot be written.
    """
    if entries := _read(source):
        _note(folder, entries)


def _note(folder: Folder, entries: list[dict[str, Any]]) -> None:
    """Add entries to those that are there; of one group and code the new one counts."""
    with one_at_a_time(folder.path / FILE):
        known = {(*entry["of"], entry["code"]): entry for entry in [*_read(folder), *entries]}
        kept = sorted(known.values(), key=lambda entry: entry["of"])
        write_atomically(folder.path / FILE, json.dumps(kept, indent=1) + "\n")


def _read(folder: Folder) -> list[dict[str, Any]]:
    """The entries; none where there is no such file, or it was damaged."""
    try:
        content = json.loads((folder.path / FILE).read_text(encoding="utf-8"))
        return [entry for entry in content if _is_entry(entry)]
    except (OSError, ValueError, TypeError, RecursionError):
        return []


def _is_entry(entry: Any) -> bool:
    of = entry.get("of") if isinstance(entry, dict) else None
    return (
        isinstance(of, list)
        and [type(part) for part in of] == [str, str, str, int]
        and isinstance(entry.get("code"), str)
    )
