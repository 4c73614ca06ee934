"""Experiments that train nothing of their own: simulations, and what is computed from others' runs."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .claims import SimulationClaim
from .common import Describe, Grid
from .from_file import FromFile
from .settings import Name, NoiseRun, RatesRun, TrainingRun

MOST = 1_000_000_000
"""Of steps, and of numbers that are held at once: more would take days, or all memory."""


class NoiseExperiment(FromFile):
    """Figure 2: noise in the projection's reference."""

    kind: Literal["noise"]
    dimension: int = Field(gt=1)
    sigmas: Grid
    rhos: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(min_length=1)
    draws: int = Field(gt=1)
    claims: tuple[SimulationClaim, ...] = ()

    @model_validator(mode="after")
    def _fits_in_memory(self) -> Self:
        if self.draws * self.dimension > MOST:
            raise ValueError(f"draws times dimension must be at most {MOST:,}")
        return self

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

    @model_validator(mode="after")
    def _can_be_simulated(self) -> Self:
        if self.replicas * self.dimension > MOST:
            raise ValueError(f"replicas times dimension must be at most {MOST:,}")
        if max(self.etas.values()) > 1:
            raise ValueError(f"etas: a step size must be at most 1, got {max(self.etas.values()):g}")
        if self.horizon > MOST * min(self.etas.values()):
            raise ValueError(f"horizon over the least step size must be at most {MOST:,} steps")
        return self

    def plan(self, describe: Describe) -> list[RatesRun]:
        """A run per seed."""
        own = self.model_dump(include={"dimension", "horizon", "replicas"}) | {"etas": self.etas.values()}
        common = {"experiment": self.name, "scale": self.scale, **own}
        return [RatesRun(seed=seed, **common) for seed in range(self.seeds)]


class MixedLossExperiment(FromFile):
    """Figure 6: the least mixed loss over λ, computed from the runs of another experiment."""

    kind: Literal["mixed_loss"]
    source: Name
    points: int = Field(gt=1, le=100_000)
    seeds: int = Field(1, gt=0)
    """Of no effect: the seeds are those of the source."""

    def plan(self, describe: Describe) -> list[TrainingRun]:
        """Nothing."""
        return []
