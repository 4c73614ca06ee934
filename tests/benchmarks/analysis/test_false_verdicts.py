"""The procedure on end points of known effect and noise: a small version of `scalpel simulate verdicts`."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scalpel_bench.benchmarks.analysis import false_verdicts
from scalpel_bench.benchmarks.analysis.false_verdicts import ALIKE, ENDS, RATES, Ground, draw, drawn_protocols
from scalpel_bench.benchmarks.analysis.false_verdicts import ground as ground_of
from scalpel_bench.benchmarks.analysis.protocols import non_dominated, protocols
from scalpel_bench.benchmarks.experiments.schema import Experiment
from scalpel_bench.benchmarks.messages import UserError
from scalpel_bench.benchmarks.records import Folder, Manifest, RecordedSweep
from tests.benchmarks.runs import conditioning, plan, record

MAIN, AUX = np.array([1.0, 1.15, 1.4]), np.array([5.0, 3.0, 1.5])
LAMS = (0.1, 0.3, 1.0)
BOUNDS = {"aux": (1.0, 6.0), "main": (0.5, 2.0)}
BOX = {**BOUNDS, "tighter": BOUNDS, "wider": BOUNDS, "reason": "known fronts", "date": "2026-11-25"}
NOISE = 0.02
LEVEL = 0.08
"""Above 2.5 % by what 100 repeats may scatter."""


def experiment(**settings: object) -> Experiment:
    return conditioning(lam=list(LAMS), training={"lr": 0.1}, box=BOX, claims=[], **settings)


def known() -> Ground:
    """Every method, λ and loss with noise of its own, the same on all splits, as a run's is."""
    residuals = np.zeros((2, len(LAMS), 2, 2, len(LAMS), len(ENDS)))
    for method, lam, loss in np.ndindex(residuals.shape[:3]):
        residuals[method, lam, loss, method, lam, loss::2] = NOISE
    truth = np.log(np.stack([MAIN, AUX] * 3, axis=1))
    return Ground(experiment(), LAMS, truth, residuals.reshape(-1, 2, len(LAMS), len(ENDS)))


def shares(factor: float, repeats: int, noise: float = 1.0) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return false_verdicts.simulate(known(), factor, noise, 6, repeats, rng).set_index("protocol")


def test_equal_methods_are_told_apart_as_rarely_as_the_level_says() -> None:
    told = shares(1.0, repeats=100)
    assert list(told.index) == ["fixed", "main-tuned", "per-method"]
    assert (told[["supported", "contradicted"]] <= LEVEL).all(axis=None)
    assert told["coverage"].between(0.88, 1).all()


def test_what_is_better_is_supported_and_what_is_worse_contradicted() -> None:
    better, worse = shares(0.9, repeats=10), shares(1 / 0.9, repeats=10)
    assert (better["supported"] > 0.8).all()
    assert (better["contradicted"] == 0).all()
    assert (worse["contradicted"] > 0.8).all()


def test_three_times_the_noise_wins_nothing_unless_choices_peek(monkeypatch) -> None:
    told = shares(1.0, noise=3.0, repeats=60)
    assert (told["supported"] <= LEVEL).all()
    assert told.loc["per-method", "supported"] + told.loc["per-method", "depends"] < 0.3

    def peeking(losses: np.ndarray, ran: np.ndarray) -> np.ndarray:
        own = [non_dominated(losses[..., [seed]], ran[:, [seed]]) for seed in range(ran.shape[1])]
        return np.concatenate(own, axis=1)

    monkeypatch.setattr(false_verdicts, "non_dominated", peeking)
    peeked = shares(1.0, noise=3.0, repeats=20).loc["per-method"]
    assert peeked["supported"] + peeked["depends"] > 0.5


def test_drawn_end_points_are_answered_as_recorded_ones_are() -> None:
    """Front ratios, and those of mean end points, by way of the tables."""
    of, seeds = known(), 6
    ends = draw(of, 0.98, 2.0, seeds, np.random.default_rng(3))
    rates = [of.experiment.training.lr * over for over in RATES]
    cells = {"seed": range(seeds), "lr": rates, "method": ["sum", "rival"], "lam": LAMS}
    runs = pd.MultiIndex.from_product(cells.values(), names=list(cells)).to_frame(index=False)
    runs = runs.assign(status="completed", **dict(zip(ENDS, ends.reshape(-1, len(ENDS)).T, strict=True)))
    alone = runs[(runs["method"] == "sum") & (runs["lam"] == LAMS[0])].assign(lam=0.0)
    methods = {**of.experiment.methods, "rival": {"name": "bloop"}}
    named = of.experiment.model_copy(update={"methods": methods})
    tables = list(protocols(pd.concat([runs, alone], ignore_index=True), named))
    for table, drawn in zip(tables, drawn_protocols(of, ends), strict=True):
        assert table.name == drawn.name
        expected, got = table.pair("rival"), drawn.pair("rival")
        for a, b in zip(expected.points("test"), got.points("test"), strict=True):
            np.testing.assert_allclose(np.sort(a, axis=1), np.sort(b, axis=1))
        for method in ("sum", "rival"):
            both = expected.across_seeds(method, "test"), got.across_seeds(method, "test")
            for a, b in zip(*both, strict=True):
                np.testing.assert_allclose(np.sort(a, axis=0), np.sort(b, axis=0))


def test_noise_is_that_of_the_records() -> None:
    rng = np.random.default_rng(1)
    settings = experiment(seeds=4, methods={name: {} for name in ALIKE})
    records = [record(run, *np.exp(0.1 * rng.standard_normal(2))) for run in plan(settings)]
    of = ground_of(RecordedSweep(Folder(Path()), Manifest(settings, None), records, [], []))
    values = {(r.run.label, r.run.lam, r.run.seed): np.log(r.trajectory[0]["test"]["main"]) for r in records}
    logs = np.array([[[values[m, lam, s] for s in range(4)] for lam in LAMS] for m in ALIKE])
    assert of.truth[:, 4] == pytest.approx(logs[0].mean(axis=1))
    own = (of.residuals[..., 4] ** 2).sum(axis=0)
    assert own == pytest.approx(np.tile(logs.var(axis=2, ddof=1).mean(axis=0), (2, 1)))
    centred = logs - logs.mean(axis=2, keepdims=True)
    pairs = [(centred[a] * centred[b]).sum(axis=1) / 3 for a in range(4) for b in range(4) if a != b]
    both = (of.residuals[:, 0, :, 4] * of.residuals[:, 1, :, 4]).sum(axis=0)
    assert both == pytest.approx(np.mean(pairs, axis=0))
    with pytest.raises(UserError, match="needs completed runs of sum, pcgrad"):
        ground_of(RecordedSweep(Folder(Path()), Manifest(settings, None), records[:-1], [], []))
