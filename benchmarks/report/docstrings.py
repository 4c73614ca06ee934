"""Docstrings of methods and tasks as Markdown: what the code says of itself, on a page."""

from __future__ import annotations

import inspect
import re

import pandas as pd

from ...entries import Entry
from ...registry import catalogue
from ...tasks import ImageTask, LeNetTask
from ..figures import style

_NAME = r"\b[A-ZÀ-Ý][\w'’-]+"


def of_methods() -> str:
    """A section for every method of the suite: formula, source, what differs, settings, properties."""
    sections = []
    for name, entry in _own("methods").items():
        promised = ", ".join(sorted(entry.attributes.get("properties", ()))).replace("_", " ")
        text = markdown(entry.doc) + (f"\n\nPromised and tested: {promised}." if promised else "")
        length = " The length of d is arbitrary." if entry.attributes.get("arbitrary_length") else ""
        sections.append(_section(name, f"{text}\n\nλ: {_lam(entry)}.{length}"))
    return "".join(sections)


def of_tasks() -> str:
    """A section for every task of the suite, and for the settings that those of one network share."""
    sections = [_section(name, markdown(entry.doc)) for name, entry in _own("tasks").items()]
    shared = [
        _section(base.__name__, markdown(inspect.getdoc(base) or "")) for base in (ImageTask, LeNetTask)
    ]
    return "".join(sections + shared)


def table_of_methods() -> pd.DataFrame:
    """A row for every method of the suite, in order of legends: what its class and its docstring say."""
    own = _own("methods")
    return pd.DataFrame(
        {
            "method": f"`{name}`",
            "direction": markdown(own[name].doc.partition("\n")[0]).replace("|", "\\|"),
            "λ": _lam(own[name]),
            "length of d": "arbitrary" if own[name].attributes.get("arbitrary_length") else "",
            "source": citations(own[name].doc),
        }
        for name in style.order(list(own))
    )


def citations(docstring: str) -> str:
    """Who and when of the works that a docstring gives as its source, linked where it has an arXiv id."""
    source = " ".join(docstring.partition("Source:")[2].partition("\n\n")[0].partition("Differs:")[0].split())
    works = list(re.finditer(rf"(?:{_NAME}(?:, | & ))*{_NAME}(?: et al\.)? \d{{4}}\b", source))
    ends = [work.start() for work in works[1:]] + [len(source)]
    cited = []
    for work, end in zip(works, ends, strict=True):
        arxiv = re.search(r"arXiv (\d{4}\.\d{5})", source[work.end() : end])
        cited.append(f"[{work[0]}](https://arxiv.org/abs/{arxiv[1]})" if arxiv else work[0])
    return "; ".join(cited)


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


def _own(package: str) -> dict[str, Entry]:
    return {name: entry for name, entry in catalogue(package).items() if entry.origin is None}


def _section(name: str, text: str) -> str:
    return f"\n## {name}\n\n{text}\n"
