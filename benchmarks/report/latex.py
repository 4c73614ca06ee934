"""Tables and figures for a paper: booktabs tables, and PDF figures as wide as a column."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ...words import plain, unknown
from ..analysis import Analysis, verdicts
from ..analysis.analyses import TrainingAnalysis
from ..analysis.ratio_table import ratio_table
from ..figures import style
from ..messages import UserError
from ..records import refuse_link, write_atomically

LATEX = "latex"
"""The folder beside the records."""
_HEAD = "% made by `scalpel report --latex`; needs \\usepackage{booktabs}\n"
_WIDE = 40
"""A column with longer cells than this breaks its lines."""
_SPECIAL = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "|": "\\textbar{}",
    "`": "\\`{}",
    '"': "{''}",
    "\n": " ",
    "\t": " ",
    "\u200b": "{}",
    "–": "--",
    "—": "---",
    "’": "'",
    "×": "$\\times$",
    "−": "$-$",
    "±": "$\\pm$",
    "≤": "$\\leq$",
    "≥": "$\\geq$",
    "‖": "$\\|$",
    "½": "$\\frac{1}{2}$",
    "λ": "$\\lambda$",
    "ρ": "$\\rho$",
    "η": "$\\eta$",
    "θ": "$\\theta$",
    "Δ": "$\\Delta$",
}
_ACCENTED = {chr(code) for code in range(0xC0, 0x100)} - set("ÐðÞþ×÷")
"""What every encoding of LaTeX has."""
_NEGATIVE = re.compile(r"(?<![\w.])-(?=\d)")


def write_latex(analysis: Analysis, methods: Sequence[str] | None = None) -> Path:
    """Write the tables and figures of an analysis into the folder ``latex`` beside its records.

    ``front_ratios_<protocol>.tex`` and ``verdicts.tex``, where there are any;
    ``relative_<protocol>_<split>.pdf`` and ``fronts_<protocol>_<split>.pdf``, 3.25 inches wide.

    Args:
        analysis: of a sweep.
        methods: labels that tables and figures show; None for those that other figures have in colour.

    Returns:
        the folder.

    Raises:
        UserError: none of the methods is in the sweep, or a file cannot be written.
    """
    folder = analysis.sweep.folder.path / LATEX
    refuse_link(folder)
    folder.mkdir(exist_ok=True)
    if isinstance(analysis, TrainingAnalysis):
        _write_comparison(analysis, methods, folder)
    if len(analysis.claims):
        told = verdicts.side_by_side(analysis.claims)
        texts = dict(zip(analysis.claims["id"], analysis.claims["text"], strict=True))
        told.insert(0, "claim", [texts[identity] for identity in told["id"]])
        columns = ["claim", "split", *dict.fromkeys(analysis.claims["protocol"])]
        write_atomically(folder / "verdicts.tex", table(told[columns]))
    return folder


def _write_comparison(analysis: TrainingAnalysis, methods: Sequence[str] | None, folder: Path) -> None:
    from ..figures import panels, single_column

    known = list(analysis.summary["method"].unique())
    labels = [label for label in methods if label in known] if methods else sorted(style.in_colour(known))
    if not labels:
        raise UserError(f"{analysis.sweep.folder.path}: {unknown('method', (methods or [''])[0], known)}")
    ratios = ratio_table(analysis.metrics)
    for protocol, rows in ratios[ratios["method"].isin(labels)].groupby("protocol", sort=False):
        shown = style.order(list(rows["method"]))
        own = rows.set_index("method").loc[shown]
        own = own.drop(columns="protocol").fillna("").reset_index()
        own["method"] = own["method"].map(style.title)
        write_atomically(folder / f"front_ratios_{protocol}.tex", table(own))
    for name, figure in single_column.drawn(analysis, labels).items():
        panels.save(figure, folder / name, (".pdf",))


def table(frame: pd.DataFrame) -> str:
    """A data frame as a booktabs ``tabular``; whatever stands in its cells is text."""
    cells = [[str(cell) for cell in row] for row in frame.to_numpy().tolist()]
    wide = [any(len(row[place]) > _WIDE for row in cells) for place in range(frame.shape[1])]
    columns = "".join("p{0.4\\linewidth}" if long else "l" for long in wide)
    lines = [" & ".join(map(escape, row)) + " \\\\\n" for row in [list(map(str, frame.columns)), *cells]]
    rows = "".join(lines[1:])
    head = f"{_HEAD}\\begin{{tabular}}{{{columns}}}\n\\toprule\n{lines[0]}\\midrule\n"
    return f"{head}{rows}\\bottomrule\n\\end{{tabular}}\n"


def escape(text: str) -> str:
    """A text that LaTeX sets as it is: specials escaped; what pdfLaTeX lacks as the ASCII letters that it is
    made of, or by its code point.

    A first ``[`` or ``*`` stands in braces, since it would be an argument of the line break before it.
    """
    apart = plain(text).replace("--", "-\u200b-")
    set_as = "".join(map(_escaped, _NEGATIVE.sub("−", apart)))
    return f"{{{set_as[0]}}}{set_as[1:]}" if set_as[:1] in ("[", "*") else set_as


def _escaped(character: str) -> str:
    if character in _SPECIAL:
        return _SPECIAL[character]
    if character in _ACCENTED or (character.isascii() and character.isprintable()):
        return character
    ascii_letters = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    safe = "".join(_SPECIAL.get(letter, letter) for letter in ascii_letters if letter.isprintable())
    return safe or f"(U+{ord(character):04X})"
