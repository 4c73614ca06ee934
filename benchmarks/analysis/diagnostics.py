"""What explains a front: how surgery changed the length and the heading of the steps that led to it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ..records import Record

PANELS = {
    "relative_length": "‖d‖ / ‖g_m‖",
    "direction_main_cosine": "cos(d, g_m)",
    "direction_memory_cosine": "cos(d, EMA of g_m)",
    "step_norm": "length of the step in parameters",
}
LOGARITHMIC = ("relative_length", "step_norm")


def frame(summary: pd.DataFrame, records: Mapping[str, Record]) -> pd.DataFrame:
    """The diagnostics of every run, averaged over the evaluations of the second half of its training.

    Lengths are averaged as logarithms, those that are 0 left out. A run without diagnostics has no row; a
    method without an EMA no ``direction_memory_cosine``.

    Returns:
        columns ``id``, ``method``, ``lam``, ``lr``, ``seed`` and those of `PANELS`.
    """
    rows = []
    for run in summary[summary["status"] == "completed"].itertuples():
        trajectory = records[str(run.id)].trajectory
        late = pd.DataFrame(
            [row.get("diagnostics") or {} for row in trajectory if 2 * row["step"] > trajectory[-1]["step"]]
        )
        if "direction_norm" not in late:
            continue
        late = late.astype(float)
        with np.errstate(divide="ignore", invalid="ignore"):
            late["relative_length"] = late["direction_norm"] / late["main_norm"]
            lengths = [name for name in LOGARITHMIC if name in late]
            late[lengths] = np.log(late[lengths])
        late = late.replace([np.inf, -np.inf], np.nan)
        mean = late.reindex(columns=list(PANELS)).mean()
        mean[list(LOGARITHMIC)] = np.exp(mean[list(LOGARITHMIC)])
        rows.append(
            {"id": run.id, "method": run.method, "lam": run.lam, "lr": run.lr, "seed": run.seed, **mean}
        )
    return pd.DataFrame(rows, columns=["id", "method", "lam", "lr", "seed", *PANELS])
