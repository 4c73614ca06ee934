"""The command line, in this process or in one of its own."""

import json
import os
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import pytest

from scalpel_bench.benchmarks.cli import main
from scalpel_bench.benchmarks.messages import terminal

SOURCE = str(Path(__file__).parents[2] / "src")
SMALL = ["--scale", "smoke", "--workers", "1"]


class Said(NamedTuple):
    """What a command wrote."""

    stdout: str
    stderr: str


def process(*arguments: str, cwd: Path, status: int = 0, **environment: str) -> Said:
    """The command, or other Python, as a process of its own."""
    given = arguments if arguments[0] == "-c" else ("-m", "scalpel_bench.benchmarks.cli", *arguments)
    command = [sys.executable, *given]
    variables = {**os.environ, "PYTHONPATH": SOURCE, "COLUMNS": "120", **environment}
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=variables, timeout=240)
    assert done.returncode == status, done.stdout + done.stderr
    return Said(done.stdout, done.stderr)


def scalpel(*arguments: str, cwd: Path, status: int = 0) -> Said:
    """The command in this process; its workers are processes of their own."""
    out, error = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patch, chdir(cwd), redirect_stdout(out), redirect_stderr(error):
        patch.setattr(sys, "argv", ["scalpel", *arguments])
        patch.setenv("COLUMNS", "120")
        patch.setattr(terminal.console, "_width", 120)  # which has read the variable long ago
        with pytest.raises(SystemExit) as caught:
            main()
    said = Said(out.getvalue(), error.getvalue())
    assert (caught.value.code or 0) == status, said
    return said


ONE_AFTER_THE_OTHER = """
import json, sys
from scalpel_bench.benchmarks.cli import main
status = 0
for arguments in json.loads(sys.argv[1]):
    sys.argv[1:] = arguments
    try:
        main()
    except SystemExit as ended:
        status = status or ended.code
sys.exit(status)
"""


def in_turn(*commands: str, cwd: Path, status: int = 0, path: str = "") -> str:
    """What commands say, one after the other in one process, of which the first that fails has the status."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [SOURCE, path])),
        "COLUMNS": "160",
    }
    arguments = json.dumps([command.split() for command in commands])
    done = subprocess.run(
        [sys.executable, "-c", ONE_AFTER_THE_OTHER, arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
        timeout=240,
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr
