"""What is derived from the records of a sweep: tables, each made once, when it is first asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import product
from typing import Any, ClassVar

import pandas as pd

from ..experiments.box import Bounds
from ..experiments.loading import AnyExperiment
from ..experiments.schema import Experiment
from ..experiments.simulated import MixedLossExperiment
from ..messages import UserError
from ..records import Record, RecordedSweep, once
from ..simulations import SIMULATIONS
from . import (
    comparisons,
    diagnostics,
    metrics,
    mixed_loss,
    multitask,
    protocols,
    relative,
    selection,
    summary,
    verdicts,
)
from .fronts import attainment, front
from .protocols import FIXED, REFERENCE, Pair, Protocol
from .ratio_table import ratio_table
from .summary import splits

PERCENTILES = (25, 50, 75)
EXACT = ("excess", "regret")
"""What a task reports on train that knows its exact front."""
METRIC_COLUMNS = ["protocol", "method", "split", "statistic", "seed", "value", "low", "high", "note"]
FRONT_COLUMNS = ["protocol", "method", "split", "seed", "lam", "lr", "main", "aux"]
ATTAINMENT_COLUMNS = ["protocol", "method", "split", "percentile", "main", "aux"]


class Analysis(ABC):
    """Tables, verdicts and an overview of one sweep.

    A subclass says which kinds of experiments it is of, in ``kinds``, and is found by being defined.
    """

    kinds: ClassVar[tuple[str, ...]] = ()
    by_kind: ClassVar[dict[str, type[Analysis]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        Analysis.by_kind |= dict.fromkeys(cls.kinds, cls)

    def __init__(self, sweep: RecordedSweep) -> None:
        self.sweep = sweep

    @property
    def experiment(self) -> AnyExperiment:
        """What was swept."""
        return self.sweep.experiment

    @property
    def records(self) -> list[Record]:
        """Those that the tables are made of; one of several methods is there for each of them."""
        return self.sweep.records

    @property
    def runs(self) -> list[Record]:
        """The same, each once: what is counted and sent."""
        return once(self.records)

    @property
    def title(self) -> str:
        """What the overview shows, in words."""
        return f"{self.experiment.caption}{self.remark}"

    @property
    def remark(self) -> str:
        """What the title adds to the experiment's own."""
        return ""

    @property
    @abstractmethod
    def overview(self) -> pd.DataFrame:
        """What a person is shown first."""

    @property
    @abstractmethod
    def tables(self) -> Mapping[str, pd.DataFrame]:
        """What is written as files, by their names; ``summary`` is among them."""

    @property
    @abstractmethod
    def claims(self) -> pd.DataFrame:
        """The verdicts, with the columns `verdicts.COLUMNS`."""


