"""Docstrings of methods and tasks as Markdown: what the code says of itself, on a page."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence

import pandas as pd

from ...entries import Entry
from ...registry import catalogue
from ...tasks import ImageTask, LeNetTask
from ...tasks.bases.finetuned import Finetuned
from ...words import unknown
from ..catalogue import Work, described
from ..figures import style
from ..messages.errors import UserError


def of_method(name: str) -> str:
    """What a method of the suite says of itself: formula, source, what differs, settings, properties.

    Raises:
        UserError: the suite has no such method.
    """
    if name not in (known := own("methods")):
        raise UserError(unknown("method", name, known))
    entry = known[name]
    promised = ", ".join(sorted(entry.attributes.get("properties", ()))).replace("_", " ")
    text = markdown(entry.doc) + (f"\n\nPromised and tested: {promised}." if promised else "")
    length = " The length of d is arbitrary." if entry.attributes.get("arbitrary_length") else ""
    return f"\n{text}\n\nλ: {_lam(entry)}.{length}\n"


def of_tasks() -> str:
    """A section for every task of the suite, and for the settings that several share."""
    sections = [_section(name, markdown(entry.doc)) for name, entry in own("tasks").items()]
    bases = (ImageTask, LeNetTask, Finetuned)
    shared = [_section(base.__name__, markdown(inspect.getdoc(base) or "")) for base in bases]
    return "".join(sections + shared)


def table_of_methods(recorded: Mapping[str, Sequence[str]], pages: str | None = None) -> pd.DataFrame:
    """A row for every method of the suite, in order of legends.

    Args:
        recorded: what `catalogue.where_recorded` found.
        pages: the folder of the pages that names link to.
    """
    found = {name: method for name, method in described(recorded).items() if method.origin is None}
    return pd.DataFrame(
        {
            "method": f"[`{name}`]({pages}/{name}.md)" if pages else f"`{name}`",
            "direction": markdown(found[name].direction).replace("|", "\\|"),
            "λ": found[name].lam,
            "length of d": "arbitrary" if found[name].arbitrary_length else "",
            "source": "; ".join(map(_linked, found[name].sources)),
            "evaluated": found[name].evaluated,
            "oracle": ", ".join(found[name].oracles),
        }
        for name in style.order(list(found))
    )


def _linked(work: Work) -> str:
    return f"[{work.who}](https://arxiv.org/abs/{work.arxiv})" if work.arxiv else work.who


def markdown(docstring: str) -> str:
    """A docstring in Google's style, its arguments as a list; what it raises is left to the code."""
    docstring = docstring.replace("*", "\\*")
    text = re.sub(r"\n\nRaises:\n(?: .*\n?)+", "\n", docstring + "\n").rstrip()
    prose, _, arguments = text.partition("\n\nArgs:\n")
    prose = re.sub(r"``(.+?)``", r"`\1`", prose)
    if not arguments:
        return prose
    arguments, _, after = arguments.partition("\n\n")
    items = re.sub(r"\n {8}", " ", re.sub(r"(?m)^ {4}(\w[\w, ]*): ", r"- `\1`: ", arguments))
    items = re.sub(r"``(.+?)``", r"`\1`", re.sub(r"(?<=[\w`]), (?=[\w, ]*`: )", "`, `", items))
    return f"{prose}\n\n{items}" + (f"\n\n{after}" if after else "")


def _lam(entry: Entry) -> str:
    """What λ is to a method."""
    return str(entry.attributes.get("lam_is", "trade-off"))


def own(package: str) -> dict[str, Entry]:
    """The ``methods`` or ``tasks`` of the suite itself, without those of plugins."""
    return {name: entry for name, entry in catalogue(package).items() if entry.origin is None}


def _section(name: str, text: str) -> str:
    return f"\n## {name}\n\n{text}\n"
