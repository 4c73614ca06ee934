"""Methods ranked over experiments by their front ratios (after Agarwal et al. 2021, arXiv 2108.13264).

A cell is an experiment and a seed; a method's value there is its front ratio to `sum`. Every experiment
counts alike, however many seeds it has. The ratio of two methods is that of their front ratios: the front
ratio between the two, where both ran the λ of `sum`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...words import unknown
from ..experiments.schema import Experiment
from ..messages import UserError
from .analyses import Analysis, TrainingAnalysis
from .protocols import FIXED, REFERENCE, ran_less
from .ratio_table import over_all_seeds, per_seed
from .statistics import LEVEL, Estimate

SPLIT, PROTOCOL = "test", FIXED
"""The front ratios that are compared: on test losses, at each experiment's own learning rate."""
SHARES = (0.9, 0.95, 1.0, 1.05)
"""The front ratios τ at which tables show the performance profile."""
DRAWS = 2000
"""Of the bootstrap."""
SEEDS = 3
"""An interval is shown where every experiment has so many: drawn again, fewer seeds vary too little."""
RULE = (
    "over all stand the methods and experiments that make the largest table without a gap: each of these "
    "methods has front ratios in each of these experiments; the others stand per experiment"
)

Values = NDArray[np.float64]
Cells = Sequence[Values]
"""What a method has in each experiment: a value per seed."""


def cells_of(experiment: Experiment, metrics: pd.DataFrame) -> pd.DataFrame:
    """The front ratios of a sweep, a row per method and seed: experiment, method, seed, ratio.

    Args:
        experiment: that was swept.
        metrics: as `analyses.TrainingAnalysis` makes them, or as read from ``metrics.csv``.
    """
    rows = per_seed(metrics[(metrics["split"] == SPLIT) & (metrics["protocol"] == PROTOCOL)], "front_ratio")
    return pd.DataFrame(
        {
            "experiment": f"{experiment.name}/{experiment.scale}",
            "method": rows["method"],
            "seed": rows["seed"].astype(int),
            "ratio": rows["value"].astype(float),
        }
    ).reset_index(drop=True)


def interquartile_mean(values: Values, weights: Values) -> Values:
    """``(...)``: the mean of the middle half of the weight.

    `scipy.stats.trim_mean(values, 0.25)`, where all weights are equal and four divides their number.

    Args:
        values: ``(..., n)``.
        weights: ``(n,)``, above 0.
    """
    order = np.argsort(values, axis=-1)
    share = (weights / weights.sum())[order]
    ends = share.cumsum(axis=-1)
    kept = np.maximum(np.minimum(ends, 0.75) - np.maximum(ends - share, 0.25), 0)
    middle: Values = (kept * np.take_along_axis(values, order, axis=-1)).sum(axis=-1) / kept.sum(axis=-1)
    return middle


def middle_ratio(cells: Cells) -> Estimate:
    """The interquartile mean of the logarithms of ratios, as a ratio, with a 95 % interval.

    That is the percentile interval of a stratified bootstrap: seeds are drawn again within each experiment.
    There is none where no experiment has a second seed, and a `Leaderboard` shows none where an experiment
    has fewer than `SEEDS`.
    """
    logs = [np.log(own) for own in cells]
    weights = np.concatenate([np.full(len(own), 1 / len(own)) for own in logs])
    value = float(np.exp(interquartile_mean(np.concatenate(logs), weights)))
    if max(map(len, logs)) == 1:
        return Estimate(value, note="one seed: no interval")
    draw = np.random.default_rng(0)
    drawn = [own[draw.integers(len(own), size=(DRAWS, len(own)))] for own in logs]
    middles = interquartile_mean(np.concatenate(drawn, axis=1), weights)
    low, high = np.exp(np.quantile(middles, [LEVEL / 2, 1 - LEVEL / 2]))
    return Estimate(value, float(low), float(high))


