"""What is made of an analysis to read: files beside the records, one page, tables of documents."""

from pathlib import Path

from .files import FIGURES, SAMPLES, as_csv, provenance_of, write_files, write_leaderboard
from .latex import write_latex
from .page import write_page

__all__ = [
    "FIGURES",
    "SAMPLES",
    "as_csv",
    "fill",
    "provenance_of",
    "write_files",
    "write_latex",
    "write_leaderboard",
    "write_page",
]


def fill(document: Path, results: Path) -> None:
    """Fill the tables of a document from recorded results; `documents.fill` says what is refused."""
    from . import documents

    documents.fill(document, results)
