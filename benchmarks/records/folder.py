"""Run records: one JSON file per run, written whole or not at all, and an archive of them for git."""

from __future__ import annotations

import functools
import hashlib
import lzma
import os
import platform
import re
import subprocess
import tempfile
import uuid
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from scalpel_bench.benchmarks.experiments.settings import Run
from scalpel_bench.benchmarks.messages.errors import UserError

Stamp = tuple[int, int, int] | None


class Record(BaseModel):
    """What a run did.

    ``trajectory`` has a row per evaluation: step, epoch, the metrics of each split and the diagnostics of the
    last step (for a simulation: a row per point of its figure). A diverged run keeps the rows before
    ``diverged_at``, the step whose loss or parameters were no longer finite. ``timings`` are in seconds.
    ``notes`` are those of the data. ``lost`` tells why earlier attempts at the run ended without a record.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    schema_version: Literal[1] = 1
    id: str
    run: Run
    status: Literal["completed", "diverged", "failed"]
    reason: str | None = None
    lost: list[str] = []
    diverged_at: int | None = None
    data_source: str | None = None
    notes: dict[str, int] = {}
    environment: dict[str, str | int | None]
    trajectory: list[dict[str, Any]] = []
    timings: dict[str, float] = {}


@dataclass(frozen=True)
class Folder:
    """``results/<experiment>/<scale>``: the records of one sweep and what is derived from them."""

    path: Path

    @property
    def runs(self) -> Path:
        """Where the records are."""
        return self.path / "runs"

    def prepare(self) -> None:
        """Make the folder.

        Raises:
            UserError: it cannot be written.
        """
        try:
            self.runs.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.runs):
                pass
        except OSError as error:
            raise UserError(f"results folder {self.path} cannot be written: {error.strerror}") from error

    def write(self, record: Record) -> None:
        """Write a record so that a reader sees the whole of it or none; the run needs no checkpoint any more.

        Raises:
            UserError: it cannot be written.
        """
        write_atomically(self.file(record.id), _seal(record.model_dump_json()) + "\n")
        if record.status != "failed":
            self.checkpoint(record.id).unlink(missing_ok=True)

    def checkpoint(self, run_id: str) -> Path:
        """Where a run in progress leaves its state."""
        return self.runs / f"{run_id}.checkpoint"

    @property
    def archive(self) -> Path:
        """What `pack` writes: a record per line, compressed, small enough for git."""
        return self.path / "runs.jsonl.xz"

    @property
    def has_records(self) -> bool:
        """Whether there are any, valid or not."""
        return self.archive.exists() or any(self.runs.glob("*.json"))

    def pack(self) -> int:
        """Write all valid records into `archive`, and say how many; `read` finds them there without `runs`.

        Raises:
            UserError: it cannot be written, or there are no records.
        """
        records, rejected = self.read()
        if not records:
            raise UserError(none_of(self, rejected))
        lines = "".join(_seal(record.model_dump_json()) + "\n" for record in records)
        write_atomically(self.archive, lzma.compress(lines.encode(), preset=9))
        return len(records)

    def file(self, run_id: str) -> Path:
        """Where the record of a run is."""
        return self.runs / f"{run_id}.json"

    def stamp(self, run_id: str) -> Stamp:
        """What changes when the record of a run is written; None where there is no record."""
        try:
            state = self.file(run_id).stat()
        except OSError:
            return None
        return state.st_ino, state.st_mtime_ns, state.st_size

    def find(self, run_id: str) -> Record | None:
        """The valid record of a run."""
        record, _ = _check_file(self.file(run_id))
        return record

    def set_aside(self) -> list[str]:
        """Rename every file that is no valid record to ``*.rejected``; a line for each, with the reason.

        The reason is the first line of the new file, the bytes of the old one follow.

        Raises:
            UserError: the folder cannot be written.
        """
        _, rejected = self._files()
        for file, reason in rejected.items():
            try:
                content = file.read_bytes()
                digest = hashlib.sha256(content).hexdigest()[:8]
                aside = file.with_name(f"{file.stem}.{digest}.rejected")
                write_atomically(aside, f"{reason}\n".encode() + content)
                file.unlink()
            except OSError as error:
                raise UserError(f"{file} cannot be set aside: {error.strerror}") from error
        return [f"{file.name}: {reason}" for file, reason in rejected.items()]

    def read(self) -> tuple[list[Record], list[str]]:
        """All valid records in order of their ids, and a line for each file that is not one.

        A record in `runs` counts before that of the same run in the archive.
        """
        records, rejected = self._files()
        known = {record.id for record in records}
        packed, damaged = self._packed()
        records += [record for record in packed if record.id not in known]
        lines = [f"{file.name}: {reason}" for file, reason in rejected.items()]
        return sorted(records, key=lambda record: record.id), lines + damaged

    def _packed(self) -> tuple[list[Record], list[str]]:
        """The records of the archive, and what is wrong with it."""
        try:
            lines = lzma.decompress(self.archive.read_bytes()).splitlines()
        except FileNotFoundError:
            return [], []
        except (lzma.LZMAError, OSError) as error:
            return [], [f"{self.archive.name}: not an archive of records ({error})"]
        records: dict[str, Record] = {}
        damaged = []
        for number, line in enumerate(lines, 1):
            record, reason = _check(line)
            if record is None:
                damaged.append(f"{self.archive.name}, line {number}: {reason}")
            else:
                records[record.id] = record
        return list(records.values()), damaged

    def _files(self) -> tuple[list[Record], dict[Path, str]]:
        records: list[Record] = []
        rejected: dict[Path, str] = {}
        for file in sorted(self.runs.glob("*.json")):
            record, reason = _check_file(file)
            if record is not None:
                records.append(record)
            elif reason:
                rejected[file] = reason
        return records, rejected


def none_of(folder: Folder, rejected: list[str]) -> str:
    """That a folder has no records, in words."""
    more = f": {len(rejected)} left out, the first: {rejected[0]}" if rejected else ""
    return f"{folder.runs}: no valid records{more}"


def _check_file(file: Path) -> tuple[Record | None, str]:
    """The record in a file, or why it is none; neither where there is no file."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return None, ""
    except OSError as error:
        return None, f"cannot be read ({error.strerror})"
    record, reason = _check(content)
    if record is not None and record.id != file.stem:
        return None, f"a copy of the record of run {record.id}"
    return record, reason