def profile(cells: Cells, taus: Sequence[float]) -> Values:
    """``(taus,)``: the performance profile, the share of cells whose ratio is at most τ."""
    shares = [(own[:, None] <= np.asarray(taus)).mean(axis=0) for own in cells]
    mean: Values = np.mean(shares, axis=0)
    return mean


def wins(ratios: Cells) -> float:
    """The share of pairs that a method wins, a tie being half a win.

    Args:
        ratios: of the method to rivals, at each experiment those of all rivals and seeds.
    """
    return float(np.mean([((own < 1) + 0.5 * (own == 1)).mean() for own in ratios]))


@dataclass(frozen=True)
class Leaderboard:
    """The methods of some sweeps, ranked over all and in each experiment.

    Args:
        cells: a row per experiment, method and seed: ``experiment`` (as ``fig5a/workstation``), ``method``,
            ``seed``, ``ratio`` (the front ratio to `sum`).
        single_points: the methods to which λ is no trade-off, so that their fronts are one point.
        left_out: which methods of which experiments have no row, as they cannot be ranked, and why.
    """

    cells: pd.DataFrame
    single_points: frozenset[str] = frozenset()
    left_out: tuple[str, ...] = ()

    @cached_property
    def over_all(self) -> pd.DataFrame:
        """A row per method of `shared`, best first.

        ``rank``; ``method``; ``trade_off``, whether λ moves it along the front; ``ratio`` with ``low`` and
        ``high``, as `middle_ratio` says, NaN where an experiment has fewer than `SEEDS`; ``within_<τ>``, the
        `profile`; ``wins`` against the other methods of the table; ``experiments``, how many the method has
        among all that were given.
        """
        return self._table(*self.shared)

    @cached_property
    def by_experiment(self) -> pd.DataFrame:
        """The same for each ``experiment``, and all methods that have front ratios in it."""
        tables = [
            self._table(list(dict.fromkeys(own["method"])), [str(name)]).assign(experiment=name)
            for name, own in self.cells.groupby("experiment", sort=False)
        ]
        together = pd.concat(tables, ignore_index=True)
        return together[["experiment", *together.columns.drop("experiment")]]

    @property
    def table(self) -> pd.DataFrame:
        """Both: ``experiment`` is ``all`` in the rows over all."""
        return pd.concat([self.over_all.assign(experiment="all"), self.by_experiment], ignore_index=True)[
            self.by_experiment.columns
        ]

    @cached_property
    def shared(self) -> tuple[list[str], list[str]]:
        """The methods and the experiments that are compared over all, as `RULE` says."""
        return self.shared_with(REFERENCE)

    def shared_with(self, method: str) -> tuple[list[str], list[str]]:
        """The same where a method must be among them; of tables of one size that of more experiments."""
        ran = {name: frozenset(own) for name, own in self._ran.items()}
        candidates = {ran[method]}
        for own in ran.values():
            candidates |= {own & each for each in candidates}
        sizes = {each: sum(each <= own for own in ran.values()) - 1 for each in candidates if each}
        best = max(sizes, key=lambda each: (len(each) * sizes[each], len(each), sorted(each)))
        return [name for name, own in ran.items() if best <= own], [e for e in self.names if e in best]

    @property
    def names(self) -> list[str]:
        """All experiments."""
        return list(dict.fromkeys(self.cells["experiment"]))

    @property
    def unranked(self) -> dict[str, int]:
        """The methods that do not stand over all, each with how many experiments it has."""
        return {name: len(own) for name, own in self._ran.items() if name not in self.shared[0]}

    def row(self, method: str) -> pd.DataFrame:
        """The row of a method in the largest table that it is in, and ``of``, how many methods that has.

        Raises:
            UserError: it has no front ratios.
        """
        self._check(method)
        table = self._table(*self.shared_with(method))
        return table[table["method"] == method].assign(of=len(table)).reset_index(drop=True)

    def against(self, method: str) -> pd.DataFrame:
        """A method against each rival, over the experiments and seeds that both have, best first.

        ``rival``; ``ratio`` of the method to it, with ``low`` and ``high`` (`middle_ratio`), NaN where both
        share fewer than `SEEDS` seeds of an experiment; ``wins``; ``experiments``, how many both have.

        Raises:
            UserError: the method has no front ratios.
        """
        self._check(method)
        rows = []
        for rival in self._ran:
            shared = [name for name in self._ran[rival] if name in self._ran[method]]
            paired = [own for name in shared if len(own := self._ratios(method, rival, name))]
            if rival != method and paired:
                told = _told(paired)
                rows.append({"rival": rival, **told, "wins": wins(paired), "experiments": len(paired)})
        columns = ["rival", "ratio", "low", "high", "wins", "experiments"]
        return pd.DataFrame(rows, columns=columns).sort_values("ratio", kind="stable", ignore_index=True)

    def profile(self, taus: Sequence[float]) -> pd.DataFrame:
        """A row per method that stands over all, a column per τ: the share of cells with a ratio up to τ."""
        methods, names = self.shared
        rows = {method: profile(self._of(method, names), taus) for method in methods}
        return pd.DataFrame.from_dict(rows, orient="index", columns=list(taus)).rename_axis("method")

    @cached_property
    def _by_seed(self) -> Mapping[tuple[str, str], dict[int, float]]:
        """By method and experiment, the ratio of each seed."""
        return {
            (str(method), str(name)): dict(zip(own["seed"].tolist(), own["ratio"].tolist(), strict=True))
            for (method, name), own in self.cells.groupby(["method", "experiment"], sort=False)
        }

    @cached_property
    def _ran(self) -> dict[str, list[str]]:
        """The experiments of each method."""
        ran: dict[str, list[str]] = {method: [] for method in dict.fromkeys(self.cells["method"])}
        for method, name in self._by_seed:
            ran[method].append(name)
        return ran

    def _check(self, method: str) -> None:
        if method not in self._ran:
            raise UserError(unknown("method", method, self._ran))

    def _of(self, method: str, names: Iterable[str]) -> Cells:
        return [np.array(list(self._by_seed[method, name].values())) for name in names]

    def _ratios(self, method: str, rival: str, name: str) -> Values:
        """``(seeds,)``: of the seeds that both have in an experiment."""
        ours, theirs = self._by_seed[method, name], self._by_seed[rival, name]
        return np.array([ours[seed] / theirs[seed] for seed in ours if seed in theirs])

    def _table(self, methods: Sequence[str], names: Sequence[str]) -> pd.DataFrame:
        table = pd.DataFrame(self._rows(methods, names))
        table.insert(0, "rank", table["ratio"].rank(method="min").astype(int))
        return table.sort_values("rank", kind="stable", ignore_index=True)

    def _rows(self, methods: Sequence[str], names: Sequence[str]) -> Iterator[dict[str, Any]]:
        for method in methods:
            cells = self._of(method, names)
            rivals = [other for other in methods if other != method]
            paired = [[self._ratios(method, rival, name) for rival in rivals] for name in names]
            pairs = [of for own in paired if len(of := np.concatenate([*own, []]))]
            yield {
                "method": method,
                "trade_off": method not in self.single_points,
                **_told(cells),
                **{f"within_{t:g}": share for t, share in zip(SHARES, profile(cells, SHARES), strict=True)},
                "wins": wins(pairs) if pairs else np.nan,
                "experiments": len(self._ran[method]),
            }


