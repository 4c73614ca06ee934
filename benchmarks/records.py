"""Run records: one JSON file per run, written whole or not at all."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from benchmarks.errors import UserError
from benchmarks.settings import Run


class Record(BaseModel):
    """What a run did.

    ``trajectory`` has a row per evaluation: step, epoch, the metrics of each split and the diagnostics of the
    last step (for a simulation: a row per point of its figure). A diverged run keeps the rows before
    ``diverged_at``, the step whose loss or parameters were no longer finite. ``timings`` are in seconds.
    ``notes`` are those of the data.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    schema_version: Literal[1] = 1
    id: str
    run: Run
    status: Literal["completed", "diverged", "failed"]
    reason: str | None = None
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
        """Write a record so that a reader sees the whole of it or none.

        Raises:
            UserError: it cannot be written.
        """
        write_atomically(self.runs / f"{record.id}.json", record.model_dump_json() + "\n")

    def read(self) -> tuple[list[Record], list[str]]:
        """All valid records in order of their ids, and a line for each file that is not one."""
        records, rejected = [], []
        for file in sorted(self.runs.glob("*.json")):
            try:
                record = Record.model_validate_json(file.read_bytes())
            except (ValidationError, OSError) as error:
                rejected.append(f"{file.name}: not a record of schema 1 ({_first_line(error)})")
                continue
            if record.run.id == record.id != file.stem:
                rejected.append(f"{file.name}: a copy of the record of run {record.id}")
                continue
            if record.run.id != record.id:
                rejected.append(f"{file.name}: its id is not the hash of its settings")
                continue
            records.append(record)
        return records, rejected


def write_atomically(path: Path, text: str) -> None:
    """Write a file through a synced temporary one in the same folder.

    Raises:
        UserError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
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
    return str(error).splitlines()[0]
