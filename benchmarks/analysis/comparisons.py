"""Per-seed ratios between methods, from the runs of one learning-rate protocol.

Each function answers one ratio per seed that allows it, and, where none does, why. ``runs`` has a row per
run, as `analysis.summary.summarise` makes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..records import Record
from .fronts import front_ratio

Answer = tuple[dict[int, float], str]
CELL = ["lam", "lr", "seed"]


def front_ratios(runs: pd.DataFrame, split: str, method: str, other: str, cap: float) -> Answer:
    """Front ratios (`analysis.fronts.front_ratio`) of a method over another."""
    values, notes = {}, dict[str, None]()
    columns = [f"{split}_main", f"{split}_aux"]
    for seed in _seeds(runs, (method, other)):
        of = {m: _select(runs, m, seed)[columns].to_numpy(float) for m in (method, other)}
        ratio = front_ratio(of[method], of[other], cap)
        if ratio.value is None:
            notes[ratio.note] = None
        else:
            values[seed] = ratio.value
    return values, "; ".join(notes)


def loss_ratios(runs: pd.DataFrame, split: str, loss: str, method: str, other: str) -> Answer:
    """Ratios of end values at equal λ, their geometric mean over λ."""
    if _rates(runs, (method, other)) > 1:
        return {}, "end values are compared at one learning rate"
    pairs = _paired(runs, method, other)
    ours, theirs = pairs[f"{split}_{loss}"], pairs[f"{split}_{loss}_other"]
    if (pd.concat([ours, theirs]) <= 0).any():
        return {}, f"the {loss} loss is not always positive: no ratio"
    return _geometric(pairs["seed"], ours / theirs), "no λ at which both completed"


def mixed_loss_ratios(
    runs: pd.DataFrame, split: str, method: str, other: str, shares: Sequence[float]
) -> Answer:
    """Ratios of min over λ of (1 − t) L_main + t L_aux, their geometric mean over the ``shares`` t."""
    values = {}
    t = np.array(shares)
    for seed in _seeds(runs, (method, other)):
        least = []
        for name in (method, other):
            own = _select(runs, name, seed)
            main, aux = (own[f"{split}_{loss}"].dropna().to_numpy(float) for loss in ("main", "aux"))
            mixed = (1 - t) * main[:, None] + t * aux[:, None]
            least.append(mixed.min(axis=0, initial=np.inf))
        if (np.array(least) > 0).all() and np.isfinite(least).all():
            values[seed] = float(np.exp(np.log(least[0] / least[1]).mean()))
    return values, "no seed at which both have a positive mixed loss"


def step_time_ratios(runs: pd.DataFrame, records: Mapping[str, Record], method: str, other: str) -> Answer:
    """Ratios of the seconds per training step at equal λ on equal devices, their geometric mean over λ.

    Only of runs that trained alone: a population's seconds are shared out evenly over its methods.
    """
    pairs = _paired(runs, method, other)
    same = [
        _machine(records[a]) == _machine(records[b]) and _alone(records[a]) and _alone(records[b])
        for a, b in zip(pairs["id"], pairs["id_other"], strict=True)
    ]
    pairs = pairs[np.array(same, dtype=bool)]
    seconds = [pairs[c].map(lambda id: records[id].timings.get("step", np.nan)) for c in ("id", "id_other")]
    ratio = seconds[0].astype(float) / seconds[1].astype(float)
    return _geometric(pairs["seed"], ratio), "no step times of both, each alone on the same device"


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
    if _rates(runs, names) > 1:
        return {}, "trajectories are compared at one learning rate"
    values = {}
    for seed in _seeds(runs, names):
        paths = _trajectories(runs, records, split, names, seed, log)
        if paths is None:
            continue
        distance = {pair: _distance(paths, *pair) for pair in combinations(range(len(names)), 2)}
        spread = max(d for (a, _), d in distance.items() if a)
        if spread > 0:
            values[seed] = min(d for (a, _), d in distance.items() if not a) / spread
    return values, "no seed at which all completed on different trajectories"


def missing(runs: pd.DataFrame, labels: Sequence[str], lam: Sequence[float], seeds: int) -> str:
    """Which runs of an equal grid over λ, learning rate and seed the methods lack, or nothing.

    Args:
        runs: of one protocol.
        labels: the methods that must have the same runs.
        lam: the λ that are planned; those recorded of any of the methods count too.
        seeds: how many are planned; likewise.
    """
    of = runs[runs["method"].isin(labels)]
    if absent := [label for label in labels if label not in set(of["method"])]:
        return f"no runs of {', '.join(absent)}"
    ended = of[of["status"] != "failed"]
    wanted = [
        (label, v, lr, seed)
        for label in dict.fromkeys(labels)
        for v in {*lam, *of["lam"]}
        for lr in set(of["lr"])
        for seed in {*range(seeds), *of["seed"]}
    ]
    lacking = len(set(wanted) - set(ended[["method", *CELL]].itertuples(index=False, name=None)))
    return f"{lacking} of {len(wanted)} runs are missing" if lacking else ""


def _seeds(runs: pd.DataFrame, methods: Sequence[str]) -> list[int]:
    """The seeds at which all the methods have runs."""
    return sorted(set[int].intersection(*(set(runs.loc[runs["method"] == m, "seed"]) for m in methods)))


def _select(runs: pd.DataFrame, method: str, seed: int) -> pd.DataFrame:
    return runs[(runs["method"] == method) & (runs["seed"] == seed)]


def _rates(runs: pd.DataFrame, methods: Sequence[str]) -> int:
    return runs.loc[runs["method"].isin(methods), "lr"].nunique()


def _paired(runs: pd.DataFrame, method: str, other: str) -> pd.DataFrame:
    """Runs of both at equal λ, learning rate and seed, side by side."""
    ours, theirs = (runs[runs["method"] == m] for m in (method, other))
    return ours.merge(theirs, on=CELL, suffixes=("", "_other"))


def _geometric(seeds: pd.Series, ratios: pd.Series) -> dict[int, float]:
    means = np.log(ratios).groupby(seeds).mean().dropna()
    return dict(zip(means.index.tolist(), np.exp(means.to_numpy()).tolist(), strict=True))


def _machine(record: Record) -> tuple[object, ...]:
    return tuple(record.environment.get(key) for key in ("device", "platform", "threads", "torch"))


def _alone(record: Record) -> bool:
    return record.environment.get("population", 1) == 1


def _trajectories(
    runs: pd.DataFrame,
    records: Mapping[str, Record],
    split: str,
    names: Sequence[str],
    seed: int,
    log: tuple[bool, bool],
) -> NDArray[np.float64] | None:
    """``(methods, λ × evaluations, 2)`` in units of standard deviations; None where runs do not match."""
    completed = runs[runs["status"] == "completed"]
    own = []
    for name in names:
        of = _select(completed, name, seed)
        own.append(dict(zip(of["lam"].tolist(), of["id"].tolist(), strict=True)))
    shared = sorted(set[float].intersection(*map(set, own)))
    paths = [
        [[row[split]["main"], row[split]["aux"]] for lam in shared for row in records[of[lam]].trajectory[1:]]
        for of in own
    ]
    if not paths[0] or len({len(path) for path in paths}) > 1:
        return None
    stacked = np.array(paths)
    for axis in (0, 1):
        if log[axis] and (stacked[..., axis] > 0).all():
            stacked[..., axis] = np.log(stacked[..., axis])
    deviation = stacked.std(axis=(0, 1))
    return stacked / np.where(deviation > 0, deviation, 1)


def _distance(paths: NDArray[np.float64], a: int, b: int) -> float:
    return float(np.linalg.norm(paths[a] - paths[b], axis=1).mean())
