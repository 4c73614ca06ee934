"""What the terminal shows."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Self, TypeVar

from rich.console import Console
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from ...words import plain

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")

console = Console()
_errors = Console(stderr=True, soft_wrap=True, highlight=False)


def error(message: str) -> None:
    """One line on standard error."""
    _errors.print(plain(f"scalpel: error: {message}"), markup=False)


def warn(message: str) -> None:
    """One line on standard error."""
    _errors.print(plain(f"scalpel: {message}"), markup=False)


def say(message: str) -> None:
    """One line on standard output, not wrapped."""
    console.print(plain(message), markup=False, highlight=False, soft_wrap=True)


def listing(
    title: str, rows: Iterable[Sequence[str]], columns: Mapping[str, int | None] | None = None
) -> None:
    """A row for each thing that there is; columns, if any, by their heads with their greatest widths."""
    shown = Table(
        title=_text(title),
        title_justify="left",
        show_header=columns is not None,
        box=None,
        padding=(0, 2, 0, 0) if columns is None else (0, 1, 1, 0),
    )
    for column, width in (columns or {}).items():
        shown.add_column(_text(column), max_width=width)
    for row in rows:
        shown.add_row(*map(_text, row))
    console.print(shown)


def checks(name: str, problems: Mapping[str, str]) -> None:
    """A line per rule of the contract."""
    for rule, problem in problems.items():
        say(f"{'FAIL' if problem else 'ok  '}  {rule}{': ' + problem if problem else ''}")
    broken = sum(map(bool, problems.values()))
    say(f"{name}: {len(problems) - broken} of {len(problems)} rules hold")


def table(title: str, frame: pd.DataFrame) -> None:
    """A data frame as a table.

    Where its words do not fit beside each other, what is the same in all rows is said in the title; where
    they still do not, each row is shown as lines, one a column.
    """
    shown = _rows(frame)
    if _too_wide(shown) and len(frame) > 1:
        same = [name for name in frame.columns[1:] if frame[name].astype(str).nunique() == 1]
        told = [f"{name} {value}" for name in same if (value := _cell(frame[name].iloc[0])) != ""]
        title = "; ".join([title, *told])
        frame = frame.drop(columns=same)
        shown = _rows(frame)
    say(title)
    console.print(_lines(frame) if _too_wide(shown) else shown)


def _rows(frame: pd.DataFrame) -> Table:
    import pandas as pd

    shown = Table()
    for column in frame.columns:
        right = pd.api.types.is_numeric_dtype(frame[column])
        shown.add_column(_text(column), justify="right" if right else "left")
    for row in frame.itertuples(index=False):
        shown.add_row(*(_text(_cell(value)) for value in row))
    return shown


def _lines(frame: pd.DataFrame) -> Table:
    shown = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for number, row in enumerate(frame.itertuples(index=False)):
        if number:
            shown.add_row()
        for column, value in zip(frame.columns, row, strict=True):
            shown.add_row(_text(column), _text(_cell(value)))
    return shown


def _too_wide(shown: Table) -> bool:
    """Whether some word would be cut."""
    unbounded = console.options.update(width=sys.maxsize)
    return Measurement.get(console, unbounded, shown).minimum > console.width


def _cell(value: object) -> object:
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:.4g}"
    return value


def _text(value: object) -> Text:
    """What is shown as it is: nothing in it is markup."""
    return Text(plain(str(value)))


def progress(items: Iterable[T], total: int, title: str) -> Iterator[T]:
    """A progress bar around ``items``."""
    with Bar(total, title, total) as bar:
        for item in items:
            yield item
            bar.advance(1)


class Bar:
    """A progress bar over things that take different times.

    Args:
        count: of the things.
        title: what it is about.
        work: of all of them, in any unit.
        expected: seconds that they are expected to take.
    """

    def __init__(self, count: int, title: str, work: float, expected: float | None = None) -> None:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[done]}/{task.fields[count]}"),
            TextColumn("elapsed"),
            TimeElapsedColumn(),
            _Left(),
        )
        self._bar = Progress(*columns, console=console)
        self._task = self._bar.add_task(
            plain(title), total=work, count=count, done=0, at=0.0, expected=expected
        )

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def advance(self, work: float, title: str | None = None) -> None:
        """One more thing is done, which was so much of the work."""
        task = self._bar.tasks[self._task]
        self._bar.update(
            self._task,
            advance=work,
            description=None if title is None else plain(title),
            done=task.fields["done"] + 1,
            at=task.elapsed or 0.0,
        )


class _Left(ProgressColumn):
    """The time that is left, told by the work that is done; before any is, by what was expected."""

    def render(self, task: Task) -> Text:
        """Such as ``left 0:12:30``."""
        fields, elapsed = task.fields, task.finished_time or task.elapsed or 0.0
        if task.finished:
            left = 0.0
        elif task.completed:
            rate = fields["at"] / task.completed
            left = rate * ((task.total or 0.0) - task.completed) - (elapsed - fields["at"])
        elif fields["expected"] is not None:
            left = fields["expected"] - elapsed
        else:
            return Text("left ?")
        return Text(f"left {timedelta(seconds=round(max(left, 0.0)))}")


class Steps:
    """A progress bar over the steps of one run."""

    def __init__(self, total: int, title: str) -> None:
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._bar.add_task(plain(title), total=total)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def update(self, step: int) -> None:
        """The number of steps done."""
        self._bar.update(self._task, completed=step)
