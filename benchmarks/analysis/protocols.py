"""Learning-rate protocols: which runs each uses, what is chosen of them, and how two methods are compared.

What is chosen for a seed is chosen on values of the *other* seeds: with its own, noise would choose. Test
losses are measured of what validation losses choose; train losses, which tell how well a method optimises, of
what train losses choose: by validation, the λ that overfit would be missing from a front of train losses.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..experiments.schema import Experiment
from .fronts import Points, front, stacked

REFERENCE = "sum"
FIXED = "fixed"
"""The protocol of the experiment's own learning rate."""
CELL = ["lam", "lr"]


@dataclass(frozen=True)
class Pair:
    """The runs by which a method is compared with another.

    Args:
        ran: of both, a row per run; at each seed the λ and learning rates that both ran. Where λ of one of
            them is not that of the grid, all λ of both are compared.
        seeds: those at which both ran.
        known: a row per run of either, at all seeds, by which choices are made.
        chooses: whether λ and rates of each are chosen of these, or all count.
        note: what had to be left out.
        lacking: how many runs failed or are missing.
    """

    ran: pd.DataFrame
    method: str
    other: str
    seeds: tuple[int, ...]
    known: pd.DataFrame
    chooses: bool = False
    note: str = ""
    lacking: str = ""
    _chosen: dict[str, pd.DataFrame] = field(default_factory=dict, compare=False, repr=False)
    _points: dict[str, tuple[Points, Points]] = field(default_factory=dict, compare=False, repr=False)
    _across: dict[tuple[str, str], list[Points]] = field(default_factory=dict, compare=False, repr=False)

    def runs(self, split: str) -> pd.DataFrame:
        """The runs of both whose losses on a split are compared."""
        if not self.chooses:
            return self.ran
        by = chosen_by(split)
        if by not in self._chosen:
            self._chosen[by] = choose(self.ran, self.known, by)
        return self._chosen[by]

    def of(self, method: str, split: str) -> pd.DataFrame:
        """Those of one of them."""
        runs = self.runs(split)
        return runs[runs["method"] == method]

    def points(self, split: str) -> tuple[Points, Points]:
        """``(seeds, n, 2)`` end points (main, aux) of each in ascending order of λ.

        NaN where a run diverged, and where a seed has fewer runs than another.
        """
        if split not in self._points:
            self._points[split] = self._ends(self.method, split), self._ends(self.other, split)
        return self._points[split]

    def across_seeds(self, method: str, split: str) -> list[Points]:
        """For each seed, ``(n, seeds, 2)`` end points of all at the λ and rates that it is compared on.

        Its own are at the place that it has in ``seeds``; infinite where a run diverged, NaN where none is.
        """
        if (method, split) not in self._across:
            self._across[method, split] = self._known_ends(method, split)
        return self._across[method, split]

    def _known_ends(self, method: str, split: str) -> list[Points]:
        losses = [f"{split}_main", f"{split}_aux"]
        known = self.known[(self.known["method"] == method) & self.known["seed"].isin(self.seeds)]
        wide = known.set_index([*CELL, "seed"])[losses].fillna(np.inf).unstack("seed")
        ends = np.moveaxis(wide.to_numpy(float).reshape(len(wide), 2, -1), 1, 2)
        own = self.of(method, split)
        cells, seeds = wide.index.get_indexer(pd.MultiIndex.from_frame(own[CELL])), own["seed"].to_numpy()
        return [ends[cells[seeds == seed]] for seed in self.seeds]

    def _ends(self, method: str, split: str) -> Points:
        return end_points(self.of(method, split).sort_values(CELL), self.seeds, split)


@dataclass(frozen=True)
class Protocol:
    """A learning-rate protocol.

    Args:
        name: of it.
        runs: a row per run that may be used.
        known: a row per run by which a choice for another seed is made: those at other rates too, none that
            failed.
        note: what there is to say.
        chooses: whether the λ and rates of a method are chosen, or all count.
        own_lam: methods whose λ is not that of the grid: no trade-off, a bound, or a list of their own.
        lacking: which runs are missing that a rate is chosen by.
    """

    name: str
    runs: pd.DataFrame
    known: pd.DataFrame
    note: str = ""
    chooses: bool = False
    own_lam: frozenset[str] = frozenset()
    lacking: str = ""
    _pairs: dict[tuple[str, str], Pair] = field(default_factory=dict, compare=False, repr=False)

    def pair(self, method: str, other: str = REFERENCE) -> Pair:
        """What a method and another have in common, and of that what the protocol chooses."""
        if (method, other) not in self._pairs:
            self._pairs[method, other] = self._paired(method, other)
        return self._pairs[method, other]

    def _paired(self, method: str, other: str) -> Pair:
        ours, theirs = (_ended(self.runs, name) for name in (method, other))
        asked = ["lr"] if {method, other} & self.own_lam else CELL
        ran = [list(of[["seed", *asked]].itertuples(index=False, name=None)) for of in (ours, theirs)]
        both = set(ran[0]) & set(ran[1])
        kept = [
            of[np.array([cell in both for cell in cells], dtype=bool)]
            for of, cells in zip((ours, theirs), ran, strict=True)
        ]
        runs = kept[0] if method == other else pd.concat(kept)
        seeds = tuple(sorted({int(seed) for seed, *_ in both}))
        known = self.known[self.known["method"].isin([method, other])]
        each = (_lacking(self.runs, of) for of in dict.fromkeys((method, other)))
        lacking = "; ".join(filter(None, (*each, self.lacking)))
        note = _left_out(method, other, ran, both)
        return Pair(runs, method, other, seeds, known, self.chooses, note, lacking)

    def own(self, method: str, split: str) -> pd.DataFrame:
        """What a method's front on a split is made of: the runs that `sum` has too, if it ran."""
        ran = (self.runs["method"] == REFERENCE).any()
        return self.pair(method, REFERENCE if ran else method).of(method, split)


