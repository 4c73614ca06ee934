"""``scalpel simulate``: how often the procedure's verdicts are wrong, and how much they find."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..analysis.false_verdicts import ground, simulate
from ..records import Folder, load_sweep, write_atomically
from ..report import as_csv

TABLE = Path("simulate") / "verdicts.csv"


def simulate_verdicts(
    paths: Sequence[Path], seeds: Sequence[int], effects: Sequence[float], noise: float, repeats: int
) -> Iterator[pd.DataFrame]:
    """The rows of each cell, as `analysis.false_verdicts.simulate` says: three protocols at a time.

    For the noise of each folder and each number of seeds: a method that equals `sum`, one that equals it with
    ``noise`` times its noise, and those that have a share of ``effects`` less main loss.

    Raises:
        UserError: a folder has no noise to take.
    """
    methods = [(0.0, 1.0), (0.0, noise), *((effect, 1.0) for effect in effects)]
    for path in paths:
        of = ground(load_sweep(Folder(path)))
        told = {
            "noise_of": f"{path.parent.name}/{path.name}",
            "deviation": of.deviation[-2],
            "correlation": of.correlation,
            "repeats": repeats,
        }
        for count in seeds:
            for effect, times in methods:
                rng = np.random.default_rng([count, round(1000 * effect), round(times)])
                rows = simulate(of, 1 - effect, times, count, repeats, rng)
                yield rows.assign(**told, effect=effect, noise=times, seeds=count)


def write(rows: Sequence[pd.DataFrame], results: Path) -> Path:
    """Write the table, from which documents are filled; where it is."""
    file = results / TABLE
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, as_csv(pd.concat(rows), digits=4))
    return file
