"""A page for each method of the suite: what it is, where it stands, what it costs, what it coincides with."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from .. import speed
from . import docstrings

_FOLDER = re.compile(r"<!-- methods: all (\w+) -->")
_COINCIDE = "## When methods coincide\n"

_PAGE = """# {name}

<!-- Written by `scalpel results fill docs/methods.md` from code and records; edits are lost. -->

One of the [methods](../methods.md), where notation and words are explained.

<!-- docstrings: {name} -->
<!-- end -->

## Where it stands

Its rows in the [recorded sweeps](../../results/README.md) ([columns](../methods.md#pages-of-the-methods)).

<!-- standing: {name} -->
<!-- end -->

## What it costs

As `scalpel bench` measured it ([how](../performance.md)).

<!-- cost: {name} -->
<!-- end -->

## What it coincides with

{coincides}
"""


def pages_of(text: str) -> dict[Path, str]:
    """The pages that belong to a document's table of methods, their own tables empty, by path from it.

    There are some where the table's line names a folder, as in ``<!-- methods: all methods -->``.
    """
    if not (folder := _FOLDER.search(text)):
        return {}
    return {Path(folder[1]) / f"{name}.md": _page(name, text) for name in docstrings.own("methods")}


def _page(name: str, text: str) -> str:
    head, rule, *rows = _coincidences(text) or ["", ""]
    own = [row for row in rows if f"`{name}`" in row.split(" | ")[0]]
    table = "[table](../methods.md#when-methods-coincide)"
    if not own:
        return _PAGE.format(name=name, coincides=f"No row of the {table} names it.")
    told = "\n".join([head, rule, *own])
    return _PAGE.format(name=name, coincides=f"Rows of the {table} that name it:\n\n{told}")


def _coincidences(text: str) -> list[str]:
    """The lines of the table of methods that coincide, its two heads first."""
    section = text.partition(_COINCIDE)[2].partition("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("| ")]


def cost(results: Path, method: str) -> pd.DataFrame | str:
    """What `scalpel bench` measured of a method's step beside that of another; else a sentence.

    Raises:
        UserError: there is no record of the bench.
    """
    rows = speed.read(speed.record_path(results, full=False)).rows
    own = [row for row in rows if row.figure.startswith(f"step of {method} / step of ")]
    if own:
        return pd.DataFrame({"figure": row.figure, "measured": row.measured} for row in own)
    if any(f" / step of {method} " in row.figure for row in rows):
        return "The steps of other methods are measured in units of its own.\n"
    return "The bench does not measure it.\n"
