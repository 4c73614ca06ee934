"""Reads what W&B wrote offline."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2


def runs(folder: Path) -> dict[str, dict[str, Any]]:
    """By id: group, job type, tags, configuration, history and summary of the offline runs under a folder."""
    files = sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))
    read = [_read(file) for file in files]
    assert len({run["id"] for run in read}) == len(read)
    return {run["id"]: run for run in read}


def _read(file: Path) -> dict[str, Any]:
    read: dict[str, Any] = {"config": {}, "history": [], "summary": {}, "folder": file.parent}
    for frame in _frames(file):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(frame)
        if record.HasField("run"):
            run = record.run
            read |= {"group": run.run_group, "job_type": run.job_type, "id": run.run_id, "host": run.host}
            read |= {"tags": list(run.tags), "project": run.project, "name": run.display_name}
            read["config"] |= {u.key: json.loads(u.value_json) for u in run.config.update}
        if record.HasField("history"):
            read["history"].append(_values(record.history.item))
        if record.HasField("summary"):
            read["summary"] |= _values(record.summary.update)
    return read


def _values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def _frames(file: Path) -> Iterator[bytes]:
    """The serialised records of a .wandb file: a 7-byte header, then LevelDB's log format in 32 KB blocks."""
    data, position, frame = file.read_bytes(), 7, b""
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        frame += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):
            yield frame
            frame = b""
