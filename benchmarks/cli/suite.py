"""Commands about the suite itself: what it has, new parts and their contract, its speed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..messages import UserError, terminal
from . import names, parsing
from .options import Device, Results


def list_(
    context: typer.Context,
    what: Annotated[
        Literal["methods", "tasks", "experiments"] | None, typer.Argument(help="Default: all three.")
    ] = None,
    results: Results = Path("results"),
) -> None:
    """List methods, tasks and experiments; packed records say which methods are evaluated."""
    if what not in ("methods", None):
        parsing.refuse_given(context, ["results"], "only methods are listed by what is recorded")
    if what in ("methods", None):
        if not results.is_dir():
            terminal.warn(f"{results}: no such folder, so no method counts as evaluated")
        title = "methods; evaluated: by packed records (runs.jsonl.xz) alone"
        terminal.listing(title, names.methods(results), names.METHOD_COLUMNS)
    if what in ("tasks", None):
        terminal.listing("tasks", names.tasks())
    if what in ("experiments", None):
        terminal.listing("experiments", list(names.experiments().items()))
    for reason in names.unusable():
        terminal.warn(reason)


def check(
    name: Annotated[
        str,
        typer.Argument(
            help="A method or task, a plugin's too, or path/to/file.py:Class.",
            autocompletion=names.complete_either,
        ),
    ],
) -> None:
    """Check a method or a task against the contract, and say in words what fails."""
    from ..commands import check as command

    found = command.check(parsing.checked(name, "method or task"))
    terminal.checks(name, found.problems)
    if found.note:
        terminal.say(f"note: {found.note}")
    raise typer.Exit(2 if any(found.problems.values()) else 0)


def new(
    context: typer.Context,
    kind: Annotated[Literal["method", "task", "experiment", "box"], typer.Argument(help="What to write.")],
    name: Annotated[
        str,
        typer.Argument(
            help="Its name, such as my_method; of an experiment the task; of a box the experiment.",
            autocompletion=names.complete_new,
        ),
    ],
    folder: Annotated[Path, typer.Option(help="Where to write it.")] = Path(),
    scale: Annotated[str, typer.Option(help="Of a box: the scale of the experiment.")] = "laptop",
    results: Results = Path("results"),
) -> None:
    """Write a commented template of a method, a task or an experiment, or propose a box for an experiment."""
    unused = ["folder"] if kind == "box" else ["scale", "results"]
    parsing.refuse_given(context, unused, f"has no effect on a new {kind}")
    if kind == "experiment":
        from ..commands.new_experiment import new_experiment

        lines = new_experiment(parsing.checked(name, "task"), folder)
    elif kind == "box":
        from ..commands.new_box import new_box

        lines = new_box(name, scale, results)
    else:
        from ..commands import new as command

        lines = command.new(kind, name, folder)
    for line in lines:
        terminal.say(line)


def bench(
    context: typer.Context,
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

    if part == speed.GPU:
        parsing.refuse_given(context, ["full"], "--part gpu has one size")
    chosen = check_device(device or default_device())
    rows = []
    with terminal.console.status("measuring") as status:
        for row in speed.measure(results, chosen, full, part):
            rows.append(row)
            status.update(row.figure)
    terminal.table("medians of ratios, measured in turns on one thread", speed.table(rows))
    terminal.say(f"record: {speed.record_path(results, full, chosen != 'cpu', part)}")


def simulate(
    what: Annotated[Literal["verdicts"], typer.Argument(help="What to simulate.")],
    noise_of: Annotated[
        str, typer.Option(help="Folders under the results whose means and noise are taken.")
    ] = "fig3b/workstation,fig5a/workstation",
    seeds: Annotated[str, typer.Option(help="Numbers of seeds.")] = "3,6,10,15",
    effects: Annotated[str, typer.Option(help="By how much less main loss methods have.")] = "0.02,0.05,0.1",
    noise: Annotated[float, typer.Option(min=1, help="How noisy a method is that equals sum.")] = 3.0,
    repeats: Annotated[int, typer.Option(min=1, help="Sweeps of each kind.")] = 400,
    results: Results = Path("results"),
) -> None:
    """Simulate how often verdicts are wrong, on drawn end points: minutes, a table in results/simulate."""
    from ..commands import simulate as command

    folders = [results / name for name in noise_of.split(",")]
    counts, shares = parsing.numbers("--seeds", seeds), parsing.numbers("--effects", effects)
    if not all(count.is_integer() and count >= 2 for count in counts):
        raise UserError(f"--seeds {seeds}: write whole numbers from 2 on")
    if not math.isfinite(noise):
        raise UserError(f"--noise {noise}: write a finite number")
    if not all(0 < share < 1 for share in shares):
        raise UserError(f"--effects {effects}: write numbers between 0 and 1")
    cells = command.simulate_verdicts(folders, [int(count) for count in counts], shares, noise, repeats)
    total = len(folders) * len(counts) * (2 + len(shares))
    rows = list(terminal.progress(cells, total, "simulating"))
    terminal.say(f"table: {command.write(rows, results)}")
