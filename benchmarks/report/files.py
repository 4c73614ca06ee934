"""Files beside the records, which can always be made again from them: tables, figures, provenance."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from .. import figures
from ..analysis.analyses import Analysis
from ..analysis.leaderboard import Leaderboard
from ..experiments.command_line import sweep_command
from ..experiments.settings import TrainingRun
from ..experiments.suite import SUITE
from ..records import Folder, code_identity, write_atomically

PROVENANCE = "provenance.json"
FIGURES = "figures"
SAMPLES = "samples"
"""The figure of training examples, which a sweep draws."""
_FORMULA, _GUARDED = re.compile(r"'*[=+\-@\t\r]"), re.compile(r"'+[=+\-@\t\r]")
DRAWING = Path(figures.__file__).with_name("drawing.py")
"""The module whose imports decide how figures look."""


def write_files(analysis: Analysis) -> None:
    """Write the tables of an analysis as CSV, its figures, and where the numbers come from.

    Figures are drawn again only where the records, or the code that draws, have changed.

    Raises:
        UserError: a file cannot be written.
    """
    folder = analysis.sweep.folder
    for name, frame in analysis.tables.items():
        write_atomically(folder.path / f"{name}.csv", as_csv(frame))
    provenance = provenance_of(analysis)
    if _read(folder).get("drawn_from") != provenance["drawn_from"] or not _drawn(folder):
        _draw(analysis, folder.path / FIGURES)
    write_atomically(folder.path / PROVENANCE, json.dumps(provenance, indent=1) + "\n")


def _draw(analysis: Analysis, folder: Path) -> None:
    """Draw all figures, and remove those of an earlier report that are drawn no more."""
    drawn = {file.stem for file in figures.draw(analysis, folder)} | {SAMPLES}
    for file in [*folder.glob("*.png"), *folder.glob("*.pdf")]:
        if file.stem not in drawn:
            file.unlink()


def write_leaderboard(page: Path, board: Leaderboard) -> None:
    """Write a leaderboard as CSV beside a page.

    It is ``leaderboard.csv`` beside ``report.html``, and ``NAME-leaderboard.csv`` beside ``NAME.html``.

    Raises:
        UserError: the file cannot be written.
    """
    name = "leaderboard.csv" if page.stem == "report" else f"{page.stem}-leaderboard.csv"
    write_atomically(page.with_name(name), as_csv(board.table))


def provenance_of(analysis: Analysis) -> dict[str, Any]:
    """Where the numbers come from: command, data, environments, how the runs ended, how many do not count.

    ``suite`` is the version by whose box and statistics the tables were made; the environments say in which
    version runs were recorded.
    """
    records, sweep = analysis.runs, analysis.sweep
    environments = Counter(json.dumps(record.environment, sort_keys=True) for record in records)
    data = {run.data for record in records if isinstance(run := record.run, TrainingRun)}
    sources = {record.data_source for record in records}
    return {
        "suite": SUITE,
        "commands": list(sweep.manifest.commands) or [sweep_command(analysis.experiment, sources)],
        "runs": dict(Counter(record.status for record in records)),
        "left_out": len(sweep.not_counted),
        "data": sorted(f"{each.name} {each.fingerprint}" for each in data),
        "environments": [{**json.loads(text), "runs": count} for text, count in environments.most_common()],
        "train_seconds": round(sum(record.timings.get("train", 0.0) for record in records), 1),
        "drawn_from": f"{sweep.digest} {code_identity(DRAWING)}",
    }


def read_table(folder: Path, name: str) -> pd.DataFrame:
    """A table that `write_files` wrote; words such as None or NA are words.

    Raises:
        FileNotFoundError: there is none.
    """
    table = pd.read_csv(folder / f"{name}.csv", keep_default_na=False, na_values=[""])
    return table.map(lambda cell: cell[1:] if isinstance(cell, str) and _GUARDED.match(cell) else cell)


def as_csv(frame: pd.DataFrame, digits: int = 8) -> str:
    """A table as text; words that a spreadsheet would take for a formula stand behind an apostrophe."""
    safe = frame.map(lambda cell: f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell)
    return safe.to_csv(index=False, float_format=f"%.{digits}g")


def _read(folder: Folder) -> dict[str, Any]:
    try:
        content = json.loads((folder.path / PROVENANCE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _drawn(folder: Folder) -> bool:
    return any((folder.path / FIGURES).glob("*.png"))