class TrainingAnalysis(Analysis):
    """Fronts, their measures and verdicts, under each learning-rate protocol that the runs allow."""

    kinds = ("training",)

    @property
    def compared(self) -> Experiment:
        """The experiment, which compares methods."""
        assert isinstance(self.experiment, Experiment)
        return self.experiment

    @cached_property
    def summary(self) -> pd.DataFrame:
        """A row per run and method that it is of."""
        return summary.summarise(self.records, self.compared.aux)

    @cached_property
    def protocols(self) -> list[Protocol]:
        """The learning-rate protocols, each with its runs."""
        return list(protocols.protocols(self.summary, self.compared))

    @cached_property
    def compared_runs(self) -> list[tuple[str, str, str, pd.DataFrame]]:
        """The runs that each method's front is made of, under each protocol and on each split."""
        return [
            (protocol.name, str(method), split, protocol.own(str(method), split))
            for protocol in self.protocols
            for method in dict.fromkeys(protocol.runs["method"])
            for split in splits(protocol.runs)
        ]

    @cached_property
    def fronts(self) -> pd.DataFrame:
        """The non-dominated end points of each method and seed."""
        rows = [row for compared in self.compared_runs for row in _front_rows(*compared)]
        return pd.DataFrame(rows, columns=FRONT_COLUMNS)

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """What is measured of the fronts, per seed and over seeds."""
        measured = [
            [protocol.name, row.method, split, *row[1:]]
            for protocol in self.protocols
            for split in splits(protocol.runs)
            for row in (
                *metrics.rows(protocol, split, self.compared.box),
                *multitask.rows(protocol, self.compared, split),
            )
        ]
        frame = pd.DataFrame(measured, columns=METRIC_COLUMNS)
        return frame.astype(dict.fromkeys(("value", "low", "high"), float))

    @cached_property
    def attainment(self) -> pd.DataFrame:
        """The corners of the surfaces that a quarter, half and three quarters of the seeds attain."""
        rows = [row for compared in self.compared_runs for row in _surface_rows(*compared)]
        return pd.DataFrame(rows, columns=ATTAINMENT_COLUMNS)

    @cached_property
    def relative_curves(self) -> pd.DataFrame:
        """The main loss of each method's front relative to `sum`'s, quartiles over seeds.

        Of methods to which λ is no trade-off there is none: a single point has no front to follow.
        """
        rows = [
            [protocol.name, pair.method, split, *row]
            for protocol, pair, split, box in self._against_sum()
            if pair.method != REFERENCE and self.compared.trades_off(pair.method)
            for row in relative.curve(pair, split, box)
        ]
        return pd.DataFrame(rows, columns=relative.CURVE_COLUMNS)

    @cached_property
    def relative_points(self) -> pd.DataFrame:
        """End points inside the box, with their main loss relative to the front of `sum` at the same seed."""
        rows = [
            [protocol.name, pair.method, split, *row]
            for protocol, pair, split, box in self._against_sum()
            for row in relative.points(pair, split, box)
        ]
        return pd.DataFrame(rows, columns=relative.POINT_COLUMNS)

    def _against_sum(self) -> Iterator[tuple[Protocol, Pair, str, Bounds]]:
        """Each method beside `sum`, where that ran and there is a box, and the box of each split."""
        for protocol in self.protocols:
            names = list(dict.fromkeys(protocol.runs["method"]))
            if self.compared.box and REFERENCE in names:
                pairs = [pair for name in names if (pair := protocol.pair(name)).seeds]
                for pair, split in product(pairs, splits(protocol.runs)):
                    yield protocol, pair, split, self.compared.box.of(split)

    @cached_property
    def outside(self) -> list[tuple[str, str]]:
        """The protocols and splits at which no method has a front in the box: there, all ratios are 1."""
        inside = set(self.relative_points[["protocol", "split"]].itertuples(index=False, name=None))
        compared = dict.fromkeys((protocol.name, split) for protocol, _, split, _ in self._against_sum())
        return [place for place in compared if place not in inside]

    @property
    def no_front(self) -> str:
        """Says so, or nothing."""
        if not self.outside:
            return ""
        several = len({protocol.name for protocol in self.protocols}) > 1
        places = [f"{protocol} {split}" if several else split for protocol, split in self.outside]
        return f"{comparisons.NO_FRONT} ({', '.join(places)})"

    @cached_property
    def selected(self) -> pd.DataFrame:
        """One λ per method and seed, chosen on validation values of the other seeds."""
        rows = [
            {"protocol": protocol.name, **row}
            for protocol in self.protocols
            for row in selection.select(protocol.runs, protocol.known, self.compared.box)
        ]
        return pd.DataFrame(rows, columns=["protocol", *selection.COLUMNS])

    @cached_property
    def diagnostics(self) -> pd.DataFrame:
        """Lengths and cosines of late steps, a row per run."""
        return diagnostics.frame(self.summary, self.sweep.by_id)

    @cached_property
    def claims(self) -> pd.DataFrame:
        """A row for each claim and protocol."""
        results = self.sweep.folder.results
        return verdicts.judge(self.compared, self.protocols, self.sweep.by_id, results)

    @property
    def tables(self) -> Mapping[str, pd.DataFrame]:
        """All of these."""
        return {
            "summary": self.summary,
            "fronts": self.fronts,
            "metrics": self.metrics,
            "attainment": self.attainment,
            "selected": self.selected,
            "diagnostics": self.diagnostics,
            "claims": self.claims,
        }

    @property
    def remark(self) -> str:
        """What the overview shows."""
        if self.compared.alone:
            return ": test losses relative to models trained on one alone, mean over seeds [95 %]"
        if not self.compared.compares_fronts:
            diverged = int((self.summary["status"] == "diverged").sum())
            without = f", without {diverged} that diverged" if diverged else ""
            return f": end values, mean over seeds{without}{self.no_exact_front}"
        if not self.protocols:
            rate = self.compared.training.lr
            return (
                f": nothing is compared: no run is at the experiment's learning rate ({rate:g}), "
                "and there are not several, with validation values to choose by"
            )
        relative = ": main loss relative to sum at equal auxiliary loss, geometric mean over seeds [95 %]"
        return f"{relative}; {self.no_front}, so ratios are 1" if self.outside else relative

    @property
    def no_exact_front(self) -> str:
        """Why there is no figure of the exact front where one is asked for, or nothing."""
        lacking = [name for name in EXACT if f"train_{name}" not in self.summary]
        if self.compared.figure != "exact" or not lacking:
            return ""
        return f"; no figure: the task reports no {' and no '.join(lacking)} on train"

    @property
    def overview(self) -> pd.DataFrame:
        """Front ratios; of trajectories their end values; Δm where there are single-task baselines."""
        if self.compared.alone:
            return multitask.table(self.metrics)
        if not self.compared.compares_fronts:
            several = [name for name in ("lam", "lr") if self.summary[name].nunique() > 1]
            return summary.end_values(self.summary, ["method", *several])
        return ratio_table(self.metrics)


