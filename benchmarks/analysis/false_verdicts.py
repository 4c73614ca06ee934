"""A simulation of the whole procedure: how often the verdicts on methods of a known effect are wrong.

End points are drawn around recorded means with recorded noise. The functions that choose, measure and answer
are those for records; only the tables that they read records from are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..experiments.claims import OWN, Better, Equal
from ..experiments.schema import Experiment
from ..messages import UserError
from ..records import RecordedSweep
from . import indicators
from .evidence import Runs
from .fronts import Points, stacked
from .protocols import FIXED, REFERENCE, Pair, Protocol, non_dominated
from .summary import summarise
from .verdicts import answered

RIVAL = "rival"
ALIKE = (REFERENCE, "pcgrad", "dynamic_barrier", "bloop_no_ema")
"""Methods that end near one another: their residuals are the noise of two equal methods."""
ENDS = [f"{split}_{loss}" for split in ("train", "validation", "test") for loss in ("main", "aux")]
VALIDATION_MAIN = ENDS.index("validation_main")
RATES = (0.5, 1.0, 2.0)
"""Learning rates over the experiment's own. All are equally good, so that noise alone tells them apart."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Ground:
    """What is drawn from.

    Args:
        experiment: with the box.
        lam: the weights, ascending.
        truth: ``(λ, 6)`` mean logarithms of the end points of `sum`, in the order of `ENDS`.
        residuals: ``(k, 2, λ, 6)``, for `sum` and a method that equals it; their sum with normal weights of
            variance 1 has the recorded covariance between methods of a seed, λ, splits and losses.
    """

    experiment: Experiment
    lam: tuple[float, ...]
    truth: Array
    residuals: Array

    @property
    def deviation(self) -> Array:
        """``(6,)`` standard deviations over seeds, mean over λ; of logarithms."""
        deviation: Array = np.sqrt((self.residuals**2).sum(axis=0).mean(axis=(0, 1)))
        return deviation

    @property
    def correlation(self) -> float:
        """Between two methods of a seed."""
        ours, theirs = self.residuals[:, 0], self.residuals[:, 1]
        return float((ours * theirs).sum() / np.sqrt((ours**2).sum() * (theirs**2).sum()))


def ground(sweep: RecordedSweep) -> Ground:
    """The means and the noise of a sweep at its experiment's learning rate, at λ > 0.

    Raises:
        UserError: it compares no fronts, has no box, lacks runs of `ALIKE`, or some diverged.
    """
    experiment, path = sweep.experiment, sweep.folder.path
    if not isinstance(experiment, Experiment) or experiment.box is None:
        raise UserError(f"{path} compares no fronts inside a box")
    runs = summarise(sweep.records)
    kept = (runs["lr"] == experiment.training.lr) & (runs["lam"] > 0) & runs["method"].isin(ALIKE)
    runs = runs[kept].sort_values(["method", "lam", "seed"])
    shape = [runs[key].nunique() for key in ("method", "lam", "seed")]
    whole = len(runs) == np.prod(shape) and set(ENDS) <= set(runs) and shape[0] == len(ALIKE) and shape[2] > 1
    if not whole or not (runs[ENDS] > 0).all(axis=None):
        raise UserError(
            f"{path} needs completed runs of {', '.join(ALIKE)} at the same λ and seeds, on all splits"
        )
    logs = np.log(runs[ENDS].to_numpy(float)).reshape(*shape, len(ENDS))
    mean = logs.mean(axis=2)
    spread = logs - mean[:, :, None]
    ordered = [(a, b) for a in range(shape[0]) for b in range(shape[0]) if a != b]
    pairs = np.stack([spread[list(pair)] for pair in ordered])
    residuals = np.moveaxis(pairs, 3, 1).reshape(-1, 2, shape[1], len(ENDS))
    residuals = residuals / np.sqrt(len(ordered) * (shape[2] - 1))
    truth = mean[sorted(ALIKE).index(REFERENCE)]
    return Ground(experiment, tuple(sorted(runs["lam"].unique())), truth, residuals)


def simulate(
    of: Ground, factor: float, noise: float, seeds: int, repeats: int, rng: np.random.Generator
) -> pd.DataFrame:
    """A row per learning-rate protocol: the shares of each verdict on a method of a known effect.

    Args:
        of: means and noise.
        factor: the method's true main loss over that of `sum`, at every λ.
        noise: its noise over that of `sum`.
        seeds: of each sweep.
        repeats: how many sweeps.
        rng: of the noise.

    Returns:
        ``supported`` and ``contradicted``: of the claim that its front is better than that of `sum`;
        ``equal``: that it equals it within 2 %; ``coverage``: of the 95 % intervals of its test front ratio.
    """
    better = Better(kind="better", method=RIVAL, than=(REFERENCE,), split="test", **_named("better"))
    equal = Equal(kind="equal", methods=(RIVAL,), than=REFERENCE, split="test", **_named("equal"))
    rows = [
        {"protocol": protocol.name, **answered(claim, Runs(of.experiment, protocol, {}, Path("nowhere")))}
        for _ in range(repeats)
        for protocol in drawn_protocols(of, draw(of, factor, noise, seeds, rng))
        for claim in (better, equal)
    ]
    return pd.DataFrame(_shares(pd.DataFrame(rows), _true_ratio(of, factor)))