def protocols(summary: pd.DataFrame, experiment: Experiment) -> Iterator[Protocol]:
    """The learning-rate protocols that the recorded runs allow.

    ``fixed``: the experiment's rate, where it was run, and all points of it. ``main-tuned``: for each seed
    the rate at which the λ = 0 runs of `sum` have the least mean validation main loss, and of it the λ of
    each method that are non-dominated. ``per-method``: of all rates and λ those of each method that are
    non-dominated. Each choice is by the means of the other seeds' values, of a single seed by its own, which
    is noted: of rates under ``main-tuned`` by validation values, of all else by `Pair.runs`.
    """
    runs = on_grids(summary, experiment)
    rates = sorted(runs["lr"].unique())
    several = len(rates) > 1
    choice = _choice(summary)
    fixed = runs[runs["lr"] == experiment.training.lr]
    ended = runs[runs["status"] != "failed"]
    own_lam = frozenset(label for label in runs["method"].unique() if not experiment.on_grid(label))
    if len(fixed):
        note = "no validation values to choose a rate by" * (several and not choice)
        at_it = ended[ended["lr"] == experiment.training.lr]
        yield Protocol(FIXED, fixed, at_it, note, own_lam=own_lam)
    if not several or not choice:
        return
    tuned, lacking = _tuned(summary, rates)
    if tuned:
        kept = runs[runs["lr"] == runs["seed"].map(tuned)]
        counts = Counter(tuned.values()).most_common()
        told = ", ".join(f"{rate:g}" + f" ({count} seeds)" * (len(counts) > 1) for rate, count in counts)
        note = f"lr={told}; {choice}"
        yield Protocol("main-tuned", kept, ended, note, True, own_lam, lacking)
    listed = ", ".join(f"{rate:g}" for rate in rates)
    note = f"lr in {listed}; {choice}"
    yield Protocol("per-method", runs, ended, note, chooses=True, own_lam=own_lam)


def end_points(runs: pd.DataFrame, seeds: Sequence[int], split: str) -> Points:
    """``(seeds, n, 2)`` end points (main, aux) of the rows, in their order."""
    of, ends = runs["seed"].to_numpy(), runs[[f"{split}_main", f"{split}_aux"]].to_numpy(float)
    return stacked([ends[of == seed] for seed in seeds])


def on_grids(runs: pd.DataFrame, experiment: Experiment) -> pd.DataFrame:
    """The rows of all runs but those at λ = 0 that no grid asks for: of `sum`, to choose a rate by."""
    cells = zip(runs["method"], runs["lam"], strict=True)
    return runs[np.array([lam != 0 or 0.0 in experiment.lams(label) for label, lam in cells], dtype=bool)]


def chosen_by(split: str) -> str:
    """The split whose losses choose what is compared on a split."""
    return "train" if split == "train" else "validation"


def choose(runs: pd.DataFrame, known: pd.DataFrame, by: str) -> pd.DataFrame:
    """The rows, at each method and seed, of λ and rates that are non-dominated at the other seeds.

    By their mean losses there; what diverged at one of these is not chosen, unless everything did.

    Args:
        runs: to choose from.
        known: with the other seeds' runs.
        by: the split of the losses.
    """
    losses_by = [f"{by}_main", f"{by}_aux"]
    kept = np.ones(len(runs), dtype=bool)
    for method, rows in runs.groupby("method", sort=False).indices.items():
        elsewhere = known[known["method"] == method].set_index([*CELL, "seed"])[losses_by]
        wide = elsewhere.fillna(np.inf).unstack("seed")
        losses = wide.to_numpy(float).reshape(len(wide), 2, -1)
        own = runs.iloc[rows]
        cell = wide.index.get_indexer(pd.MultiIndex.from_frame(own[CELL]))
        seed = wide.columns.get_level_values("seed")[: losses.shape[2]].get_indexer(pd.Index(own["seed"]))
        ran = np.zeros((len(wide), losses.shape[2]), dtype=bool)
        ran[cell, seed] = True
        kept[rows] = non_dominated(losses, ran)[cell, seed]
    return runs[kept]


