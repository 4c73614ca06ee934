"""The commands ``scalpel results ...``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scalpel_bench.benchmarks.commands import session
from scalpel_bench.benchmarks.messages import terminal
from scalpel_bench.benchmarks.records import Folder
from scalpel_bench.benchmarks.report import documents

app = typer.Typer(help="Look after recorded results.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _results() -> None:
    """Look after recorded results."""


@app.command()
def verify(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Folders such as results/fig3a/laptop.")
    ],
    repair: Annotated[
        bool, typer.Option("--repair", help="Set bad records aside, and run what is missing or failed.")
    ] = False,
    data: Annotated[str, typer.Option(help="For --repair: embedded, hub, or a folder.")] = "embedded",
    workers: Annotated[int | None, typer.Option(min=1, help="For --repair: worker processes.")] = None,
    device: Annotated[str | None, typer.Option(help="For --repair: cpu, cuda, …")] = None,
) -> None:
    """Check records against their schema, their settings and the grid of their sweep."""
    from scalpel_bench.benchmarks.cli.app import place_of

    place = place_of(data, device, workers) if repair else None
    status = max(session.verify(path, place) for path in paths)
    if status == 0:
        terminal.say("nothing is missing")
    raise typer.Exit(status)


@app.command()
def pack(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Folders such as results/fig3a/workstation.")
    ],
) -> None:
    """Write all records of a folder into one compressed file, runs.jsonl.xz, which stands for them in git."""
    for path in paths:
        folder = Folder(path)
        count = folder.pack()
        terminal.say(f"{folder.archive}: {count} records, {folder.archive.stat().st_size / 1e6:.2f} MB")


@app.command()
def fill(
    pages: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Such as README.md.")],
    results: Annotated[Path, typer.Option(help="Folder of the recorded results.")] = Path("results"),
) -> None:
    """Fill the tables of documents from recorded results; each stands after a line <!-- KIND: WORDS -->."""
    for each in pages:
        documents.fill(each, results)
        terminal.say(f"{each}: filled")