def leaderboard(measured: Iterable[tuple[Experiment, pd.DataFrame]]) -> Leaderboard:
    """The leaderboard of some sweeps.

    Methods that are `unfit` in an experiment are left out there.

    Args:
        measured: of each its experiment and its metrics; one without front ratios is passed over.

    Raises:
        UserError: an experiment stands there twice at one scale, or none has front ratios.
    """
    cells: dict[str, pd.DataFrame] = {}
    single_points: set[str] = set()
    left_out: list[str] = []
    for experiment, metrics in measured:
        own = cells_of(experiment, metrics)
        name = f"{experiment.name}/{experiment.scale}"
        if name in cells:
            raise UserError(f"two of the folders hold {name}: a leaderboard is of one of them")
        if len(own):
            out = unfit(metrics, more_lam(experiment.methods, experiment.lam))
            out.pop(REFERENCE, None)  # all others are measured by it
            left_out += [f"{name}: {method} ({why})" for method, why in out.items()]
            own = cells[name] = own[~own["method"].isin(list(out))]
            single_points |= {label for label in own["method"].unique() if not experiment.trades_off(label)}
    if not cells:
        raise UserError(f"no front ratios on {SPLIT} losses under the protocol {PROTOCOL}: nothing to rank")
    together = pd.concat(cells.values(), ignore_index=True)
    return Leaderboard(together, frozenset(single_points), tuple(left_out))


