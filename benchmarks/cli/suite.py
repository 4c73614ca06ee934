"""Commands about the suite itself: what it has, new parts and their contract, its speed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..messages import terminal
from . import names
from .options import Device, Results


def list_(
    what: Annotated[
        Literal["methods", "tasks", "experiments"] | None, typer.Argument(help="Default: all three.")
    ] = None,
) -> None:
    """List methods, tasks and experiments."""
    if what in ("methods", None):
        terminal.listing("methods", names.methods(), names.METHOD_COLUMNS)
    if what in ("tasks", None):
        terminal.listing("tasks", names.tasks())
    if what in ("experiments", None):
        terminal.listing("experiments", {name: [text] for name, text in names.experiments().items()})
    for reason in names.unusable():
        terminal.warn(reason)


def check(
    name: Annotated[str, typer.Argument(help="A method or task, a plugin's too, or path/to/file.py:Class.")],
) -> None:
    """Check a method or a task against the contract, and say in words what fails."""
    from ..commands import check as command

    problems = command.check(name)
    terminal.checks(name, problems)
    raise typer.Exit(2 if any(problems.values()) else 0)


def new(
    kind: Annotated[Literal["method", "task", "box"], typer.Argument(help="What to write.")],
    name: Annotated[str, typer.Argument(help="Its name, such as my_method; of a box the experiment.")],
    folder: Annotated[Path, typer.Option(help="Where to write a method or a task.")] = Path(),
    scale: Annotated[str, typer.Option(help="Of a box: the scale of the experiment.")] = "laptop",
    results: Results = Path("results"),
) -> None:
    """Write a commented template of a method or a task with its test, or propose a box for an experiment."""
    if kind == "box":
        from ..commands.new_box import new_box

        lines = new_box(name, scale, results)
    else:
        from ..commands import new as command

        lines = command.new(kind, name, folder)
    for line in lines:
        terminal.say(line)


def bench(
    full: Annotated[bool, typer.Option("--full", help="More sizes, methods and models: an hour.")] = False,
    part: Annotated[
        str, typer.Option(help="Measure only these parts again, such as ab; or gpu: minutes on a GPU.")
    ] = "",
    device: Device = None,
    results: Results = Path("results"),
) -> None:
    """Measure speed and memory: ratios beside their targets, recorded under results/bench."""
    from .. import speed
    from ..execution import check_device, default_device

    chosen = device or default_device()
    check_device(chosen)
    rows = []
    with terminal.console.status("measuring") as status:
        for row in speed.measure(results, chosen, full, part):
            rows.append(row)
            status.update(row.figure)
    terminal.table("ratios of medians, measured in turns on one thread", speed.table(rows))
    terminal.say(f"record: {speed.record_path(results, full, chosen != 'cpu', part)}")
