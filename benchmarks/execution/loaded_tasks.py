"""Tasks by their settings, their data loaded once per process."""

from __future__ import annotations

import functools
from collections.abc import Hashable
from typing import Any

from ... import tasks
from ..experiments.settings import DataRecord
from ..messages import as_user_error
from .options import ExecutionOptions


def as_key(settings: dict[str, Any]) -> tuple[tuple[str, Hashable], ...]:
    """The settings of a task or a method as a key of a dictionary, whatever order they stand in."""
    return tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in sorted(settings.items()))


@functools.lru_cache(maxsize=4)
def _task(settings: tuple[tuple[str, Any], ...], data: str, device: str) -> tasks.Task:
    return tasks.create(**dict(settings), data=data, device=device)


def get_task(settings: dict[str, Any], options: ExecutionOptions) -> tasks.Task:
    """The task of these settings, its data loaded once per process."""
    return _task(as_key(settings), options.data, options.device)


def describe_data(settings: dict[str, Any], options: ExecutionOptions) -> DataRecord:
    """The name and fingerprint of a task's data.

    Raises:
        UserError: it is missing, not what the task needs, or less than a batch.
    """
    with as_user_error():
        task = get_task(settings, options)
        dataset, _ = task.dataset, task.steps_per_epoch
    return DataRecord(name=dataset.name, fingerprint=dataset.fingerprint)
