"""``scalpel report``: tables, figures and the page of recorded sweeps, made and shown."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from ...words import unknown
from ..analysis import Analysis, TrainingAnalysis, analyse, verdicts
from ..analysis.leaderboard import of_analyses
from ..messages import UserError, terminal
from ..records import Folder, RecordedSweep, load_sweep
from ..report import (
    FIGURES,
    page_tables,
    write_files,
    write_latex,
    write_leaderboard,
    write_page,
)
from .finished_jobs import warn_of_failed

MOST = 15
"""So many answered claims are told at the end of a long command."""


def report(
    paths: list[Path], output: Path | None, latex: bool = False, methods: list[str] | None = None
) -> None:
    """Write and show what is derived from the records of each folder, and one page over all of them.

    Args:
        paths: folders; of several, those without usable records are named and left out.
        output: the page; by default ``report.html`` in the folder, or in the parent that several share.
        latex: whether to write tables and figures for a paper, too.
        methods: labels that these show; None for those that figures have in colour.

    Raises:
        UserError: no folder has usable records, or one none of the methods, or the page is no HTML file, or
            something cannot be written.
    """
    paths = list({Folder(path).place: path for path in reversed(paths)}.values())[::-1]
    if output is None:
        shared = paths[0] if len(paths) == 1 else os.path.commonpath([path.absolute() for path in paths])
        output = Path(shared) / "report.html"
    elif output.suffix.lower() != ".html":
        raise UserError(f"--output {output}: the name of a page ends in .html")
    analyses, refused = [], []
    for path in paths:
        try:
            analyses.append(report_folder(path))
        except UserError as error:
            if len(paths) == 1:
                raise
            refused.append(str(error))
            terminal.warn(f"left out: {error}")
    if not analyses:
        raise UserError(f"none of the {len(paths)} folders has usable records")
    if latex:
        _check_labels(methods or [], analyses)
        for analysis in analyses:
            terminal.say(f"for LaTeX: {write_latex(analysis, methods)}")
    make_page(output, analyses, refused)


def _check_labels(methods: list[str], analyses: list[Analysis]) -> None:
    """Refuse a method that none of the sweeps has.

    Raises:
        UserError: there is one.
    """
    of = [analysis for analysis in analyses if isinstance(analysis, TrainingAnalysis)]
    known = {label for analysis in of for label in analysis.summary["method"]}
    if known and (strange := [label for label in methods if label not in known]):
        raise UserError(unknown("method", strange[0], sorted(known)))


def report_folder(path: Path) -> Analysis:
    """Write and show what is derived from the records of one folder."""
    return report_sweep(load_sweep(Folder(path)))


def report_sweep(sweep: RecordedSweep, brief: bool = False) -> Analysis:
    """Write what is derived from a sweep, and show it, unless it is to be brief."""
    path, analysis = sweep.folder.path, analyse(sweep)
    write_files(analysis)
    for line in analysis.sweep.not_counted:
        terminal.warn(f"left out: {line}")
    if left_out := len(analysis.sweep.not_counted):
        terminal.warn(f"{path}: {left_out} of {analysis.sweep.found} records left out")
    warn_of_failed(sweep)
    if not brief:
        terminal.table(f"{path}: {analysis.title}", analysis.overview)
        show_verdicts(str(path), analysis.claims)
        terminal.say(f"tables and figures: {path}")
    return analysis


def make_page(path: Path, analyses: list[Analysis], refused: list[str]) -> None:
    """Write the page, and beside it the leaderboard, where there are front ratios; say where the page is."""
    board = None
    try:
        board = of_analyses(analyses)
    except UserError as error:
        if len(analyses) > 1:
            terminal.warn(f"no leaderboard: {error}")
    write_page(path, analyses, refused, board)
    if board:
        write_leaderboard(path, board)
    terminal.say(f"report: {path}")


def show_verdicts(title: str, claims: pd.DataFrame) -> None:
    """Show the verdicts on claims, and what each claim says."""
    if claims.empty:
        return
    terminal.table(f"{title}: verdicts, each with its effect and interval", verdicts.side_by_side(claims))
    for claim in claims.drop_duplicates("id").itertuples():
        terminal.say(f"{claim.id}: {claim.text}")


def say_answers(analyses: list[Analysis], results: Path) -> None:
    """The claims that were answered, the number of the others, and where the figures are, in few lines."""
    claims = page_tables.by_claim(page_tables.of_all(analyses))
    answered, others = page_tables.by_answer(claims)
    terminal.say(f"answered: {len(answered)} of {len(claims)} claims")
    for claim in answered[:MOST]:
        told = {row["verdict"]: f"{row['verdict']} {row['effect']}" for row in claim["verdicts"].values()}
        terminal.say(f"  {claim['experiment']}: {claim['text']}: {' or '.join(told.values())}")
    if len(answered) > MOST:
        terminal.say(f"  and {len(answered) - MOST} more, in the report")
    if others:
        terminal.say(f"without an answer: {page_tables.counted(others)}")
    terminal.say(f"figures: {results}/<experiment>/{analyses[0].experiment.scale}/{FIGURES}")
