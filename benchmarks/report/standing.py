"""Where a method stands in the recorded sweeps, from the tables beside their records alone."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from ...registry import catalogue
from ...words import unknown
from ..analysis.leaderboard import PROTOCOL, SPLIT, more_lam, unfit
from ..analysis.ratio_table import over_all_seeds, per_seed
from ..analysis.wording import with_interval
from ..catalogue import packed_sweeps
from ..messages.errors import UserError
from .files import read_table

SAME = 1e-3
"""Two fronts count as the same where their ratios differ by at most this share at every seed."""
RATIO, DELTA_M = "front_ratio", "delta_m"
OUTSIDE = "no point in the box"
MEANINGFUL = 100.0
"""Percent: where even the least Δm is above, a loss that is trained alone goes to almost nothing, and Δm is
about that loss alone: it ranks no method."""
OPTIONAL = ("front ratio, train", "front ratio, test", "same front as", "Δm on test (%)")
"""Columns that a table has only where a sweep has what they show."""


def standing(results: Path, method: str) -> pd.DataFrame | str:
    """A row for each packed sweep and label of a method that has a front ratio or Δm there; else a sentence.

    A sweep with front ratios shows these, another its Δm, unless that is `MEANINGFUL` for no method; a label
    that is compared with none has no row.

    Raises:
        UserError: there is no such method, or a file of a sweep cannot be read.
    """
    rows = [row for sweep in _sweeps(results, method) for row in sweep.rows(method)]
    if not rows:
        return _nowhere(method)
    table = pd.DataFrame(rows).fillna("")
    return table[[name for name in table if name not in OPTIONAL or (table[name] != "").any()]]


def _nowhere(method: str) -> str:
    if method not in (known := catalogue("methods")):
        raise UserError(unknown("method", method, known))
    on = "fig5a/workstation" if known[method].attributes.get("positive_losses") else "fig3a/released"
    command = f"scalpel compare {method} --on {on} --data PATH"
    return f"No recorded sweep ranks it; `{command}` trains it among recorded rivals.\n"


@dataclass(frozen=True)
class Sweep:
    """A recorded sweep.

    Args:
        name: such as ``fig5a/workstation``.
        methods: the method of each label, without the variations that axes make of one.
        miniature: whether it is smaller than what it asks about.
        finer: the labels with more λ than the grid.
        metrics: the rows of its ``metrics.csv`` at each experiment's own rate.
    """

    name: str
    methods: Mapping[str, str]
    miniature: bool
    finer: Mapping[str, str]
    metrics: pd.DataFrame

    def rows(self, method: str) -> Iterator[dict[str, Any]]:
        """A row for each label of a method that has a value, where two labels at least are ranked."""
        if len(self._places) > 1 and self._is_meaningful:
            for label in self.methods:
                if self.methods[label] == method and (label in self._places or label in self._unfit):
                    yield self._row(label)

    @cached_property
    def _statistic(self) -> str:
        """What methods are ranked by: the front ratio where there is one."""
        ratios = over_all_seeds(self.metrics, RATIO)["value"]
        return RATIO if ratios.notna().any() else DELTA_M

    @property
    def _is_meaningful(self) -> bool:
        return self._statistic == RATIO or bool(self._over_all(SPLIT)["value"].min() <= MEANINGFUL)

    @cached_property
    def _unfit(self) -> dict[str, str]:
        """Why labels with a value are not ranked."""
        return unfit(self.metrics, self.finer, self._statistic)

    @cached_property
    def _places(self) -> dict[str, int]:
        """The place of each label with a value on test losses that can be ranked; ties share."""
        value = self._over_all(SPLIT)["value"].dropna()
        ranks = value.drop(list(self._unfit), errors="ignore").rank(method="min").astype(int)
        return {label: int(ranks[label]) for label in self.methods if label in ranks}

    def _row(self, label: str) -> dict[str, Any]:
        name = f"`{self.name}`"
        ranked = label in self._places
        place = f"{self._places[label]} of {len(self._places)}" if ranked else f"none: {self._unfit[label]}"
        row = {"sweep": name if label == self.methods[label] else f"{name}, as `{label}`"}
        if self._statistic == RATIO:
            row |= {f"front ratio, {split}": self._told(split, label) for split in ("train", SPLIT)}
        else:
            row[f"Δm on {SPLIT} (%)"] = self._told(SPLIT, label, 2)
        row[f"place on {SPLIT}"] = place
        if self._statistic == RATIO:
            row["same front as"] = self._same(label)
        return row | {"miniature": "yes" if self.miniature else "no"}

    def _told(self, split: str, label: str, digits: int = 3) -> str:
        over_all = self._over_all(split)
        if label not in over_all.index:
            return ""
        value, low, high = over_all.loc[label, ["value", "low", "high"]]
        return with_interval(value, low, high, digits, "none")

    def _over_all(self, split: str) -> pd.DataFrame:
        """By label, the value over all seeds with its interval."""
        rows = over_all_seeds(self.metrics, self._statistic)
        return rows[rows["split"] == split].set_index("method")

    def _same(self, label: str) -> str:
        if label in self._outside:
            return OUTSIDE
        others = [other for other in self._places if other != label and other not in self._outside]
        return ", ".join(f"`{other}`" for other in others if self._agree(label, other))

    def _agree(self, label: str, other: str) -> bool:
        """Whether two labels have the same seeds, and front ratios that hardly differ at each."""
        ours, theirs = self._by_seed[label], self._by_seed[other]
        if set(ours.index) != set(theirs.index):
            return False
        return bool(((ours / theirs - 1).abs() <= SAME).all())

    @cached_property
    def _by_seed(self) -> dict[str, pd.Series[float]]:
        """By label, the front ratio on test losses at each seed."""
        rows = self._per_seed(RATIO)
        return {str(label): own.set_index("seed")["value"] for label, own in rows.groupby("method")}

    @cached_property
    def _outside(self) -> set[str]:
        """The labels without a point in the box at any seed: they share one ratio, whatever their fronts."""
        most = self._per_seed("points").groupby("method")["value"].max()
        return {str(label) for label in most.index[most == 0]}

    def _per_seed(self, statistic: str) -> pd.DataFrame:
        return per_seed(self.metrics[self.metrics["split"] == SPLIT], statistic)


def _sweeps(results: Path, method: str) -> Iterator[Sweep]:
    """The packed sweeps with a label of a method, and with tables."""
    for folder in packed_sweeps(results):
        files = (folder / "experiment.json", folder / "metrics.csv")
        if files[1].is_file():
            sweep = _sweep(folder, tuple(file.stat().st_mtime_ns for file in files))
            if method in sweep.methods.values():
                yield sweep


@functools.lru_cache(maxsize=64)
def _sweep(folder: Path, written: tuple[int, ...]) -> Sweep:
    """What was measured at the experiment's own rate, read once for all methods until it is written again."""
    methods, miniature, finer = _stated(folder / "experiment.json")
    metrics = read_table(folder, "metrics")
    used = metrics["statistic"].isin((RATIO, DELTA_M, "points")) & (metrics["protocol"] == PROTOCOL)
    kept = metrics[used & metrics["method"].isin(methods)]
    return Sweep(f"{folder.parent.name}/{folder.name}", methods, miniature, finer, kept)


def _stated(file: Path) -> tuple[dict[str, str], bool, dict[str, str]]:
    """The method of each label of an experiment, whether it is a miniature, and the labels with more λ.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        stated = json.loads(file.read_text(encoding="utf-8"))["experiment"]
        own = stated.get("methods", {})
        methods = {label: str(settings["name"]) for label, settings in own.items()}
        return methods, bool(stated.get("miniature")), more_lam(own, stated.get("lam", ()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file} states no experiment: {type(error).__name__}") from error
