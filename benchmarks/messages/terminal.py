"""What the terminal shows."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Self, TypeVar

import pandas as pd
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from scalpel_bench.methods import BaseMethod
from scalpel_bench.registry import Registry

T = TypeVar("T")

console = Console()
_errors = Console(stderr=True, soft_wrap=True, highlight=False)


def error(message: str) -> None:
    """One line on standard error."""
    _errors.print(f"scalpel: error: {message}", markup=False)


def warn(message: str) -> None:
    """One line on standard error."""
    _errors.print(f"scalpel: {message}", markup=False)


def say(message: str) -> None:
    """One line on standard output, not wrapped."""
    console.print(message, markup=False, highlight=False, soft_wrap=True)


def listing(title: str, entries: Mapping[str, str]) -> None:
    """Names with the first line of what they are."""
    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, text in entries.items():
        table.add_row(name, text.strip().splitlines()[0])
    console.print(table)


def methods(registry: Registry[BaseMethod]) -> None:
    """Methods with their formula, source and properties; plugins that cannot be used, with the reason."""
    shown = Table(title="methods", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in ("name", "what it does", "source", "properties"):
        shown.add_column(column)
    for name, method in registry.classes().items():
        text = " ".join((method.__doc__ or "").split())
        source = re.search(r"Source: (.+?\d{4})", text)
        properties = sorted(claim.replace("_", " ") for claim in method.properties)
        if method.objectives:
            properties.append(f"K = {method.objectives}")
        if origin := registry.origin(name):
            properties.append(origin)
        line = (method.__doc__ or "").strip().splitlines()[0]
        if method.__module__.endswith(f".{name}"):
            line = (sys.modules[method.__module__].__doc__ or line).strip().splitlines()[0]
        shown.add_row(name, line, source[1] if source else "", ", ".join(properties))
    console.print(shown)
    for reason in registry.broken.values():
        warn(reason)


def checks(name: str, problems: Mapping[str, str]) -> None:
    """A line per rule of the contract."""
    for rule, problem in problems.items():
        say(f"{'FAIL' if problem else 'ok  '}  {rule}{': ' + problem if problem else ''}")
    broken = sum(map(bool, problems.values()))
    say(f"{name}: {len(problems) - broken} of {len(problems)} rules hold")


def table(title: str, frame: pd.DataFrame) -> None:
    """A data frame as a table."""
    say(title)
    shown = Table()
    for column in frame.columns:
        right = pd.api.types.is_numeric_dtype(frame[column])
        shown.add_column(str(column), justify="right" if right else "left")
    for row in frame.itertuples(index=False):
        shown.add_row(*(_cell(value) for value in row))
    console.print(shown)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:.4g}"
    return str(value)


def progress(items: Iterable[T], total: int, title: str) -> Iterator[T]:
    """A progress bar around ``items``."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=total)
        for item in items:
            bar.advance(task)
            yield item


class Steps:
    """A progress bar over the steps of one run."""

    def __init__(self, total: int, title: str) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._bar.add_task(title, total=total)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def update(self, step: int) -> None:
        """The number of steps done."""
        self._bar.update(self._task, completed=step)
