"""One colour and one marker per method, everywhere: those that its class names, or that follow from labels.

Seven of the first eight colours are those of Okabe & Ito 2008 (colour-blind safe); markers tell the
others apart too.
"""

import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from ...registry import attributes, catalogue

_COLOURS = ["#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8C8C8C"]
_COLOURS += ["#882255", "#A6A600", "#332288", "#66C2B2", "#8B5A2B"]
_MARKERS = ["o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "d", "*"]
_FREE = ["#805BA6", "#A100F2", "#005959", "#804646", "#F29785", "#0F5900", "#AA85F2", "#00CC00"]
"""Colours of labels without one of their own: far from those of the suite's methods and from each other."""
_ON_DARK = {
    **{"#000000": "#FFFFFF", "#882255": "#D0699A", "#332288": "#8F86E0", "#8B5A2B": "#C8935F"},
    **{"#0F5900": "#8FCB7A", "#005959": "#2FB3B3", "#804646": "#C98080"},
}
_DASHES = ["-", "--", ":", "-."]
_LOOKS = len(_COLOURS) * len(_MARKERS)
_VARIATIONS = {"_ema": "{} with EMA", "_faster": "{}, faster EMA"}
"""What a label's ending means, where the rest of it is a method's name."""
_LABELS = {"bloop_faster": {"color": "#E69F00", "marker": "X"}}
"""Looks of labels that are no method's name and are drawn beside methods of every other colour."""
_WITH_EMA = {
    "agem_ema": {"color": "#CC79A7", "marker": "h"},
    "dynamic_barrier_ema": {"color": "#8C8C8C", "marker": ">"},
    "pcgrad_ema": {"color": "#E69F00", "marker": "*"},
    "upgrad_ema": {"color": "#332288", "marker": "^"},
}
"""Looks of the suite's methods with an EMA, which come last in legends."""

Looks = Mapping[str, Mapping[str, Any]]
"""Of each label its colour and marker."""

_PAPER = {"sum", "bloop", "bloop_no_ema", "pcgrad", "dynamic_barrier", "mgda"}
"""The methods of the paper's figures."""
_MOST = 8
"""So many methods at most are all drawn in colour."""
GREY = "#9AA1A9"
"""Of methods that are shown for comparison."""


def looks(labels: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Colour and marker of each label that is drawn beside the others: its own, or one that is free.

    A method of the suite, or one whose class names them, has the same in every figure. The other labels have
    colours of no method of the suite, each one of its own as long as there are any, the same for the same
    labels; beyond, those of one colour differ in markers.
    """
    own = {label: _WITH_EMA.get(label) or _own(label) for label in sorted(set(labels))}
    used = Counter(given["color"] for given in own.values() if given.get("color"))
    found = {}
    for label, given in own.items():
        first = zlib.crc32(label.encode()) % len(_FREE)
        free = min(_FREE[first:] + _FREE[:first], key=lambda colour: used[colour])
        marker = given.get("marker") or _MARKERS[(_FREE.index(free) + used[free]) % len(_MARKERS)]
        found[label] = {"color": given.get("color") or free, "marker": marker}
        used[free] += not given.get("color")
    return found


def lines(labels: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The looks of labels, and a line: of those of one colour each another, in the order of a legend."""
    found, used = looks(labels), Counter[str]()
    for label in order(list(found)):
        color = found[label]["color"]
        found[label]["ls"] = _DASHES[used[color] % len(_DASHES)]
        used[color] += 1
    return found


def look(label: str) -> dict[str, Any]:
    """Colour and marker of a method that is known, or drawn alone."""
    return looks([label])[label]


def in_colour(labels: Iterable[str]) -> set[str]:
    """Which methods of a figure are drawn in colour, the others in grey.

    Where there are too many, those of the paper and those that are no method of the suite's.
    """
    labels = set(labels)
    if len(labels) <= _MOST:
        return labels
    known = catalogue("methods")
    return {label for label in labels if label in _PAPER or label not in known or known[label].origin}


def on_dark(colour: str) -> str:
    """The colour that stands for this one on a dark ground."""
    return _ON_DARK.get(colour, colour)


def title(label: str) -> str:
    """How a legend calls a method; ``x_ema`` is x with an EMA."""
    if own := attributes("methods", label).get("title"):
        return str(own)
    for ending, words in _VARIATIONS.items():
        plain = attributes("methods", label.removesuffix(ending)).get("title")
        if label.endswith(ending) and plain:
            return words.format(plain)
    return label


def order(labels: list[str]) -> list[str]:
    """Labels in the order of legends: as colours and markers are handed out to classes, then by name."""
    return sorted(labels, key=lambda label: (_place(label), label))


def seeds(runs: pd.DataFrame) -> str:
    """How many seeds the runs have, in words."""
    count = runs["seed"].nunique()
    return f"{count} seed{'s' * (count > 1)}"


def _own(label: str) -> Mapping[str, Any]:
    return _LABELS.get(label) or attributes("methods", label)


def _place(label: str) -> int:
    """The number of a look of the suite's; the last where there is none."""
    color, marker = _own(label).get("color"), _own(label).get("marker")
    if color not in _COLOURS or marker not in _MARKERS:
        return _LOOKS
    place = _COLOURS.index(color)
    return (_MARKERS.index(marker) - place) % len(_MARKERS) * len(_COLOURS) + place
