"""Per-seed ratios between methods, from the runs of one learning-rate protocol.

Each function answers one ratio per seed that allows it, and, where none does, why. A run that diverged costs
the upper bounds of the box.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations, product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..experiments.box import Bounds
from ..records import Record
from . import indicators
from .fronts import Points, stacked
from .protocols import CELL, Pair, chosen_by, means, others

Answer = tuple[dict[int, float], str]
APART = "no λ and learning rate that both ran"
NO_BOX = "no box: `scalpel new box` proposes one"
NO_FRONT = "no front enters the box"


def front_ratios(pair: Pair, split: str, box: Bounds | None) -> Answer:
    """Front ratios (`analysis.indicators.front_ratio`) of a method over another."""
    if box is None:
        return {}, NO_BOX
    ends = pair.points(split)
    if all(np.isnan(indicators.seen(own, box)).all() for own in ends):
        return {}, NO_FRONT if pair.seeds else APART
    values = indicators.front_ratio(*ends, box).tolist()
    return dict(zip(pair.seeds, values, strict=True)), APART


def line_ratios(pair: Pair, split: str, box: Bounds) -> dict[int, float]:
    """The same ratios of fronts that are drawn as lines (`analysis.indicators.line_ratio`)."""
    values = indicators.line_ratio(*pair.points(split), box).tolist()
    return dict(zip(pair.seeds, values, strict=True))


def mean_front_ratios(pair: Pair, split: str, box: Bounds) -> dict[int, float]:
    """The front ratio of mean end points, taken apart by seeds: jackknife pseudo-values (Tukey 1958).

    A front of single runs takes the least of several noisy losses, so that a method gains by noise alone. The
    mean over seeds at each λ and rate has less of it, and the jackknife takes what is left to first order:
    S log ratio(all seeds) − (S − 1) log ratio(all but one), at the λ and rates that are chosen for this one.
    Runs that diverged count as the box's upper bounds, and no main loss as more; means are over those that
    are there. Nothing for a single seed.
    """
    if len(pair.seeds) < 2:
        return {}
    ours, theirs = (_pseudo_values(pair.across_seeds(of, split), box) for of in (pair.method, pair.other))
    return dict(zip(pair.seeds, np.exp(ours - theirs).tolist(), strict=True))


def _pseudo_values(across: Sequence[Points], box: Bounds) -> NDArray[np.float64]:
    """``(seeds,)`` of the mean of log A(a) of mean end points."""
    whole, rest = [], []
    for place, ends in enumerate(across):
        capped = np.where(np.isinf(ends), [box.main[1], box.aux[1]], ends)
        capped[..., 0] = np.minimum(capped[..., 0], box.main[1])
        whole.append(_mean_of_known(capped))
        rest.append(_mean_of_known(np.delete(capped, place, axis=1)))
    of_all, of_others = (indicators.mean_log_main(stacked(each), box) for each in (whole, rest))
    values: NDArray[np.float64] = len(across) * of_all - (len(across) - 1) * of_others
    return values


def _mean_of_known(ends: Points) -> Points:
    """``(n, 2)``: the means over seeds of end points ``(n, seeds, 2)``; NaN where no seed has one."""
    known = ~np.isnan(ends)
    count = known.sum(axis=1)
    return np.where(count > 0, np.where(known, ends, 0).sum(axis=1) / np.maximum(count, 1), np.nan)


def with_as_many_lam(pair: Pair, split: str, box: Bounds) -> float | None:
    """The front ratio where the method with more λ has as many as the other: its geometric mean over choices.

    A front is a staircase, which more points make better by themselves. None where both have as many, or one
    has a single point. The choices are all, or 500 at random.
    """
    names = (pair.method, pair.other)
    lams = [np.unique(pair.ran.loc[pair.ran["method"] == name, "lam"]) for name in names]
    more, fewer = sorted((0, 1), key=lambda each: -len(lams[each]))
    if len(lams[more]) == len(lams[fewer]) or len(lams[fewer]) < 2:
        return None
    own = pair.of(names[more], split)
    seeds, lam = own["seed"].to_numpy(), own["lam"].to_numpy()
    ends = own[[f"{split}_main", f"{split}_aux"]].to_numpy(float)
    whole = indicators.mean_log_main(pair.points(split)[fewer], box)
    logs = []
    for chosen in _choices(lams[more], len(lams[fewer])):
        kept = np.isin(lam, chosen)
        points = stacked([ends[kept & (seeds == seed)] for seed in pair.seeds])
        logs.append((indicators.mean_log_main(points, box) - whole).mean())
    return float(np.exp(np.mean(logs) * (1 if more == 0 else -1)))


def _choices(values: NDArray[np.float64], count: int) -> list[NDArray[np.float64]]:
    most = 500
    if math.comb(len(values), count) <= most:
        return [np.array(chosen) for chosen in combinations(values, count)]
    rng = np.random.default_rng(0)
    return [rng.choice(values, count, replace=False) for _ in range(most)]


def effects(pair: Pair, split: str, box: Bounds) -> dict[str, float]:
    """By how much the method is worse than the other on average, by each indicator beside the front ratio.

    IGD+ is measured against what the two reach together.
    """
    ours, theirs = pair.points(split)
    pooled = indicators.pooled_front(np.concatenate([ours.reshape(-1, 2), theirs.reshape(-1, 2)]), box)
    volume = indicators.hypervolume(theirs, box) - indicators.hypervolume(ours, box)
    distance = indicators.igd_plus(ours, pooled, box) - indicators.igd_plus(theirs, pooled, box)
    return {"hypervolume": float(volume.mean()), "IGD+": float(distance.mean()) if len(pooled) else 0.0}


def loss_ratios(pair: Pair, split: str, loss: str, box: Bounds | None, lam: float | None = None) -> Answer:
    """Ratios of end values of a metric at equal λ: their geometric mean over λ, or those at one λ.

    Where a run diverged it counts as the box's upper bound, and no other as more.
    """
    if _several_rates(pair.ran):
        return {}, "end values are compared at one learning rate"
    if (column := f"{split}_{loss}") not in pair.ran:
        return {}, f"no metric {loss} on {split}"
    of = (pair.ran[pair.ran["method"] == name] for name in (pair.method, pair.other))
    runs = (own if lam is None else own[own["lam"] == lam] for own in of)
    ours, theirs = (own.set_index(["seed", *CELL])[column] for own in runs)
    ran = pd.concat([ours, theirs], axis=1, join="inner", keys=["ours", "theirs"])
    both = ran.dropna(how="all")
    if lost := set(ran.index.unique("seed")) - set(both.index.unique("seed")):
        return {}, f"neither method has an end value of {loss} at seed {', '.join(map(str, sorted(lost)))}"
    if both.isna().to_numpy().any():
        if box is None or loss not in ("main", "aux"):
            return {}, "a run diverged, and no box says what that costs"
        cap = getattr(box, loss)[1]
        both = both.fillna(cap).clip(upper=cap)
    if (both <= 0).to_numpy().any():
        return {}, f"{loss} is not always positive: no ratio"
    logs = (both["ours"] / both["theirs"]).map(np.log).groupby("seed").mean()
    return dict(zip(logs.index.tolist(), np.exp(logs.to_numpy()).tolist(), strict=True)), APART


def tuned_ratios(pair: Pair, split: str, metric: str) -> Answer:
    """Ratios of end values of a metric, each method at its own λ and rate: those of the least mean elsewhere.

    That is, at the other seeds: of test values by validation values, of train values by themselves. What
    diverged at one of these is not chosen.
    """
    by, column = f"{chosen_by(split)}_{metric}", f"{split}_{metric}"
    if lacking := [each for each in (by, column) if each not in pair.ran]:
        return {}, f"no {lacking[0].replace('_', ' ', 1)}"
    values = {}
    for seed in pair.seeds:
        ends = []
        for name in (pair.method, pair.other):
            own = pair.ran[(pair.ran["method"] == name) & (pair.ran["seed"] == seed)].set_index(CELL)[column]
            elsewhere = others(pair.known[pair.known["method"] == name], seed)
            mean = means(elsewhere, CELL, [by], among=own.index)[by]
            if mean.empty:
                return {}, f"no λ of {name} ended at all seeds but {seed}: nothing to choose by"
            ends.append(float(own.iloc[int(np.nanargmin(mean.reindex(own.index)))]))
        if not all(end > 0 for end in ends):
            return {}, f"{metric} is not positive at seed {seed}, or a run diverged: no ratio"
        values[seed] = ends[0] / ends[1]
    return values, APART


def mixed_loss_ratios(pair: Pair, split: str, shares: Sequence[float], box: Bounds | None) -> Answer:
    """Ratios of min over λ of (1 − t) L_main + t L_aux, their geometric mean over the ``shares`` t."""
    t = np.array(shares)
    worst = np.inf if box is None else (1 - t) * box.main[1] + t * box.aux[1]
    least = []
    for points in pair.points(split):
        mixed = (1 - t) * points[..., :1] + t * points[..., 1:]
        least.append(np.minimum(np.where(np.isnan(mixed), np.inf, mixed).min(axis=1, initial=np.inf), worst))
    usable = np.all([(each > 0) & np.isfinite(each) for each in least], axis=(0, 2))
    if not usable.all():
        return (
            {},
            "a mixed loss is not positive, or a run diverged and no box says what that costs",
        )
    ratios = np.exp(np.log(least[0] / least[1]).mean(axis=1)).tolist()
    return dict(zip(pair.seeds, ratios, strict=True)), APART


def separations(
    runs: pd.DataFrame,
    records: Mapping[str, Record],
    split: str,
    method: str,
    others: Sequence[str],
    log: tuple[bool, bool],
) -> Answer:
    """How far a method's trajectories lie from the others', relative to how far these lie apart.

    The distance between two methods is the mean over λ and evaluations after the start of the Euclidean
    distance between their losses, each over its standard deviation among all that are compared; ``log``
    says which losses (main, aux) enter by their logarithms.

    Returns:
        per seed, the distance to the nearest of the others over the largest between two of them.
    """
    names = (method, *others)
    if _several_rates(runs[runs["method"].isin(names)]):
        return {}, "trajectories are compared at one learning rate"
    values = {}
    seeds = (set(runs.loc[runs["method"] == name, "seed"]) for name in names)
    shared = set[float].intersection(*(set(runs.loc[runs["method"] == name, "lam"]) for name in names))
    for seed in sorted(set[int].intersection(*seeds)):
        paths = _trajectories(runs, records, split, names, seed, sorted(shared))
        if isinstance(paths, str):
            return {}, paths
        if not paths.size:
            continue
        _rescale(paths, log)
        distance = {pair: _distance(paths, *pair) for pair in combinations(range(len(names)), 2)}
        spread = max(d for (a, _), d in distance.items() if a)
        if spread > 0:
            values[seed] = min(d for (a, _), d in distance.items() if not a) / spread
    return values, "no λ and seed at which all ran, on different trajectories"


def missing(
    runs: pd.DataFrame,
    known: pd.DataFrame,
    labels: Sequence[str],
    seeds: int,
    own_lam: Mapping[str, Sequence[float]] = {},
) -> str:
    """Which runs the methods lack at the λ and rates that they were swept at, or share all; or nothing.

    What one method was never swept at, and another was, is no missing run: they are compared without it. But
    of a method with λ of its own all count, so that all must be there.

    Args:
        runs: of one protocol.
        known: those by which its choices are made: at these rates of all seeds.
        labels: the methods.
        seeds: how many are planned; those recorded of any of the methods count too.
        own_lam: the λ of each method that has its own.
    """
    if lacking := absent(runs, labels):
        return f"no runs of {', '.join(lacking)}"
    of = runs[runs["method"].isin(labels)]
    ids = {label: set(of.loc[of["method"] == label, "id"]) for label in dict.fromkeys(labels)}
    if same := [f"{a} and {b}" for a, b in combinations(ids, 2) if ids[a] == ids[b]]:
        return f"the runs of {same[0]} are the same"
    planned = {*range(seeds), *of["seed"]}
    wanted = {
        (label, lam, lr, seed)
        for label, own in of.groupby("method")
        for lam, lr in (
            *own[CELL].drop_duplicates().itertuples(index=False, name=None),
            *product(own_lam.get(str(label), ()), own["lr"].unique()),
        )
        for seed in planned
    }
    ended = known[known["status"] != "failed"]
    count = len(wanted - set(ended[["method", *CELL, "seed"]].itertuples(index=False, name=None)))
    return f"{count} of {len(wanted)} runs are missing" if count else ""


def absent(runs: pd.DataFrame, labels: Sequence[str]) -> list[str]:
    """The methods that have no runs."""
    there = set(runs["method"])
    return [label for label in labels if label not in there]


def _several_rates(runs: pd.DataFrame) -> bool:
    """Whether a seed has runs at more than one learning rate."""
    return bool((runs.groupby("seed")["lr"].nunique() > 1).any())


def _select(runs: pd.DataFrame, method: str, seed: int) -> pd.DataFrame:
    return runs[(runs["method"] == method) & (runs["seed"] == seed)]


def _trajectories(
    runs: pd.DataFrame,
    records: Mapping[str, Record],
    split: str,
    names: Sequence[str],
    seed: int,
    lams: Sequence[float],
) -> NDArray[np.float64] | str:
    """``(methods, λ × evaluations, 2)`` losses of runs at these λ, or why there are none to compare."""
    completed = runs[runs["status"] == "completed"]
    paths = []
    for name in names:
        of = _select(completed, name, seed)
        own = dict(zip(of["lam"].tolist(), of["id"].tolist(), strict=True))
        if lacking := [lam for lam in lams if lam not in own]:
            return f"no whole trajectory of {name} at λ = {lacking[0]:g}, seed {seed}"
        rows = [row for lam in lams for row in records[own[lam]].trajectory[1:]]
        paths.append([[row[split]["main"], row[split]["aux"]] for row in rows])
    if len({len(path) for path in paths}) > 1:
        return f"trajectories of different numbers of evaluations at seed {seed}"
    return np.array(paths).reshape(len(names), -1, 2)


def _rescale(paths: NDArray[np.float64], log: tuple[bool, bool]) -> None:
    """Put losses, or their logarithms, in units of standard deviations, in place."""
    for axis in (0, 1):
        if log[axis] and (paths[..., axis] > 0).all():
            paths[..., axis] = np.log(paths[..., axis])
    deviation = paths.std(axis=(0, 1))
    paths /= np.where(deviation > 0, deviation, 1)


def _distance(paths: NDArray[np.float64], a: int, b: int) -> float:
    return float(np.linalg.norm(paths[a] - paths[b], axis=1).mean())
