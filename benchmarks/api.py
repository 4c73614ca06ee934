"""The suite from Python and notebooks: run a sweep, read recorded results as tables, draw them.

``docs/columns.md`` says what stands in each column.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from . import figures
from .analysis import analyse
from .analysis.analyses import Analysis
from .analysis.fronts import front
from .analysis.leaderboard import Leaderboard
from .analysis.ratio_table import over_all_seeds
from .cli.parsing import execution_options
from .commands import sweep as command
from .commands.leaderboard import load_board
from .commands.planning import with_methods
from .experiments.loading import load
from .messages import UserError
from .records import Folder, load_sweep


class Results:
    """The recorded runs of an experiment at a scale, and what follows from them: a table each.

    Made by `load_results` and `sweep`. No column mixes numbers and words; ``docs/columns.md`` explains each.
    """

    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis

    def __repr__(self) -> str:
        experiment = self._analysis.experiment
        return f"<{len(self._analysis.runs)} runs of {experiment.name} at scale {experiment.scale}>"

    @property
    def runs(self) -> pd.DataFrame:
        """A row per run: ``method``, ``lam``, ``seed``, ``lr``, ``status`` (completed, diverged or failed),
        ``id``; end values as ``<split>_<metric>``, with losses ``main`` and ``aux``; ``train_seconds``."""
        return self._table("summary")

    @property
    def fronts(self) -> pd.DataFrame:
        """A row per non-dominated end point: ``protocol`` (of learning rates), ``method``, ``split``,
        ``seed``, ``lam``, ``lr``, ``main``, ``aux``."""
        return self._table("fronts")

    @cached_property
    def measures(self) -> pd.DataFrame:
        """A row per protocol, method, split and ``statistic`` (``front_ratio``, ``aux_at_par``, …), over all
        seeds: ``value``, its 95 % interval ``low`` and ``high``, and a ``note`` where there is none."""
        return over_all_seeds(self._table("metrics")).drop(columns="seed").reset_index(drop=True)

    @cached_property
    def measures_by_seed(self) -> pd.DataFrame:
        """The same for each ``seed``, a whole number; without intervals."""
        metrics = self._table("metrics")
        own = metrics.drop(index=over_all_seeds(metrics).index, columns=["low", "high"])
        return own.astype({"seed": int}).reset_index(drop=True)

    @property
    def claims(self) -> pd.DataFrame:
        """A row per claim and protocol: ``verdict``, ``effect``, ``low``, ``high``, ``reason``."""
        return self._analysis.claims.copy()

    def plot(self, name: str = "") -> Figure:
        """A figure of the experiment as a matplotlib figure.

        Args:
            name: ``relative``, ``fronts``, …; by default the first of these that the experiment has.

        Raises:
            UserError: there is none of this name.
        """
        drawn = figures.drawn(self._analysis)
        if not drawn or (name and name not in drawn):
            raise UserError(f"no figure {name!r}; there are {', '.join(drawn) or 'none'}")
        return drawn[name] if name else drawn.get("relative", next(iter(drawn.values())))

    def _table(self, name: str) -> pd.DataFrame:
        tables = self._analysis.tables
        if name not in tables:
            raise UserError(f"{self!r} have no table of {name}; there are {', '.join(tables)}")
        return tables[name].copy()


def load_results(path: str | Path) -> Results:
    """The recorded runs of a folder such as ``results/fig5a/workstation``.

    Raises:
        UserError: no sweep wrote to it, or none of its records belongs to the sweep.
    """
    return Results(analyse(load_sweep(Folder(Path(path)))))


def leaderboard(*paths: str | Path) -> Leaderboard:
    """The methods of recorded sweeps, ranked: ``over_all``, ``by_experiment``, ``against("bloop")``, ….

    Args:
        paths: folders such as ``results/fig5a/workstation``, or such as ``results``: all sweeps in them. By
            default those under ``results`` with at least three seeds of each method, none at scale smoke, and
            none with controls.

    Raises:
        UserError: a folder has no records, an experiment stands there twice, or nothing can be ranked.
    """
    return load_board([Path(path) for path in paths])


def fronts(
    points: pd.DataFrame, main: str = "main", aux: str = "aux", by: Sequence[str] = ("method", "seed")
) -> pd.DataFrame:
    """The rows of a table that no other of the same group dominates, in order of the auxiliary loss.

    >>> fronts(results.runs, "test_main", "test_aux")  # or a table of your own

    Args:
        points: a row per end point; one with a loss that is not finite is on no front.
        main: the column of the main loss.
        aux: the column of the auxiliary loss; of rows that are equal in both the first is kept.
        by: the columns that tell groups apart.

    Raises:
        UserError: the table has no such column.
    """
    if lacking := [column for column in (main, aux, *by) if column not in points]:
        raise UserError(f"no column {lacking[0]!r}; there are {', '.join(map(str, points))}")
    groups = points.groupby(list(by), sort=False, dropna=False)
    own = [group[front(group[[main, aux]].to_numpy(float))].sort_values(aux) for _, group in groups]
    return pd.concat(own) if own else points.copy()


def sweep(
    experiment: str,
    scale: str = "laptop",
    *,
    methods: list[str] | None = None,
    data: str = "embedded",
    results: str | Path = "results",
    workers: int | None = None,
    **changes: Any,
) -> Results:
    """Run what is not recorded yet, as ``scalpel sweep`` does, and read the results.

    Args:
        experiment: a name, or a path to a TOML file.
        scale: one of the experiment's.
        methods: labels of the experiment, names, or ``file.py:Class``; None for the experiment's.
        data: embedded, hub, or a folder.
        results: the folder that gets ``<experiment>/<scale>``.
        workers: processes; one per core, or per GPU where there are any, where it is None.
        changes: keys of the experiment with their values, such as ``lam=[0.1, 1.0]`` or ``seeds=2``.

    Raises:
        UserError: what is asked for is wrong, or runs failed.
    """
    loaded = load(experiment, scale, changes)
    if methods is not None:
        loaded = with_methods(loaded, methods)
    options = execution_options(data, None, workers)
    if command.sweep([loaded], options, Path(results), dry_run=False, wandb="disabled"):
        raise UserError(f"runs of {loaded.name} failed: the table above says which, and why")
    return load_results(Path(results) / loaded.name / loaded.scale)
