"""The record of a run, and what makes a text one."""

from __future__ import annotations

import hashlib
import re
import sys
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ...words import first_line
from ..experiments.settings import Run, TrainingRun

_TABLES = ("train", "validation", "test", "diagnostics")


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

    def sealed(self) -> str:
        """The record as a line of JSON, with the hash of all before it as the last key.

        So no byte changes unnoticed.
        """
        text = self.model_dump_json()[:-1]
        return f'{text},"sha256":"{hashlib.sha256(text.encode()).hexdigest()}"}}\n'


def parse(content: bytes) -> tuple[Record | None, str]:
    """The record in a text, or why it is none."""
    try:
        text, problem = _unseal(content)
        record = Record.model_validate_json(text)
        settings_id = record.run.id
    except (ValueError, RecursionError) as error:
        return None, f"not a record of schema 1 ({_first_line(error)})"
    if settings_id != record.id:
        return None, "its id is not the hash of its settings"
    problem = problem or _bad_row(record)
    return (None, problem) if problem else (record, "")


def _unseal(content: bytes) -> tuple[bytes, str]:
    """The object without its hash, and why that is not what was sealed, if it is not."""
    sealed = re.fullmatch(rb'(.*),"sha256":"([0-9a-f]{64})"\}\s*', content, re.DOTALL)
    if sealed is None:
        return content, "it has no hash of its content"
    if hashlib.sha256(sealed[1]).hexdigest() != sealed[2].decode():
        return sealed[1] + b"}", "its content was changed after it was written"
    return sealed[1] + b"}", ""


def _bad_row(record: Record) -> str:
    """What keeps a row of the trajectory from being one, if anything does; undefined numbers are None."""
    for row in record.trajectory:
        for key, value in row.items():
            numbers = value.values() if isinstance(value, dict) else [value]
            if not all(number is None or _is_number(number) for number in numbers):
                return f"trajectory: {key} holds what is no number"
            if key in _TABLES and not isinstance(value, dict):
                return f"trajectory: {key} holds no numbers by name"
        if isinstance(record.run, TrainingRun) and not _is_number(row.get("step")):
            return "trajectory: a row without its step"
    return ""


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -sys.float_info.max <= value <= sys.float_info.max


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'file'}: {first['msg']}"
    return first_line(error)