class SimulationAnalysis(Analysis):
    """What a figure that needs no training shows."""

    kinds = tuple(SIMULATIONS)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """A row per point of the figure and seed; none where all runs failed."""
        rows = [{"seed": record.run.seed, **row} for record in self.records for row in record.trajectory]
        return pd.DataFrame(rows) if rows else pd.DataFrame(columns=["seed"])

    @property
    def overview(self) -> pd.DataFrame:
        """The simulation's own."""
        if self.summary.empty:
            return self.summary
        return SIMULATIONS[self.experiment.kind].overview(self.summary)

    @cached_property
    def claims(self) -> pd.DataFrame:
        """A row for each claim."""
        simulation = SIMULATIONS[self.experiment.kind]
        quantities = {int(str(seed)): simulation.quantities(of) for seed, of in self.summary.groupby("seed")}
        return verdicts.judge_simulation(self.experiment, quantities)

    @property
    def tables(self) -> Mapping[str, pd.DataFrame]:
        """The points, and the verdicts."""
        return {"summary": self.summary, "claims": self.claims}


class MixedLossAnalysis(Analysis):
    """The least mixed loss over λ, from the runs of another sweep at the experiment's own learning rate."""

    kinds = ("mixed_loss",)

    @cached_property
    def _runs(self) -> pd.DataFrame:
        assert self.sweep.source is not None
        source = TrainingAnalysis(self.sweep.source)
        for protocol in source.protocols:
            if protocol.name == FIXED:
                return protocol.runs
        rate = source.compared.training.lr
        raise UserError(f"{self.sweep.source.folder.path} has no runs at lr {rate:g}: sweep it at that rate")

    @property
    def records(self) -> list[Record]:
        """Those at that rate."""
        used = set(zip(self._runs["id"], self._runs["method"], strict=True))
        return [record for record in self.sweep.records if (record.id, record.run.label) in used]

    @cached_property
    def summary(self) -> pd.DataFrame:
        """A row per split, method, seed and weight t."""
        assert isinstance(self.experiment, MixedLossExperiment)
        return mixed_loss.tabulate(self._runs, self.experiment.points)

    @property
    def remark(self) -> str:
        """Where the runs are."""
        assert self.sweep.source is not None
        return f": mean over seeds, from the runs of {self.sweep.source.folder.path}"

    @property
    def overview(self) -> pd.DataFrame:
        """Means at a few weights."""
        return mixed_loss.overview(self.summary)

    @property
    def claims(self) -> pd.DataFrame:
        """None: the experiment of the runs states them."""
        return pd.DataFrame(columns=verdicts.COLUMNS)

    @property
    def tables(self) -> Mapping[str, pd.DataFrame]:
        """The least mixed losses."""
        return {"summary": self.summary}


def analyse(sweep: RecordedSweep) -> Analysis:
    """What can be derived from a sweep; nothing is computed before it is asked for."""
    return Analysis.by_kind[sweep.experiment.kind](sweep)


def _front_rows(protocol: str, method: str, split: str, compared: pd.DataFrame) -> Iterator[list[Any]]:
    for seed, runs in compared.groupby("seed"):
        points = runs[[f"{split}_main", f"{split}_aux"]].to_numpy(float)
        for row in runs[front(points)].sort_values(f"{split}_aux").itertuples():
            losses = [getattr(row, f"{split}_main"), getattr(row, f"{split}_aux")]
            yield [protocol, method, split, seed, row.lam, row.lr, *losses]


def _surface_rows(protocol: str, method: str, split: str, compared: pd.DataFrame) -> Iterator[list[Any]]:
    losses = [f"{split}_main", f"{split}_aux"]
    by_seed = [own[losses].to_numpy(float) for _, own in compared.groupby("seed")]
    for main, aux, percentile in attainment(by_seed, PERCENTILES):
        yield [protocol, method, split, int(percentile), main, aux]
