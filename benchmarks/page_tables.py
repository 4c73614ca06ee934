"""The report's tables: verdicts by learning-rate protocol, and front ratios."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from benchmarks.records import Folder
from benchmarks.style import order, title

CLAIM_COLUMNS = [
    *("id", "text", "paper", "protocol", "split", "verdict", "effect"),
    *("low", "high", "seeds", "scale", "data", "reason"),
]
_PROTOCOLS = ["fixed", "main-tuned", "per-method"]
_WIDEST = 4.0
"""Front ratios beyond this factor from 1 are drawn at the end of their bar."""


def read_claims(folder: Folder, name: str) -> tuple[list[dict[str, str]], str]:
    """The rows of ``claims.csv`` beside the records of an experiment, and what is wrong with the file."""
    file = folder.path / "claims.csv"
    if not file.exists():
        return [], ""
    try:
        frame = pd.read_csv(file, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        return [], f"claims.csv left out: {str(error).splitlines()[0]}"
    if missing := [column for column in CLAIM_COLUMNS if column not in frame]:
        return [], f"claims.csv left out: no column {', '.join(missing)}"
    rows = frame[CLAIM_COLUMNS].to_numpy()
    return [dict(zip(CLAIM_COLUMNS, row, strict=True), experiment=name) for row in rows], ""


def by_claim(rows: list[dict[str, str]]) -> list[dict[str, Any]]:
    """One entry per claim and split, its verdicts by protocol, and what the learning rate does to it."""
    claims: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in rows:
        key = tuple(row[name] for name in ("experiment", "scale", "id", "split", "text"))
        entry = claims.setdefault(key, {**row, "verdicts": {}})
        shown = {name: _number(row[name]) for name in ("effect", "low", "high")}
        entry["verdicts"][row["protocol"]] = {**row, **shown}
    for entry in claims.values():
        entry["flag"] = _flag({protocol: row["verdict"] for protocol, row in entry["verdicts"].items()})
    return list(claims.values())


def protocols(rows: list[dict[str, str]]) -> list[str]:
    """The learning-rate protocols of claims, in the order of columns."""
    names = {row["protocol"] for row in rows}
    return [name for name in _PROTOCOLS if name in names] + sorted(names - set(_PROTOCOLS))


def ratios(metrics: pd.DataFrame) -> list[dict[str, Any]]:
    """Front ratios over all seeds: a table per protocol, a row per method, a cell per split.

    A cell has its own notes; those of all cells are the table's.
    """
    chosen = metrics[(metrics["statistic"] == "front_ratio") & (metrics["seed"] == "all")]
    ends = [1.0, *chosen[["value", "low", "high"]].astype(float).stack().dropna()]
    low = max(min(ends) / 1.05, 1 / _WIDEST)
    high = min(max(ends) * 1.05, _WIDEST)

    def place(value: float) -> float:
        inside = min(max(value, low), high)
        return round(100 * math.log(inside / low) / math.log(high / low), 2)

    tables = []
    for protocol, rows in chosen.groupby("protocol", sort=False):
        by_method: dict[str, dict[str, Any]] = {}
        for row in rows.to_dict("records"):
            value, interval = row["value"], (row["low"], row["high"])
            cell: dict[str, Any] = {
                "value": None if pd.isna(value) else value,
                "interval": None if pd.isna(row["low"]) else interval,
                "notes": [note for note in str(row["note"]).split("; ") if note],
            }
            if cell["value"] is not None:
                places = (value, *(cell["interval"] or (value, value)), 1.0)
                cell["bar"] = dict(zip(("at", "from", "to", "one"), map(place, places), strict=True))
            by_method.setdefault(row["method"], {})[row["split"]] = cell
        cells = [cell for by_split in by_method.values() for cell in by_split.values()]
        common = [note for note in cells[0]["notes"] if all(note in cell["notes"] for cell in cells)]
        for cell in cells:
            cell["notes"] = [note for note in cell["notes"] if note not in common]
        shown = [{"title": title(label), "cells": by_method[label]} for label in order(list(by_method))]
        tables.append({"protocol": protocol, "rows": shown, "notes": common})
    return tables


def _flag(verdicts: dict[str, str]) -> str:
    others = {verdict for protocol, verdict in verdicts.items() if protocol != "fixed"}
    if verdicts.get("fixed") == "supported" and others and "supported" not in others:
        return "only at a fixed learning rate"
    return "depends on the learning rate" if len(set(verdicts.values())) > 1 else ""


def _number(text: str) -> str:
    try:
        return f"{float(text):.3g}"
    except ValueError:
        return text
