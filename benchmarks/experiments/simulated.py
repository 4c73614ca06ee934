"""Experiments that train nothing of their own: simulations, and what is computed from others' runs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .claims import SimulationClaim
from .common import Describe, Grid
from .from_file import FromFile
from .settings import Name, NoiseRun, RatesRun, TrainingRun


class NoiseExperiment(FromFile):
    """Figure 2: noise in the projection's reference."""

    kind: Literal["noise"]
    dimension: int = Field(gt=1)
    sigmas: Grid
    rhos: tuple[float, ...] = Field(min_length=1)
    draws: int = Field(gt=1)
    claims: tuple[SimulationClaim, ...] = ()

    def plan(self, describe: Describe) -> list[NoiseRun]:
        """A run per seed."""
        own = self.model_dump(include={"dimension", "rhos", "draws"}) | {"sigmas": self.sigmas.values()}
        common = {"experiment": self.name, "scale": self.scale, **own}
        return [NoiseRun(seed=seed, **common) for seed in range(self.seeds)]


class ConvergenceRatesExperiment(FromFile):
    """Theorem 2: the exponents of the step size."""

    kind: Literal["rates"]
    dimension: int = Field(gt=1)
    etas: Grid
    horizon: float = Field(gt=0)
    replicas: int = Field(gt=0)
    claims: tuple[SimulationClaim, ...] = ()

    def plan(self, describe: Describe) -> list[RatesRun]:
        """A run per seed."""
        own = self.model_dump(include={"dimension", "horizon", "replicas"}) | {"etas": self.etas.values()}
        common = {"experiment": self.name, "scale": self.scale, **own}
        return [RatesRun(seed=seed, **common) for seed in range(self.seeds)]


class MixedLossExperiment(FromFile):
    """Figure 6: the least mixed loss over λ, computed from the runs of another experiment."""

    kind: Literal["mixed_loss"]
    source: Name
    points: int = Field(gt=1)
    seeds: int = Field(1, gt=0)
    """Of no effect: the seeds are those of the source."""

    def plan(self, describe: Describe) -> list[TrainingRun]:
        """Nothing."""
        return []