def _check(content: bytes) -> tuple[Record | None, str]:
    """The record in a text, or why it is none."""
    try:
        text, intact = _unseal(content)
        record = Record.model_validate_json(text)
        settings_id = record.run.id
    except (ValueError, RecursionError) as error:
        return None, f"not a record of schema 1 ({_first_line(error)})"
    if settings_id != record.id:
        return None, "its id is not the hash of its settings"
    if not intact:
        return None, "its content was changed after it was written"
    return record, ""


def _seal(text: str) -> str:
    """A JSON object with the hash of all before it as its last key, so that no byte changes unnoticed."""
    return f'{text[:-1]},"sha256":"{hashlib.sha256(text[:-1].encode()).hexdigest()}"}}'


def _unseal(content: bytes) -> tuple[bytes, bool]:
    """The object without its hash, and whether it is what was sealed; else it as it is."""
    sealed = re.fullmatch(rb'(.*),"sha256":"([0-9a-f]{64})"\}\s*', content, re.DOTALL)
    if sealed is None:
        return content, True
    return sealed[1] + b"}", hashlib.sha256(sealed[1]).hexdigest() == sealed[2].decode()


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file through a synced temporary one in the same folder.

    Raises:
        UserError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise UserError(f"{path.parent} cannot be written: {error.strerror}") from error


def environment(device: str) -> dict[str, str | int | None]:
    """What the numbers of a run may depend on, and nothing that tells whose machine it was."""
    return {
        "commit": _commit(),
        "scalpel": version("scalpel-bench"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "platform": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else "cpu",
        "threads": torch.get_num_threads(),
    }


@functools.cache
def _commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'file'}: {first['msg']}"
    return str(error).partition("\n")[0]
