"""The command line, ``scalpel``: options and messages."""

import signal
import sys

__all__ = ["command", "main"]


def main() -> None:
    """Run the command; where a package of the suite is missing, say in one line what to install."""
    try:
        from .app import start

        start()
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "scalpel_bench"):
            raise
        print(
            f"scalpel: error: {package} is not installed: pip install 'scalpel-bench[suite]'", file=sys.stderr
        )
        sys.exit(2)
    except KeyboardInterrupt:  # before or after the command
        sys.exit(130)


def command() -> None:
    """`main`, as all of a process: a signal that comes once it has ended changes nothing any more."""
    try:
        main()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