def draw(of: Ground, factor: float, noise: float, seeds: int, rng: np.random.Generator) -> Array:
    """``(seeds, rates, 2, λ, 6)`` end points of `sum` and of a method, in the order of `ENDS`."""
    weights = rng.standard_normal((seeds, len(RATES), len(of.residuals)))
    logs = of.truth + np.tensordot(weights, of.residuals, 1) * np.array([1.0, noise])[:, None, None]
    ends: Array = np.exp(logs)
    ends[:, :, 1, :, ::2] *= factor
    return ends


def drawn_protocols(of: Ground, ends: Array) -> list[Protocol]:
    """The protocols of `analysis.protocols.protocols`, of end points ``(seeds, rates, 2, λ, 6)``.

    Runs of `sum` at λ = 0, by which a rate is chosen, have the main losses of its least λ.
    """
    seeds, rates, _, weights, _ = ends.shape
    cells = np.moveaxis(ends, 1, 3).reshape(seeds, 2, weights * rates, len(ENDS))
    rate = np.tile(np.arange(rates), weights)
    alone = ends[:, :, 0, 0, VALIDATION_MAIN]
    tuned = ((alone.sum(axis=0) - alone) / (seeds - 1)).argmin(axis=1)
    every = np.ones((weights * rates, seeds), dtype=bool)
    fixed = every & (rate == RATES.index(1.0))[:, None]
    return [
        _protocol(FIXED, cells, fixed, chooses=False),
        _protocol("main-tuned", cells, rate[:, None] == tuned, chooses=True),
        _protocol("per-method", cells, every, chooses=True),
    ]


def _protocol(name: str, cells: Array, usable: NDArray[np.bool_], chooses: bool) -> Protocol:
    """With the pairs that claims ask for, made from arrays; cells ``(seeds, 2, cells, 6)``."""
    validation = np.moveaxis(cells[..., VALIDATION_MAIN : VALIDATION_MAIN + 2], 0, -1)
    kept = [non_dominated(validation[each], usable) if chooses else usable for each in (0, 1)]
    points: list[Points] = []
    across: list[list[Points]] = []
    for each in (0, 1):
        test = cells[:, each, :, -2:]
        chosen = kept[each].T
        points.append(stacked([own[mask] for own, mask in zip(test, chosen, strict=True)]))
        across.append([np.moveaxis(test[:, mask], 0, 1) for mask in chosen])
    runs, seeds = pd.DataFrame(columns=["method", "lam", *ENDS]), tuple(range(len(cells)))
    ends = {(REFERENCE, "test"): across[0], (RIVAL, "test"): across[1]}
    pairs = {
        (RIVAL, REFERENCE): Pair(
            runs, RIVAL, REFERENCE, seeds, runs, _points={"test": (points[1], points[0])}, _across=ends
        ),
        (REFERENCE, REFERENCE): Pair(
            runs, REFERENCE, REFERENCE, seeds, runs, _points={"test": (points[0],) * 2}
        ),
    }
    return Protocol(name, runs, runs, chooses=chooses, _pairs=pairs)


def _shares(told: pd.DataFrame, truth: float) -> Iterator[dict[str, Any]]:
    for protocol, own in told.groupby("protocol", sort=False):
        better, equal = (own[own["id"] == name] for name in ("better", "equal"))
        of = better["verdict"].value_counts(normalize=True)
        yield {
            "protocol": protocol,
            **{name: of.get(name, 0.0) for name in ("supported", "contradicted")},
            "equal": (equal["verdict"] == "supported").mean(),
            "no_conflict": of.get("no conflict here", 0.0),
            "depends": of.get("depends on the measure", 0.0),
            "coverage": ((better["low"] <= truth) & (truth <= better["high"])).mean(),
        }


def _true_ratio(of: Ground, factor: float) -> float:
    """The test front ratio without noise."""
    assert of.experiment.box is not None
    reference = np.exp(of.truth[:, -2:])
    box = of.experiment.box.of("test")
    return float(indicators.front_ratio(reference * [factor, 1], reference, box))


def _named(name: str) -> dict[str, Any]:
    return {"id": name, "text": name, "paper": OWN}
