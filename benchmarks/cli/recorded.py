"""Commands about recorded results: their report, W&B, and ``scalpel results ...``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..messages import UserError, terminal
from . import parsing
from .options import Results

app = typer.Typer(
    help="Check, repair, replay and pack recorded results.", no_args_is_help=True, rich_markup_mode=None
)

Folders = Annotated[
    list[Path], typer.Argument(metavar="PATH...", help="Folders such as results/fig3a/laptop.")
]


def report(
    paths: Folders,
    output: Annotated[
        Path | None, typer.Option(help="The page; default: report.html in the folder, or above several.")
    ] = None,
    latex: Annotated[
        bool, typer.Option("--latex", help="Write booktabs tables and single-column figures to latex/, too.")
    ] = False,
    methods: Annotated[
        str | None, typer.Option(help="For --latex: comma-separated; default: those in colour.")
    ] = None,
) -> None:
    """Make the tables and figures of recorded runs again, and one page to compare them in."""
    from ..commands import report as command

    if methods is not None and not latex:
        raise UserError("--methods chooses what --latex writes: give both")
    labels = None if methods is None else [label.strip() for label in methods.split(",") if label.strip()]
    if labels == []:
        raise UserError("--methods: no method is named")
    command.report(paths, output, latex, labels)


def leaderboard(
    context: typer.Context,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PATH]...",
            help="Folders of results or sweeps; default: those under results with three seeds, no controls.",
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(help="One method against the rest: its row, and its ratio to each rival."),
    ] = None,
    each: Annotated[bool, typer.Option("--each", help="A table for every experiment too.")] = False,
) -> None:
    """Rank the methods of recorded sweeps, over all and in each experiment."""
    from ..commands import leaderboard as command

    if method is not None:
        parsing.refuse_given(
            context, ["each"], "--method has a row for every rival instead; leave one of them out"
        )
    board = command.load_board(paths or [])
    if method is None:
        command.show_board(board, each)
    else:
        command.show_method(board, method)


def dashboard(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="[PATH]...", help="Default: all folders under results.")
    ] = None,
    wandb: Annotated[
        Literal["offline", "online"],
        typer.Option(envvar="WANDB_MODE", help="Send to W&B, or write files for `wandb sync`."),
    ] = "online",
    project: Annotated[
        str | None, typer.Option(help="W&B project; default: WANDB_PROJECT, else scalpel.")
    ] = None,
    entity: Annotated[
        str | None, typer.Option(help="W&B user or team; default: WANDB_ENTITY, else the account's.")
    ] = None,
    results: Results = Path("results"),
) -> None:
    """Send recorded runs to Weights & Biases, with their tables, figures and saved views."""
    from ..dashboard import push

    raise typer.Exit(push(paths or [], results, wandb, project, entity))


@app.callback()
def _results() -> None:
    """Check, repair, replay and pack recorded results."""


@app.command()
def verify(
    context: typer.Context,
    paths: Folders,
    repair: Annotated[
        bool, typer.Option("--repair", help="Set bad records aside, and run what is missing or failed.")
    ] = False,
    data: Annotated[str, typer.Option(help="For --repair: embedded, hub, or a folder.")] = "embedded",
    workers: Annotated[int | None, typer.Option(min=1, help="For --repair: worker processes.")] = None,
    device: Annotated[str | None, typer.Option(help="For --repair: cpu, cuda, …")] = None,
) -> None:
    """Check records against their schema, their settings and the grid that the last sweep was asked for.

    Says how many records are of other code, too: `scalpel results replay PATH` adopts them if the numbers
    agree. That alone leaves the exit status 0.
    """
    from ..commands import verify as command

    if not repair:
        parsing.refuse_given(context, ["data", "workers", "device"], "nothing is run without --repair")
    options = parsing.execution_options(data, device, workers) if repair else None
    raise typer.Exit(max(command.verify(path, options) for path in paths))


@app.command()
def replay(
    paths: Folders,
    sample: Annotated[
        int,
        typer.Option(min=0, help="How many runs of each folder, drawn in turns from its methods; 0: all."),
    ] = 12,
    whole: Annotated[
        bool, typer.Option("--whole", help="To the end of training, not to the first evaluation.")
    ] = False,
    data: Annotated[str, typer.Option(help="What the runs saw: embedded, hub, or a folder.")] = "embedded",
    device: Annotated[str | None, typer.Option(help="cpu, cuda, …")] = None,
) -> None:
    """Compute recorded runs again and compare every bit; records of older code that agree are adopted."""
    from ..commands import replay as command

    options = parsing.execution_options(data, device, 1)
    raise typer.Exit(max(command.replay(path, sample, whole, options) for path in paths))


@app.command()
def pack(paths: Folders) -> None:
    """Write all records of a folder into a compressed file, runs.jsonl.xz, which stands for them in git.

    Where it would be larger than 0.9 MB, further files take a part of them: runs.2.jsonl.xz and so on.
    """
    from ..records import Folder

    for path in paths:
        folder = Folder(path)
        count = folder.pack()
        sizes = " + ".join(f"{file.stat().st_size / 1e6:.2f}" for file in folder.archives)
        terminal.say(f"{folder.archive}: {count} records, {sizes} MB")


@app.command()
def fill(
    pages: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Such as README.md.")],
    results: Annotated[Path, typer.Option(help="Folder of the recorded results.")] = Path("results"),
) -> None:
    """Fill the tables of documents from recorded results; each stands after a line <!-- KIND: WORDS -->."""
    from ..report import fill as fill_tables

    for each in pages:
        fill_tables(each, results)
        terminal.say(f"{each}: filled")