def non_dominated(losses: NDArray[np.float64], ran: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """``(cells, seeds)``: which λ and rates that a seed ran no other's dominates at the other seeds.

    By the means of their losses there, of those that have as many seeds as any: a mean without a hard seed is
    none to compare. All where nothing is known. A single seed goes by its own losses.

    Args:
        losses: ``(cells, 2, seeds)``: infinite where a run diverged, NaN where there is none.
        ran: ``(cells, seeds)``: which may be chosen.
    """
    known = ~np.isnan(losses)
    finite = np.where(known, losses, 0)
    kept = ran.copy()
    for seed in range(losses.shape[2]):
        apart = np.arange(losses.shape[2]) != seed
        apart |= not apart.any()
        count = known[..., apart].sum(axis=2)
        most = count[ran[:, seed]].max(initial=1)
        mean = np.where(count >= most, finite[..., apart].sum(axis=2) / most, np.inf)
        best = front(np.where(ran[:, seed, None], mean, np.inf))
        if best.any():
            kept[:, seed] = best
    return kept


def others(runs: pd.DataFrame, seed: object) -> pd.DataFrame:
    """The rows of all seeds but one; of a single seed its own."""
    apart = runs[runs["seed"] != seed]
    return apart if len(apart) else runs


def means(
    runs: pd.DataFrame, by: list[str], columns: list[str], among: pd.Index | None = None
) -> pd.DataFrame:
    """Mean losses of the rows that have the same ``by``, without those of which any run diverged.

    Of those that have as many rows as any: a mean without a hard seed is none to compare.

    Args:
        runs: a row per run.
        by: the columns that are the same.
        columns: the losses.
        among: the values of ``by`` that may be chosen; None for all.
    """
    alike = runs[columns].fillna(np.inf).groupby([runs[key] for key in by])
    mean, count = alike.mean(), alike.size()
    if among is not None:
        mean, count = mean[mean.index.isin(among)], count[count.index.isin(among)]
    return mean[(count == count.max()) & pd.Series(np.isfinite(mean).all(axis=1), index=mean.index)]


def _ended(runs: pd.DataFrame, method: str) -> pd.DataFrame:
    return runs[(runs["method"] == method) & (runs["status"] != "failed")]


def ran_less(method: str, note: str) -> bool:
    """Whether a note on a comparison with `sum` says that a method did not end all runs that `sum` did."""
    fewer = rf"λ and rates of {REFERENCE}\b|runs of {re.escape(method)} failed or are missing"
    return re.search(fewer, note) is not None


def _left_out(method: str, other: str, ran: list[list[tuple[Any, ...]]], both: set[tuple[Any, ...]]) -> str:
    """What two methods do not have in common, in words."""
    settings = [{cell[1:] for cell in of} for of in (*ran, both)]
    told = [
        f"{len(settings[2])} of the {len(own)} λ and rates of {name}"
        for name, own in zip((method, other), settings, strict=False)
        if own - settings[2]
    ]
    return f"compared on {' and '.join(told)}" if told else ""


def _lacking(runs: pd.DataFrame, method: str) -> str:
    """How many runs of a method failed, or are missing at a seed while another seed has them, in words."""
    own = runs[runs["method"] == method]
    if own.empty:
        return ""
    each, ended = own.groupby("seed").size(), int((own["status"] != "failed").sum())
    wanted = int(each.max()) * runs["seed"].nunique()
    return f"{wanted - ended} of {wanted} runs of {method} failed or are missing" if ended < wanted else ""


def _choice(summary: pd.DataFrame) -> str:
    """On what choices are made, in words; nothing without validation values."""
    if "validation_main" not in summary or summary["validation_main"].isna().all():
        return ""
    if summary["seed"].nunique() == 1:
        return "one seed: chosen on its own values"
    return "chosen on values of the other seeds"


def _tuned(summary: pd.DataFrame, rates: list[float]) -> tuple[dict[int, float], str]:
    """For each seed the rate of least main loss at the other seeds; nothing where `sum` lacks a rate.

    And in words which of the runs that decide are missing, and which seeds have no rate.
    """
    runs, seeds = _ended(summary[summary["lam"] == 0], REFERENCE), sorted(summary["seed"].unique())
    if not set(rates) <= set(runs["lr"]):
        return {}, ""
    wanted, tuned = len(rates) * len(seeds), {}
    lacking = wanted - len(runs[runs["lr"].isin(rates)].drop_duplicates(["lr", "seed"]))
    for seed in seeds:
        known = means(others(runs, seed), ["lr"], ["validation_main"])["validation_main"]
        if len(known):
            tuned[int(seed)] = float(known.index[int(known.argmin())])
    told = [f"{lacking} of {wanted} runs of {REFERENCE} at λ = 0 failed or are missing"] if lacking else []
    if without := [str(seed) for seed in seeds if int(seed) not in tuned]:
        told.append(f"at each rate one diverged at λ = 0: none to choose for seed {', '.join(without)}")
    return tuned, "; ".join(told)
