"""How a value is written with its interval, everywhere."""

from __future__ import annotations

from typing import Any

import pandas as pd


def with_interval(value: Any, low: Any, high: Any, digits: int = 3, none: str = "") -> str:
    """``0.913 [0.906, 0.920]``; without an interval the value alone, without a value ``none``.

    Numbers, or None or NaN where there is none.
    """
    if value is None or pd.isna(value):
        return none
    if low is None or high is None or pd.isna(low) or pd.isna(high):
        return _short(value, digits)
    return f"{_short(value, digits)} [{_short(low, digits)}, {_short(high, digits)}]"


def _short(value: float, digits: int) -> str:
    """So many decimals, but never a 0 for what is not 0."""
    rounded = f"{value:.{digits}f}"
    return f"{value:.1e}" if value and not float(rounded) else rounded
