"""One colour and one marker per method, everywhere.

The first eight colours are those of Okabe & Ito 2008 (colour-blind safe); markers tell the others apart too.
"""

import zlib

import pandas as pd

_COLOURS = ["#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8C8C8C"]
_COLOURS += ["#882255", "#A6A600", "#332288", "#66C2B2", "#8B5A2B"]
_MARKERS = ["o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "d", "*"]
_ON_DARK = {"#000000": "#FFFFFF", "#882255": "#D0699A", "#332288": "#8F86E0", "#8B5A2B": "#C8935F"}
_KNOWN = ["sum", "bloop", "pcgrad", "mgda", "dynamic_barrier", "bloop_no_ema", "bloop_faster"]
_KNOWN += ["agem", "cosine", "gradvac", "metabalance", "cagrad", "upgrad"]
_TITLES = {
    "sum": "Mixed (sum)",
    "bloop": "Bloop",
    "bloop_no_ema": "Bloop, no EMA",
    "bloop_faster": "Bloop, faster EMA",
    "pcgrad": "PCGrad",
    "mgda": "MGDA",
    "dynamic_barrier": "Dynamic Barrier",
    "agem": "A-GEM",
    "cosine": "Cosine",
    "gradvac": "GradVac",
    "metabalance": "Meta-Balance",
    "cagrad": "CAGrad",
    "upgrad": "UPGrad",
}


def look(label: str) -> dict[str, str]:
    """Colour and marker of a method, the same in every figure; a plugin's follow from its name."""
    index = _KNOWN.index(label) if label in _KNOWN else len(_KNOWN) + zlib.crc32(label.encode()) % 91
    turn, place = divmod(index, len(_COLOURS))
    return {"color": _COLOURS[place], "marker": _MARKERS[(place + turn) % len(_MARKERS)]}


def on_dark(colour: str) -> str:
    """The colour that stands for this one on a dark ground."""
    return _ON_DARK.get(colour, colour)


def title(label: str) -> str:
    """How a legend calls a method; ``x_ema`` is x with an EMA."""
    plain = label.removesuffix("_ema")
    return _TITLES.get(label) or (f"{_TITLES[plain]} with EMA" if plain in _TITLES else label)


def order(labels: list[str]) -> list[str]:
    """Labels in the order of legends: the suite's own first, then by name."""
    return sorted(labels, key=lambda label: (_KNOWN.index(label) if label in _KNOWN else len(_KNOWN), label))


def seeds(runs: pd.DataFrame) -> str:
    """How many seeds the runs have, in words."""
    count = runs["seed"].nunique()
    return f"{count} seed{'s' * (count > 1)}"
