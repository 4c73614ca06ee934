"""A folder of records: one JSON file per run, and an archive of them for git."""

from __future__ import annotations

import hashlib
import lzma
import os
import tempfile
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ...own_files import is_own_file, unpacked
from ...words import first_line
from ..messages import UserError
from .atomic_write import write_atomically
from .record import Record, parse

Stamp = tuple[int, int, int] | None


class Content(NamedTuple):
    """What a folder holds: its valid records in order of their ids, files that are none, damaged archives."""

    records: list[Record]
    bad_files: dict[Path, str]
    damaged: list[str]

    @property
    def rejected(self) -> list[str]:
        """A line for each file that is no valid record, with the reason."""
        return [f"{file.name}: {reason}" for file, reason in self.bad_files.items()] + self.damaged


LARGEST = 900_000
"""Bytes of a file of packed records with more than one in it."""


@dataclass(frozen=True)
class Folder:
    """``results/<experiment>/<scale>``: the records of one sweep and what is derived from them."""

    path: Path

    @property
    def place(self) -> Path:
        """Its absolute path: what ``.`` and ``..`` mean here."""
        return Path(os.path.abspath(self.path))  # noqa: PTH100 (links stay)

    @property
    def results(self) -> Path:
        """The folder of all experiments."""
        return self.place.parent.parent

    @property
    def runs(self) -> Path:
        """Where the records are."""
        return self.path / "runs"

    def prepare(self) -> None:
        """Make the folder, without what a process that was killed a day ago left half-written.

        Raises:
            UserError: it cannot be written, or leads elsewhere.
        """
        refuse_link(self.runs)
        try:
            self.runs.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.runs):
                pass
            for left in self.runs.glob(".*.tmp"):
                if time.time() - left.lstat().st_mtime > 86400:
                    left.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"results folder {self.path} cannot be written: {error.strerror}") from error

    def write(self, record: Record) -> None:
        """Write a record so that a reader sees the whole of it or none; the run needs no checkpoint any more.

        Raises:
            UserError: it cannot be written.
        """
        write_atomically(self.file(record.id), record.sealed())
        if record.status != "failed":
            self.checkpoint(record.id).unlink(missing_ok=True)

    def checkpoint(self, run_id: str) -> Path:
        """Where a run in progress leaves its state."""
        return self.runs / f"{run_id}.checkpoint"

    @property
    def archive(self) -> Path:
        """What `pack` writes: a record per line, compressed, small enough for git."""
        return self.path / "runs.jsonl.xz"

    @property
    def archives(self) -> list[Path]:
        """`archive`, and ``runs.2.jsonl.xz`` and so on where it would be large: those that are there."""
        further = sorted(self.path.glob("runs.[0-9]*.jsonl.xz"))
        return [*([self.archive] if self.archive.exists() else []), *further]

    @property
    def has_records(self) -> bool:
        """Whether there are any, valid or not."""
        return bool(self.archives) or any(self.runs.glob("*.json"))

    def pack(self) -> int:
        """Write all valid records into `archives`, and say how many; `read` finds them there without `runs`.

        Raises:
            UserError: it cannot be written, there are no records, or an archive is damaged.
        """
        content = self.undamaged()
        if not content.records:
            raise UserError(none_of(self, content.rejected))
        self.archive_of(content.records)
        return len(content.records)

    def archive_of(self, records: Iterable[Record]) -> None:
        """Write these records as `archives`, of at most `LARGEST` bytes each.

        All are written before the first takes the place of an old one, so that a full disk costs nothing.

        Raises:
            UserError: they cannot be written.
        """
        lines = [record.sealed().encode() for record in records]
        size = max(len(lines), 1)
        while max(map(len, parts := _compressed(lines, size))) > LARGEST and size > 1:
            size = -(-size // 2)
        files = [self.archive, *(self.path / f"runs.{n}.jsonl.xz" for n in range(2, len(parts) + 1))]
        written = [file.with_name(f".{file.name}.new") for file in files]
        try:
            for new, part in zip(written, parts, strict=True):
                write_atomically(new, part)
        except UserError:
            for new in written:
                new.unlink(missing_ok=True)
            raise
        in_turn = [*zip(written, files, strict=True)]
        if len(files) > len(self.archives):  # what the first held is in the others, too: it comes last
            in_turn.reverse()
        for new, file in in_turn:
            new.replace(file)
        for file in {*self.archives} - {*files}:
            file.unlink()

    def file(self, run_id: str) -> Path:
        """Where the record of a run is."""
        return self.runs / f"{run_id}.json"

    def stamp(self, run_id: str) -> Stamp:
        """What changes when the record of a run is written; None where there is no record."""
        try:
            state = self.file(run_id).stat()
        except OSError:
            return None
        return state.st_ino, state.st_mtime_ns, state.st_size

    def find(self, run_id: str) -> Record | None:
        """The valid record of a run."""
        record, _ = _check_file(self.file(run_id))
        return record

    def set_aside(self, content: Content) -> Content:
        """Rename every file that is still no valid record to ``*.rejected``. Returns what is left.

        The reason is the first line of the new file, the bytes of the old one follow; what is no file of its
        own, such as a link, is renamed as it is.

        Raises:
            UserError: the folder cannot be written.
        """
        for file, reason in content.bad_files.items():
            try:
                if not is_own_file(file):
                    file.rename(file.with_name(f"{file.stem}.{uuid.uuid4().hex[:8]}.rejected"))
                    continue
                if self.find(file.stem) is not None:  # another sweep has written it meanwhile
                    continue
                held = file.read_bytes()
                digest = hashlib.sha256(held).hexdigest()[:8]
                aside = file.with_name(f"{file.stem}.{digest}.rejected")
                write_atomically(aside, f"{reason}\n".encode() + held)
                file.unlink()
            except FileNotFoundError:  # another sweep has set it aside
                continue
            except OSError as error:
                raise UserError(f"{file} cannot be set aside: {error.strerror}") from error
        return content._replace(bad_files={})

    def content(self) -> Content:
        """Read all that is there. A record in `runs` counts before that of the same run in the archive.

        What a symbolic link leads to is never read: it is no part of the folder.

        Raises:
            UserError: `runs` is such a link.
        """
        refuse_link(self.runs)
        records, bad_files = self._files()
        known = {record.id for record in records}
        packed, damaged = self._packed()
        records += [record for record in packed if record.id not in known]
        return Content(sorted(records, key=lambda record: record.id), bad_files, damaged)

    def undamaged(self) -> Content:
        """`content`, before its archives are written over.

        Raises:
            UserError: an archive is damaged.
        """
        content = self.content()
        if content.damaged:
            raise UserError(
                f"{self.path}: {content.damaged[0]}: packing would write over it; restore the archive, or "
                "move it away to go on without its records"
            )
        return content

    def read(self) -> tuple[list[Record], list[str]]:
        """All valid records in order of their ids, and a line for each file that is not one."""
        content = self.content()
        return content.records, content.rejected

    def _packed(self) -> tuple[list[Record], list[str]]:
        """The records of the archives, and what is wrong with them."""
        records: dict[str, Record] = {}
        damaged = []
        for archive in self.archives:
            try:
                lines = unpacked(archive)
            except (lzma.LZMAError, OSError, MemoryError) as error:
                damaged.append(f"{archive.name}: not an archive of records ({first_line(error)})")
                continue
            for number, line in enumerate(lines, 1):
                record, reason = parse(line)
                if record is None:
                    damaged.append(f"{archive.name}, line {number}: {reason}")
                else:
                    records[record.id] = record
        return list(records.values()), damaged

    def _files(self) -> tuple[list[Record], dict[Path, str]]:
        records: list[Record] = []
        rejected: dict[Path, str] = {}
        for file in sorted(self.runs.glob("*.json")):
            record, reason = _check_file(file)
            if record is not None:
                records.append(record)
            elif reason:
                rejected[file] = reason
        return records, rejected


def _compressed(lines: list[bytes], size: int) -> list[bytes]:
    """Parts of ``size`` lines each, one at least."""
    starts = range(0, max(len(lines), 1), size)
    return [lzma.compress(b"".join(lines[start : start + size]), preset=9) for start in starts]


def none_of(folder: Folder, rejected: list[str]) -> str:
    """That a folder has no records, in words."""
    more = f": {len(rejected)} left out, the first: {rejected[0]}" if rejected else ""
    return f"{folder.runs}: no valid records{more}"


def refuse_link(inside: Path) -> None:
    """Refuse a folder inside that of a sweep that leads elsewhere: what comes with results may name any.

    Raises:
        UserError: it is a symbolic link.
    """
    if inside.is_symlink():
        raise UserError(
            f"{inside} is a symbolic link: move what it leads to here, or link all of the results"
        )


def _check_file(file: Path) -> tuple[Record | None, str]:
    """The record in a file, or why it is none; neither where there is no file."""
    try:
        if not is_own_file(file):
            return None, "no regular file"
        content = file.read_bytes()
    except FileNotFoundError:
        return None, ""
    except OSError as error:
        return None, f"cannot be read ({error.strerror})"
    record, reason = parse(content)
    if record is not None and record.id != file.stem:
        return None, f"a copy of the record of run {record.id}"
    return record, reason
