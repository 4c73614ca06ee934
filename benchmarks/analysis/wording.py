"""How a value is written with its interval, everywhere."""

from __future__ import annotations

import pandas as pd


def with_interval(
    value: float | None, low: float | None, high: float | None, digits: int = 3, none: str = ""
) -> str:
    """``0.913 [0.906, 0.920]``; without an interval the value alone, without a value ``none``."""
    if value is None or pd.isna(value):
        return none
    if low is None or high is None or pd.isna(low) or pd.isna(high):
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
