"""Which methods have runs on record, from packed records alone and without what computes with them."""

from __future__ import annotations

import json
import lzma
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from ...own_files import unpacked
from ...words import first_line
from ..messages.errors import UserError


def shipped_results() -> Path:
    """The records that came with the suite: ``results`` of its checkout, else of the present folder."""
    beside = Path(__file__).resolve().parents[2] / "results"
    return beside if beside.is_dir() else Path("results")


def where_recorded(results: Path) -> dict[str, list[str]]:
    """The experiments and scales, as ``fig4/workstation``, that each method has completed a run of, sorted.

    Only packed records (``runs.jsonl.xz``) count, as a repository holds them; a sweep that was just made here
    has none, so that it changes no document.

    Raises:
        UserError: an archive of records cannot be read.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for line in _records(results):
        record = _read(line)
        run = record.get("run")
        if not isinstance(run, dict) or record.get("status") != "completed":
            continue
        method = run.get("method")
        if isinstance(method, dict):
            found[str(method.get("name"))].add(f"{run.get('experiment')}/{run.get('scale')}")
    return {name: sorted(places) for name, places in found.items()}


def packed_sweeps(results: Path) -> list[Path]:
    """The folders of packed records, sorted by experiment and scale."""
    return sorted({archive.parent for archive in _archives(results)})


def _archives(results: Path) -> list[Path]:
    return sorted(results.glob("*/*/runs.*jsonl.xz"))


def _records(results: Path) -> Iterator[bytes]:
    for archive in _archives(results):
        try:
            yield from unpacked(archive)
        except (lzma.LZMAError, OSError, MemoryError) as error:
            raise UserError(f"{archive} is no archive of records: {first_line(error)}") from error


_HEAD_ENDS = b',"environment":'


def _read(line: bytes) -> dict[str, object]:
    """What stands in a record before its measurements; nothing where it is no record."""
    head, found, _ = line.partition(_HEAD_ENDS)
    try:
        read = json.loads(head + b"}" if found else line)
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}
