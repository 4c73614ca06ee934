"""The report's leaderboard: the methods of its experiments, ranked over all."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ..analysis.leaderboard import PROTOCOL, RULE, SEEDS, SHARES, SPLIT, Leaderboard
from ..analysis.wording import with_interval
from ..experiments.suite import SUITE
from ..figures.style import title


def section(board: Leaderboard) -> dict[str, Any]:
    """Heads, rows and notes of the table; a cell is its text, and the value that it is sorted by."""
    methods, names = board.shared
    rows = []
    for row in board.over_all.to_dict("records"):
        cells = [(with_interval(row["ratio"], row["low"], row["high"]), row["ratio"])]
        cells += [_share(row[f"within_{tau:g}"]) for tau in SHARES]
        cells += [_share(row["wins"]), (f"{row['experiments']}/{len(board.names)}", row["experiments"])]
        rows.append({"rank": row["rank"], "title": _title(row["method"], board), "cells": cells})
    heads = ["Front ratio", *(f"≤ {tau:g}" for tau in SHARES), "Wins", "Experiments"]
    told = {_title(method, board): count for method, count in board.unranked.items()}
    return {
        "suite": SUITE,
        "seeds": SEEDS,
        "of": f"{len(methods)} methods in {len(names)} of {len(board.names)} experiments: {', '.join(names)}",
        "measure": f"{SPLIT} losses, learning-rate protocol {PROTOCOL}",
        "rule": RULE + "".join(f"; left out is {told}" for told in board.left_out),
        "heads": heads,
        "rows": rows,
        "unranked": ", ".join(f"{method} ({count})" for method, count in told.items()),
        "marked": bool(board.single_points),
    }


def _title(method: str, board: Leaderboard) -> str:
    return title(method) + " *" * (method in board.single_points)


def _share(share: float) -> tuple[str, float | None]:
    return ("–", None) if pd.isna(share) else (f"{share:.0%}", share)
