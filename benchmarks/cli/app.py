"""The application: its commands, and how they end."""

from __future__ import annotations

import signal
import sys
from importlib.metadata import version
from io import TextIOWrapper
from typing import Annotated, Any

import typer

from ...words import first_line
from ..experiments.suite import SUITE
from ..messages import UserError, terminal
from . import recorded, running, suite

app = typer.Typer(
    name="scalpel",
    help="The reproducible benchmark suite for gradient-surgery methods.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        terminal.say(f"scalpel {version('scalpel-bench')}, suite {SUITE}")
        raise typer.Exit


@app.callback()
def _scalpel(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_tell_version,
            is_eager=True,
            help="Show the version, and that of the suite.",
        ),
    ] = False,
) -> None:
    """The reproducible benchmark suite for gradient-surgery methods."""


app.command("list")(suite.list_)
app.command()(running.run)
app.command()(running.sweep)
app.command()(running.reproduce)
app.command()(running.plan)
app.command()(running.compare)
app.command()(recorded.report)
app.command()(recorded.leaderboard)
app.command()(recorded.dashboard)
app.command()(suite.check)
app.command()(suite.new)
app.command()(suite.bench)
app.command()(suite.simulate)
app.add_typer(recorded.app, name="results")


UsageError: Any = typer.BadParameter.__base__
"""What typer raises of arguments and options that are wrong; older versions take it from click."""


def _tell_usage(error: Any) -> None:
    """A usage error in one line; a command without the arguments that it needs shows its help."""
    if type(error).show is not UsageError.show:
        error.show()
        return
    text = " ".join(error.format_message().split()).rstrip(".")
    command = error.ctx.command_path if error.ctx else "scalpel"
    terminal.error(f"{text}{' Try' if text.endswith('?') else '; try'} {command} --help")


def start() -> None:
    """Run the command; what a person can cause becomes one line and an exit status.

    SIGTERM, and SIGHUP unless it is ignored (``nohup``), stop it as Ctrl-C does. What the encoding of
    standard output lacks is shown as an escape.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        sys.exit(app(prog_name="scalpel", standalone_mode=False))
    except UsageError as error:
        _tell_usage(error)
        sys.exit(UserError.status)
    except OSError as error:  # whatever file or folder a person named, or lost
        where = f"{error.filename}: " if error.filename is not None else ""
        terminal.error(f"{where}{error.strerror or first_line(error)}")
        sys.exit(UserError.status)
    except UserError as error:
        terminal.error(str(error))
        sys.exit(error.status)
