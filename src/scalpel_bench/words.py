"""The words of errors, names and titles that others wrote, as a terminal and any file can hold them."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable

LONGEST = 2000
"""Characters of an error that are kept."""


def plain(text: str) -> str:
    """A text with control characters and lone surrogates as escapes; line breaks and tabs stay."""
    return "".join(_escaped(c) if unicodedata.category(c) in ("Cc", "Cs") else c for c in text)


def said(error: BaseException) -> str:
    """What an error says, `plain` and of at most ``LONGEST`` characters; its type where it says nothing."""
    try:
        text = str(error)[: LONGEST + 1]
    except Exception as other:
        return f"{type(error).__name__} without a text: that raises {type(other).__name__}"
    short = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    return plain(short.strip()) or type(error).__name__


def first_line(error: BaseException) -> str:
    """The first line of what an error says."""
    return said(error).partition("\n")[0]


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """That there is no such name, and which are near it; all that there are where none is."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.65)
    if near:
        return f"unknown {kind} {name!r}: did you mean {' or '.join(near)}?"
    return f"unknown {kind} {name!r}; known: {', '.join(known)}"


def _escaped(character: str) -> str:
    return character if character in "\n\t" else ascii(character)[1:-1]
