"""What there is to say of every method: its class, its docstring, its records, its oracles."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...entries import Entry, plugins
from ...registry import catalogue
from .oracles import oracles_of

_NAME = r"\b[^\W\d_a-zß-öø-ÿ][\w'’-]*"
"""A name begins with no small letter of Latin-1; all other scripts are taken as they are."""


@dataclass(frozen=True)
class Work:
    """A work that a docstring gives as its source: who and when, and its arXiv id where that is stated."""

    who: str
    arxiv: str | None = None


@dataclass(frozen=True)
class Described:
    """What there is to say of a method.

    Args:
        name: what it is asked for by.
        summary: what it does, in a line.
        direction: its formula, the first line of the docstring.
        sources: the works that it is from.
        lam: what λ means to it.
        arbitrary_length: whether the length of its direction is a convention.
        needs: a fixed number of objectives, losses; what else it promises is in the documents.
        recorded: the experiments and scales that packed records have a completed run of it in.
        oracles: what the tests compare it with; none where no test is known.
        origin: the plugin that it comes with; None for the suite's own.
    """

    name: str
    summary: str
    direction: str
    sources: Sequence[Work]
    lam: str
    arbitrary_length: bool
    needs: Sequence[str]
    recorded: Sequence[str]
    oracles: Sequence[str]
    origin: str | None = None

    @property
    def evaluated(self) -> str:
        """In how many sweeps, each an experiment at a scale, packed records have it: in words."""
        count = len(self.recorded)
        return f"in {count} sweep{'s' * (count > 1)}" if count else "not evaluated"


def described(recorded: Mapping[str, Sequence[str]]) -> dict[str, Described]:
    """All methods by name, plugins' too: only its import tells what an installed plugin does.

    Args:
        recorded: what `where_recorded` found.
    """
    if plugins("methods"):
        importlib.import_module("scalpel_bench.methods").REGISTRY.classes()
    return {name: _described(entry, recorded.get(name, ())) for name, entry in catalogue("methods").items()}


def _described(entry: Entry, recorded: Sequence[str]) -> Described:
    objectives = entry.attributes.get("objectives")
    losses = "needs_losses" in entry.attributes.get("properties", ())
    return Described(
        name=entry.name,
        summary=entry.summary,
        direction=entry.doc.partition("\n")[0],
        sources=works(entry.doc),
        lam=str(entry.attributes.get("lam_is", "trade-off")),
        arbitrary_length=bool(entry.attributes.get("arbitrary_length")),
        needs=[*([f"K = {objectives}"] if objectives else []), *(["needs losses"] if losses else [])],
        recorded=recorded,
        oracles=oracles_of(entry.name) if entry.origin is None else (),
        origin=entry.origin,
    )


def works(docstring: str) -> list[Work]:
    """The works that the paragraph ``Source:`` of a docstring names, before what differs from them.

    Its first sentence where that has a year but no name like a person's; none without a year.
    """
    source = " ".join(docstring.partition("Source:")[2].partition("\n\n")[0].partition("Differs:")[0].split())
    named = list(re.finditer(rf"(?:{_NAME}(?:, | & ))*{_NAME}(?: et al\.)? \d{{4}}\b", source))
    if not named and (sentence := re.match(r"[^.]*\b(?:19|20)\d\d\b(?!\.\d)[^.]*", source)):
        return [Work(sentence[0], None)]
    starts = [*(work.start() for work in named), len(source)]
    found = []
    for work, end in zip(named, starts[1:], strict=True):
        arxiv = re.search(r"arXiv (\d{4}\.\d{4,5})", source[work.end() : end])
        found.append(Work(work[0], arxiv[1] if arxiv else None))
    return found
