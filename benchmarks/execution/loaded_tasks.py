"""Tasks by their settings, their data loaded once per process."""

from __future__ import annotations

import functools
import hashlib
import traceback
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import scalpel_bench

from ... import tasks
from ...tasks.data import cache_folder
from ...tasks.data.text import Text
from ...words import first_line
from ..experiments.settings import DataRecord
from ..messages import UserError, as_user_error
from .options import ExecutionOptions

_SUITE = Path(scalpel_bench.__file__).parent


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
        UserError: it is missing, not what the task needs, less than a batch, or damaged where it is kept.
    """
    return _described(as_key(settings), options.data, options.device)


@functools.lru_cache(maxsize=64)
def _described(settings: tuple[tuple[str, Any], ...], data: str, device: str) -> DataRecord:
    with as_user_error(), _kept_data(dict(settings)["name"], dict(settings)):
        task = _task(settings, data, device)
        dataset, _ = task.dataset, task.steps_per_epoch
        if isinstance(dataset, Text):
            _check_intact(dataset)
    return DataRecord(name=dataset.name, fingerprint=dataset.fingerprint)


@contextmanager
def _kept_data(task: str, settings: Mapping[str, Any]) -> Iterator[None]:
    """Turn what loading data trips over, an odd setting or a damaged file of the cache, into a `UserError`.

    What the suite itself refuses stays, and what a plugin's task raises: its author is to see where.
    """
    try:
        yield
    except Exception as error:
        raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
        refused = isinstance(error, ValueError) and raised_in.is_relative_to(_SUITE)
        if refused or isinstance(error, OSError) or tasks.origin(task):
            raise
        usual = {field.name: field.default for field in fields(tasks.get(task))}
        own = {key: value for key, value in settings.items() if key in usual and value != usual[key]}
        changed = ", ".join(f"{key} = {value!r}" for key, value in own.items())
        first = f"check its settings {changed}; if they are right, its data" if own else "it"
        raise UserError(
            f"{task}: its data cannot be loaded ({first_line(error)}): {first} is kept in "
            "$XDG_CACHE_HOME/scalpel: name a folder, or remove what is damaged there"
        ) from error


def _check_intact(text: Text) -> None:
    """Refuse a kept corpus that is not what was written: its fingerprint is of what was.

    Raises:
        ValueError: it was changed since.
    """
    files = [text.splits[split][name] for name in ("main", "aux") for split in text.splits]
    found = tuple(hashlib.sha256(file.numpy().data).hexdigest() for file in files)
    if found != text.digests[: len(files)]:  # what follows is of no file
        raise ValueError(
            f"{text.name}: the text that was kept has been damaged since: remove {cache_folder() / 'text'}, "
            "and it is read again"
        )
