"""Tables that documents show of recorded results, filled from the results' files alone, and docstrings.

A table stands between ``<!-- KIND: WORDS -->`` and ``<!-- end -->``; `document_tables.TABLES` has the kinds.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from ...utf8 import NotUTF8, decode_utf8
from .. import speed
from ..figures import box as box_figure
from ..messages.errors import UserError
from ..records import check_replaceable, write_atomically
from . import method_pages
from .document_tables import TABLES

_TABLE = re.compile(r"(<!-- (\w+): ([^\n]*?) -->\n).*?(<!-- end -->)", re.S)


def fill(document: Path, results: Path) -> None:
    """Fill the tables of a document, and make beside it the curves, the box and the pages that it shows.

    Raises:
        UserError: the document, or a file that a table is made of, does not exist; a kind is unknown; a page
            cannot be written.
    """
    check_replaceable(document)
    try:
        text = decode_utf8(document.read_bytes())
    except OSError as error:
        raise UserError(f"{document} cannot be read: {error.strerror}") from error
    except NotUTF8 as error:
        raise UserError(f"{document}: {error}") from error
    write_atomically(document, render(text, results))
    for page, unfilled in method_pages.pages_of(text).items():
        _write_beside(document, page, render(unfilled, results))
    drawn = set(re.findall(r"\((\w+)\.svg\)", text))
    if "box" in drawn:
        box_figure.draw(document.parent / "box.svg")
    if curves := sorted(drawn - {"box"}):
        speed.draw(curves, document.parent, speed.read(speed.record_path(results, full=False)))


def _write_beside(document: Path, page: Path, text: str) -> None:
    """Write a page in a folder beside a document.

    Raises:
        UserError: it cannot be written.
    """
    path = document.parent / page
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"{path.parent} cannot be made: {error.strerror}") from error
    check_replaceable(path)
    write_atomically(path, text)


def render(text: str, results: Path) -> str:
    """A document's text with its tables filled.

    Raises:
        UserError: as `fill`.
    """

    def table(match: re.Match[str]) -> str:
        head, kind, words, end = match.groups()
        if "<!-- " in match[0].removeprefix(head).removesuffix(end):
            raise UserError(f"{head.strip()}: no <!-- end --> before what comes next; nothing is filled")
        if kind not in TABLES:
            raise UserError(f"{head.strip()}: unknown kind {kind!r}; known: {', '.join(TABLES)}")
        try:
            shown = TABLES[kind](results, *words.split())
        except TypeError as error:
            raise UserError(f"{head.strip()}: {error}") from error
        return head + (shown if isinstance(shown, str) else _markdown(shown)) + end

    return _TABLE.sub(table, text)


def _markdown(frame: pd.DataFrame) -> str:
    cells = [[str(cell) for cell in row] for row in frame.to_numpy().tolist()]
    lines = [list(frame.columns), ["---"] * len(frame.columns), *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
