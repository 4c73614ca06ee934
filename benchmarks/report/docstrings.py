"""Docstrings of methods and tasks as Markdown: what the code says of itself, on a page."""

from __future__ import annotations

import inspect
import re

from scalpel_bench import methods, tasks
from scalpel_bench.tasks import ImageTask


def of_methods() -> str:
    """A section for every method of the suite: formula, source, what differs, settings, properties."""
    sections = []
    for name in methods.available():
        if methods.origin(name):
            continue
        method = methods.get(name)
        promised = ", ".join(sorted(method.properties)).replace("_", " ")
        text = markdown(inspect.getdoc(method) or "")
        sections.append(_section(name, text + (f"\n\nPromised and tested: {promised}." if promised else "")))
    return "".join(sections)


def of_tasks() -> str:
    """A section for every task of the suite, and for the settings that those on images share."""
    return "".join(
        _section(name, markdown(inspect.getdoc(tasks.get(name)) or ""))
        for name in tasks.available()
        if not tasks.origin(name)
    ) + _section("ImageTask", markdown(inspect.getdoc(ImageTask) or ""))


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


def _section(name: str, text: str) -> str:
    return f"\n## {name}\n\n{text}\n"
