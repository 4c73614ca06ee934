"""Weights & Biases: a view of the records, sent by a process of its own that training never waits for."""

from __future__ import annotations

import json
import os
import queue
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..analysis.analyses import Analysis
from ..messages import UserError, terminal
from ..records import Folder, Record
from . import wandb_process
from .runs import WandbRun, of_record, of_sweep

PROJECT = "scalpel"
PATIENCE = 60.0
"""Seconds without news after which the sender is ended; each of its own steps takes less."""


class Tracker:
    """Sends runs to W&B in the background; whatever fails there is one line at the end.

    Args:
        mode: disabled, offline or online.
        results: where W&B writes its files, in ``wandb/``, unless ``WANDB_DIR`` says otherwise.
        project: default: ``WANDB_PROJECT``, else "scalpel".
        entity: default: ``WANDB_ENTITY``, else the account's own.
        yields: whether the sender leaves the processor to others, as beside training.

    Raises:
        UserError: the project's name cannot be one, or W&B is not installed.
    """

    def __init__(
        self,
        mode: str,
        results: Path,
        project: str | None = None,
        entity: str | None = None,
        yields: bool = True,
    ) -> None:
        self.mode = mode
        self.project = project or os.environ.get("WANDB_PROJECT") or PROJECT
        self.entity = entity or os.environ.get("WANDB_ENTITY")
        self.yields = yields
        self.results = results
        self.folder = Path(os.environ.get("WANDB_DIR") or results)
        self.sent: dict[str, dict[str, Any]] = {}
        self._queued: dict[str, Path] = {}
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._started = threading.Event()
        self._news = 0.0
        self._error: dict[str, Any] = {}
        if mode != "disabled":
            _check_project(self.project)
            if find_spec("wandb") is None:
                raise UserError("W&B is not installed: pip install wandb, or --wandb disabled")

    def __enter__(self) -> Self:
        """Start the sender.

        Raises:
            UserError: nobody is logged in to W&B, or its folder cannot be written.
        """
        if self.mode == "disabled":
            return self
        try:
            (self.folder / "wandb").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"W&B folder {self.folder} cannot be written: {error.strerror}") from error
        self._sender = subprocess.Popen(
            [sys.executable, "-P", wandb_process.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=_environment(self.folder),
            start_new_session=True,
        )
        place = {"mode": self.mode, "project": self.project, "entity": self.entity, "dir": str(self.folder)}
        self._lines.put(json.dumps({"yields": self.yields, "place": place}) + "\n")
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        threading.Thread(target=self._write, daemon=True).start()
        if self.mode == "online" and self._started.wait(PATIENCE) and self._error.get("login"):
            raise UserError("W&B: nobody is logged in; run `wandb login`, or use --wandb offline")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.mode != "disabled":
            self._wait()
            self._tell()

    @property
    def unsent(self) -> list[str]:
        """Ids of the W&B runs that have not arrived."""
        return [key for key in self._queued if key not in self.sent]

    def log(self, record: Record, folder: Folder) -> None:
        """Send the run of a record in this folder."""
        if self.mode != "disabled":
            self.put(of_record(record), folder)

    def log_sweep(self, analysis: Analysis) -> None:
        """Send the tables, figures and fronts of a sweep."""
        if self.mode != "disabled":
            self.put(of_sweep(analysis), analysis.sweep.folder)

    def put(self, run: WandbRun, folder: Folder) -> None:
        """Send a W&B run; ``folder`` is where its records are."""
        self._queued[run.id] = folder.path
        self._lines.put(run.line())

    def command(self, folders: Iterable[Path], mode: str) -> str:
        """The command that sends what is recorded in these folders to the same project."""
        words = ["scalpel", "dashboard", *map(str, folders), "--wandb", mode, "--project", self.project]
        words += ["--entity", self.entity] if self.entity else []
        words += ["--results", str(self.results)] if self.results != Path("results") else []
        return shlex.join(words)

    def _write(self) -> None:
        assert self._sender.stdin is not None
        with suppress(OSError), self._sender.stdin as pipe:
            for line in iter(self._lines.get, None):
                pipe.write(line)
                pipe.flush()

    def _read(self) -> None:
        assert self._sender.stdout is not None
        for line in self._sender.stdout:
            said = _message(line)
            if "sent" in said:
                self.sent[said["sent"]] = said
            if "error" in said and not self._error:
                self._error = said
            self._news = time.monotonic()
            self._started.set()
        self._started.set()

    def _wait(self) -> None:
        """Let the sender finish for as long as it makes progress."""
        self._lines.put(None)
        self._news = time.monotonic()
        if self.mode == "online" and len(self.unsent) > 1:
            terminal.say(f"W&B: {len(self.unsent)} runs still to send; Ctrl-C stops that, and only that")
        try:
            while self._reader.is_alive():
                self._reader.join(0.5)
                if time.monotonic() - self._news > PATIENCE:
                    self._error = {"error": f"no answer for {PATIENCE:g} s"}
                    break
        except KeyboardInterrupt:
            self._error = {"error": "stopped"}
        if self._reader.is_alive():
            self._sender.kill()
        try:
            self._sender.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._sender.kill()
            self._sender.wait()

    def _tell(self) -> None:
        """One line: where the runs are, or what is missing and how to send it."""
        count, unsent = len(self._queued), self.unsent
        if unsent:
            cause = self._error.get("error") or f"its process ended with status {self._sender.returncode}"
            folders = dict.fromkeys(self._queued[key] for key in unsent)
            terminal.warn(
                f"W&B: {len(unsent)} of {count} runs were not sent ({cause}); the records are complete, "
                f"this sends them: {self.command(folders, self.mode)}"
            )
        elif count and self.mode == "offline":
            runs = f"{shlex.quote(str(self.folder / 'wandb'))}/offline-run-*"
            terminal.say(f"W&B: {count} offline runs; this sends them: wandb sync {runs}")
        elif count:
            url = next(iter(self.sent.values()))["url"].partition("/runs/")[0]
            terminal.say(f"W&B: {count} runs sent to {url}")


def _message(line: str) -> dict[str, Any]:
    """What the sender says; nothing where a library of its own printed."""
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _check_project(name: str) -> None:
    if found := re.search(r"[/\\#?%:]", name):
        raise UserError(f"W&B project {name!r}: a name cannot contain {found[0]!r}")
    if len(name) > 128:
        raise UserError(f"W&B project {name[:20]!r}…: a name has at most 128 characters")


def _environment(folder: Path) -> dict[str, str]:
    """The sender's: tables wait beside the runs until they are sent; a run is replaced, never resumed."""
    variables = {"WANDB_DATA_DIR": str(folder.resolve() / "wandb" / "data"), **os.environ}
    return {key: value for key, value in variables.items() if key not in ("WANDB_RESUME", "WANDB_RUN_ID")}
