"""What is wrong with the keys of an experiment's file: all of it at once, each with its line."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from ...words import unknown
from .box import Box
from .claims import Claim, kinds
from .common import Grid
from .schema import Experiment, Labels
from .settings import Training

Key = tuple[str | int, ...]

_QUOTED = re.compile(r"'([^']+)'")

MOST = 5
"""Complaints that are told; of more, how many there are."""

_TOP = [key for key in Experiment.model_fields if key not in ("name", "scale", "file")]
_KEYS = {
    "training": [*Training.model_fields],
    "box": [*Box.model_fields],
    "labels": [*Labels.model_fields],
    "lam": [*Grid.model_fields],
    "claims": sorted({key for kind in kinds(Claim) for key in kind.model_fields}),
}


class Lines:
    """Where the keys of a file stand.

    Args:
        text: the file's, which is TOML.
        scale: whose table ``[scales.<scale>]`` counts before the keys above it.
    """

    def __init__(self, text: str, scale: str) -> None:
        self._text, self._scale = text, scale

    @cached_property
    def _places(self) -> dict[Key, int]:
        return places(self._text)

    def of(self, key: Sequence[str | int]) -> int | None:
        """The line of a key, or of the innermost table that is there; None at the top of the file."""
        found = [self._walk(("scales", self._scale), key), self._walk((), key)]
        depth, line = max(found, key=lambda place: place[0])
        return line if depth else None

    def _walk(self, start: Key, key: Sequence[str | int]) -> tuple[int, int | None]:
        path = start
        for part in key:
            if (*path, part) in self._places:
                path = (*path, part)
        return len(path) - len(start), self._places.get(path)


def places(text: str) -> dict[Key, int]:
    """The line of every key and table of a TOML file; claims are found by their ids, too."""
    found: dict[Key, int] = {}
    table: Key = ()
    counts: dict[Key, int] = {}
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        end, content = _statement(lines, at)
        if lines[at].lstrip().startswith("["):
            table = _header(content, lines[at].lstrip().startswith("[["), counts)
            for length in range(1, len(table) + 1):
                found.setdefault(table[:length], at + 1)
        else:
            _note(content, table, at + 1, found)
        at = end
    return found


def _statement(lines: list[str], at: int) -> tuple[int, dict[str, Any]]:
    """Where the statement that begins on a line ends, and what it says."""
    for end in range(at + 1, len(lines) + 1):
        try:
            return end, tomllib.loads("\n".join(lines[at:end]))
        except tomllib.TOMLDecodeError:
            continue
    return len(lines), {}


def _header(content: dict[str, Any], array: bool, counts: dict[Key, int]) -> Key:
    """The path of a table, with the places of those that stand in an array; ``counts`` are their numbers."""
    path: Key = ()
    inner: Any = content
    while isinstance(inner, dict) and inner:
        ((part, inner),) = inner.items()
        path = (*path, part)
        if path in counts and inner != [{}]:
            path = (*path, counts[path] - 1)
    if array:
        counts[path] = counts.get(path, 0) + 1
        path = (*path, counts[path] - 1)
    return path


def _note(content: Any, path: Key, line: int, found: dict[Key, int]) -> None:
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in items:
        found.setdefault((*path, key), line)
        if key == "id" and path[:1] == ("claims",) and isinstance(value, str):
            found.setdefault(("claims", value), line)
        if isinstance(value, dict | list):
            _note(value, (*path, key), line, found)


def complaints(error: ValidationError, lines: Lines, given: Mapping[str, Any], kind: Any = "training") -> str:
    """What a validation complains of, in one line: first unknown keys, last those that are missing.

    Args:
        error: what pydantic raised of an `Experiment`'s file.
        lines: of the file.
        given: what does not come from the file but from the command.
        kind: of the experiment.
    """
    found: dict[Key, str] = {}
    missing = []
    details = sorted(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    inside = {each["loc"][:-1] for each in details}
    for each in details:
        key = _key(each["loc"]) + (("kind",) if each["type"].startswith("union_tag") else ())
        if each["type"] == "too_short" and each["loc"] in inside:
            continue  # what is left of a list whose values were refused
        if each["type"] == "missing" or each["type"] == "union_tag_not_found":
            missing.append(_missing(key, lines))
            continue
        found[key] = located(_text(key, each, kind), lines, given, key)
    told, left = [*found.values()][:MOST], len(found) - MOST
    told += [f"and {left} more"] if left > 0 else []
    return "; ".join([*told, *([f"missing: {', '.join(missing)}"] if missing else [])])


def located(text: str, lines: Lines, given: Mapping[str, Any], key: Key = ()) -> str:
    """A complaint behind the line that it is about: that of its key, and of the keys that it names.

    What is about the command has no line.
    """
    if _holds(given, key or (text.partition(": ")[0],)):
        return text
    line = lines.of([*key, *text.split(": "), *_QUOTED.findall(text)])
    return f"line {line}: {text}" if line else text


def _key(loc: Sequence[str | int]) -> Key:
    """The key that the user wrote: without the kind of the experiment, of a claim, and of a number."""
    key = tuple(loc[1:])
    if key[:1] == ("axes",) and key[-1] in ("int", "float"):
        return key[:-1]
    return key[:2] + key[3:] if key[:1] == ("claims",) and len(key) > 2 else key


def _missing(key: Key, lines: Lines) -> str:
    line = lines.of(key[:-1])
    return ".".join(map(str, key)) + (f" (line {line})" if line else "")


def _text(key: Key, detail: Any, kind: Any) -> str:
    message = detail["msg"].removeprefix("Value error, ")
    given = "" if isinstance(detail["input"], dict) else f", got {detail['input']!r}"
    if detail["type"] == "int_parsing_size":
        message = "Input is too large"
    if detail["type"] == "union_tag_invalid":
        given = ""
        message = unknown("kind", detail["ctx"]["tag"], _QUOTED.findall(detail["ctx"]["expected_tags"]))
    if detail["type"] == "extra_forbidden":
        message, given = _unknown(key, kind), ""
    name = ".".join(map(str, key))
    return f"{name}: {message}{given}" if name else f"{message}{given}"


def _unknown(key: Key, kind: Any) -> str:
    """That a key is unknown, and what was meant: another, it elsewhere, or another kind of experiment."""
    last, inside = str(key[-1]), [part for part in key[:-1] if isinstance(part, str)]
    if not inside and last in _TOP:
        return f"no key of an experiment of kind {kind!r}; one that trains has it: leave kind out"
    if inside and last in _TOP:
        return "unknown key here; it is one of the whole experiment: write it above the first [table]"
    near = difflib.get_close_matches(last, _KEYS.get(inside[0], []) if inside else _TOP, n=1)
    return f"unknown key{f' (did you mean {near[0]}?)' if near else ''}"


def _holds(given: Mapping[str, Any], key: Key) -> bool:
    """Whether a value is one of the command's."""
    inner: Any = given
    for part in key:
        if not isinstance(inner, Mapping):
            return True
        if part not in inner:
            return False
        inner = inner[part]
    return True
