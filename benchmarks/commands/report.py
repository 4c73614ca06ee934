"""``scalpel report``: tables, figures and the page of recorded sweeps, made and shown."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from scalpel_bench.benchmarks.analysis import verdicts
from scalpel_bench.benchmarks.messages import UserError, terminal
from scalpel_bench.benchmarks.records.folder import Folder
from scalpel_bench.benchmarks.report import derive, page


def report(paths: list[Path], output: Path | None) -> None:
    """Write and show what is derived from the records of each folder, and one page over all of them.

    Args:
        paths: folders; of several, those without usable records are named and left out.
        output: the page; by default ``report.html`` in the folder, or in the parent that several share.

    Raises:
        UserError: no folder has usable records, or something cannot be written.
    """
    paths = list(dict.fromkeys(paths))
    if output is None:
        shared = paths[0] if len(paths) == 1 else os.path.commonpath([path.absolute() for path in paths])
        output = Path(shared) / "report.html"
    sources, refused = [], []
    for path in paths:
        try:
            sources.append(report_folder(path))
        except UserError as error:
            if len(paths) == 1:
                raise
            refused.append(str(error))
            terminal.warn(f"left out: {error}")
    if not sources:
        raise UserError(f"none of the {len(paths)} folders has usable records")
    write_page(output, sources, refused)


def report_folder(path: Path) -> page.Source:
    """Write and show what is derived from the records of one folder."""
    folder = Folder(path)
    derived = derive.derive(folder)
    for line in derived.left_out:
        terminal.warn(f"left out: {line}")
    if derived.left_out:
        terminal.warn(f"{path}: {len(derived.left_out)} of {derived.records} records left out")
    terminal.table(f"{path}: {derived.title}", derived.overview)
    show_verdicts(str(path), derived.claims)
    terminal.say(f"tables and figures: {path}")
    return page.Source(folder, derived)


def write_page(path: Path, sources: list[page.Source], refused: list[str]) -> None:
    """Write the page, and say where it is."""
    page.write(path, sources, refused)
    terminal.say(f"report: {path}")


def show_verdicts(title: str, claims: pd.DataFrame) -> None:
    """Show the verdicts on claims, and what each claim says."""
    if claims.empty:
        return
    terminal.table(f"{title}: verdicts, each with its effect and interval", verdicts.side_by_side(claims))
    for claim in claims.drop_duplicates("id").itertuples():
        terminal.say(f"{claim.id}: {claim.text}")