def more_lam(methods: Mapping[str, Mapping[str, Any]], grid: Sequence[float]) -> dict[str, str]:
    """The labels of an experiment that state more λ than its grid has, and how many."""
    own = {label: settings.get("lam") for label, settings in methods.items()}
    return {
        label: f"{len(lam)} λ, the grid has {len(grid)}"
        for label, lam in own.items()
        if isinstance(lam, list | tuple) and len(lam) > len(grid)
    }


def unfit(metrics: pd.DataFrame, finer: Mapping[str, str], statistic: str = "front_ratio") -> dict[str, str]:
    """The methods of a sweep that cannot be ranked by a statistic, and why.

    Those that have it of fewer seeds than another, that did not end all runs that `sum` did, or have more λ
    than the grid: failing at a bad seed or λ, and a finer staircase, would rank them higher.

    Args:
        metrics: as `analyses.TrainingAnalysis` makes them, or as read from ``metrics.csv``.
        finer: as `more_lam` finds it.
        statistic: of the metrics.
    """
    rows = metrics[(metrics["split"] == SPLIT) & (metrics["protocol"] == PROTOCOL)]
    over_all = over_all_seeds(rows, statistic).dropna(subset="note")
    notes = dict(zip(over_all["method"], over_all["note"].astype(str), strict=True))
    known = per_seed(rows, statistic).dropna(subset="value")
    seeds = known.groupby("method", sort=False)["seed"].nunique()
    found = {}
    for label, count in seeds.items():
        told = str(label)
        if of_lam := finer.get(told.partition(" (")[0]):
            found[told] = of_lam
        elif count < seeds.max():
            found[told] = f"{count} of {seeds.max()} seeds"
        elif ran_less(told, notes.get(told, "")):
            found[told] = notes[told]
    return found


def seeds_of(experiment: Experiment, metrics: pd.DataFrame) -> int:
    """The fewest seeds that a method of a sweep has front ratios of; 0 where there are none.

    Args:
        experiment: that was swept.
        metrics: as of `cells_of`.
    """
    cells = cells_of(experiment, metrics)
    return int(cells.groupby("method")["seed"].nunique().min()) if len(cells) else 0


def of_analyses(analyses: Iterable[Analysis]) -> Leaderboard:
    """The leaderboard of the sweeps that compare methods.

    Raises:
        UserError: as `leaderboard`.
    """
    compared = [analysis for analysis in analyses if isinstance(analysis, TrainingAnalysis)]
    return leaderboard((analysis.compared, analysis.metrics) for analysis in compared)


def _told(cells: Cells) -> dict[str, float | None]:
    """A ratio with its interval, NaN where an experiment has too few seeds for one."""
    value, low, high, _ = middle_ratio(cells)
    few = min(map(len, cells)) < SEEDS
    return {"ratio": value, "low": np.nan if few else low, "high": np.nan if few else high}
