"""The report's tables: verdicts by learning-rate protocol, and front ratios."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pandas as pd

from ..analysis import Analysis
from ..analysis.protocols import FIXED
from ..analysis.ratio_table import over_all_seeds
from ..analysis.verdicts import corrected
from ..analysis.wording import with_interval
from ..figures.relative import WIDEST
from ..figures.style import order, title

_PROTOCOLS = [FIXED, "main-tuned", "per-method"]
_ANSWERS = {"supported", "contradicted"}


def of_all(analyses: Iterable[Analysis]) -> pd.DataFrame:
    """The verdicts of several sweeps as one family of claims.

    With the columns ``experiment``, and ``sweep``, which of the analyses a claim is of.
    """
    told = [a.claims.assign(experiment=a.experiment.name, sweep=of) for of, a in enumerate(analyses)]
    return corrected(pd.concat(told))


def by_claim(claims: pd.DataFrame) -> list[dict[str, Any]]:
    """One entry per claim, its verdicts by protocol, and what the learning rate does to it.

    Args:
        claims: from `of_all`.
    """
    entries: dict[tuple[Any, ...], dict[str, Any]] = {}
    for given in claims.to_dict("records"):
        row = {str(name): value for name, value in given.items()}
        key = tuple(row[name] for name in ("sweep", "id", "split"))
        entry = entries.setdefault(key, {**row, "verdicts": {}})
        text = with_interval(row["effect"], row["low"], row["high"])
        entry["verdicts"][row["protocol"]] = {**row, "effect": text}
    for entry in entries.values():
        entry["flag"] = _flag({protocol: row["verdict"] for protocol, row in entry["verdicts"].items()})
    return list(entries.values())


def by_answer(entries: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The claims that are supported or contradicted under some protocol, and the others."""
    answered = [entry for entry in entries if _ANSWERS & _verdicts(entry)]
    return answered, [entry for entry in entries if entry not in answered]


def counted(entries: list[dict[str, Any]]) -> str:
    """How many claims have which verdict, in words; several where it differs with the protocol."""
    counts = Counter(" or ".join(sorted(_verdicts(entry))) for entry in entries)
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())


def columns(entries: list[dict[str, Any]]) -> list[str]:
    """The learning-rate protocols that some of these claims were judged under."""
    return _in_order({name for entry in entries for name in entry["verdicts"]})


def protocols(claims: pd.DataFrame) -> list[str]:
    """The learning-rate protocols of claims, in the order of columns."""
    return _in_order(set(claims["protocol"]))


def _in_order(names: set[str]) -> list[str]:
    return [name for name in _PROTOCOLS if name in names] + sorted(names - set(_PROTOCOLS))


def ratios(metrics: pd.DataFrame) -> list[dict[str, Any]]:
    """Front ratios over all seeds: a table per protocol, a row per method, a cell per split.

    A cell has its own notes; those of all cells are the table's.
    """
    chosen = over_all_seeds(metrics, "front_ratio")
    ends = [1.0, *chosen[["value", "low", "high"]].astype(float).stack().dropna()]
    low = max(min(ends) / 1.05, 1 / WIDEST)
    high = min(max(ends) * 1.05, WIDEST)

    def place(value: float) -> float:
        inside = min(max(value, low), high)
        return round(100 * math.log(inside / low) / math.log(high / low), 2)

    tables = []
    for protocol, rows in chosen.groupby("protocol", sort=False):
        by_method: dict[str, dict[str, Any]] = {}
        for row in rows.to_dict("records"):
            value = row["value"]
            cell: dict[str, Any] = {
                "value": None if pd.isna(value) else value,
                "text": with_interval(value, row["low"], row["high"]),
                "notes": [note for note in str(row["note"]).split("; ") if note],
            }
            if cell["value"] is not None:
                interval = (value, value) if pd.isna(row["low"]) else (row["low"], row["high"])
                places = (value, *interval, 1.0)
                cell["bar"] = dict(zip(("at", "from", "to", "one"), map(place, places), strict=True))
            by_method.setdefault(row["method"], {})[row["split"]] = cell
        cells = [cell for by_split in by_method.values() for cell in by_split.values()]
        common = [note for note in cells[0]["notes"] if all(note in cell["notes"] for cell in cells)]
        for cell in cells:
            cell["notes"] = [note for note in cell["notes"] if note not in common]
        shown = [{"title": title(label), "cells": by_method[label]} for label in order(list(by_method))]
        tables.append({"protocol": protocol, "rows": shown, "notes": common})
    return tables


def _verdicts(entry: dict[str, Any]) -> set[str]:
    return {row["verdict"] for row in entry["verdicts"].values()}


def _flag(verdicts: dict[str, str]) -> str:
    others = {verdict for protocol, verdict in verdicts.items() if protocol != FIXED}
    if verdicts.get(FIXED) == "supported" and others and "supported" not in others:
        return "only at a fixed learning rate"
    return "depends on the learning rate" if len(set(verdicts.values())) > 1 else ""
