"""Experiments by name or file, at one scale."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from ...words import unknown
from ..messages.errors import UserError, as_user_error, explain
from .claims import Measured
from .schema import Experiment
from .settings import Training
from .simulated import ConvergenceRatesExperiment, MixedLossExperiment, NoiseExperiment
from .toml_file import merge, read_toml

AnyExperiment = Experiment | NoiseExperiment | ConvergenceRatesExperiment | MixedLossExperiment
ADAPTER: TypeAdapter[AnyExperiment] = TypeAdapter(Annotated[AnyExperiment, Field(discriminator="kind")])


_KEYS = (*Experiment.model_fields, *Training.model_fields)


def available() -> dict[str, Path]:
    """The experiments of the suite by name."""
    folder = resources.files("scalpel_bench.benchmarks.experiments")
    return {file.stem: file for file in sorted(Path(str(folder)).glob("*.toml"))}


def load(name: str, scale: str, overrides: dict[str, Any] | None = None) -> AnyExperiment:
    """An experiment of the suite, or a TOML file of the user's, at one scale.

    Args:
        name: a name from `available`, or a path that ends in ``.toml``.
        scale: one of the scales that the file states.
        overrides: nested keys that replace the file's.

    Raises:
        UserError: no such experiment or scale, an unknown key, or a bad value.
    """
    path = Path(name) if name.lower().endswith(".toml") else available().get(name)
    if path is None:
        raise UserError(f"{unknown('experiment', name, available())} A path to a file ends in .toml")
    raw = read_toml(path)
    scales = raw.pop("scales", {})
    if not isinstance(scales, dict) or not all(isinstance(table, dict) for table in scales.values()):
        raise UserError(f"{path}: scales must be tables, such as [scales.laptop]")
    if scale not in scales:
        raise UserError(f"{path.name}: {unknown('scale', scale, scales)}")
    settings = {"kind": "training", **merge(raw, scales[scale], overrides or {})}
    try:
        loaded = ADAPTER.validate_python({**settings, "name": path.stem, "scale": scale})
    except ValidationError as error:
        raise UserError(f"{path.name}: {explain(error, 1, _KEYS)}") from error
    with as_user_error(path.name):
        _check_claims(loaded)
    return loaded


def _check_claims(experiment: AnyExperiment) -> None:
    """Refuse claims of the same id, several primary ones, what the experiment lacks, and bounds beside λ."""
    ids = [claim.id for claim in experiment.claims]
    if doubled := [id for id in ids if ids.count(id) > 1]:
        raise ValueError(f"claims: two have the id {doubled[0]!r}")
    primary = [claim.id for claim in experiment.claims if claim.primary]
    if len(primary) > 1:
        raise ValueError(f"claims: one may be primary, not {' and '.join(primary)}")
    for claim in experiment.claims:
        if isinstance(claim, Measured) and isinstance(experiment, Experiment):
            known = ("front_ratio", "delta_m", *experiment.metrics)
            for measure in claim.of:
                if measure not in known:
                    raise ValueError(f"claims: {claim.id}: {unknown('metric', measure, known)}")
        for label in claim.labels:
            if isinstance(experiment, Experiment) and label.partition(" (")[0] not in experiment.methods:
                raise ValueError(f"claims: {claim.id}: {unknown('method', label, experiment.methods)}")
            if claim.at_equal_lam and isinstance(experiment, Experiment) and experiment.bounds(label):
                raise ValueError(
                    f"claims: {claim.id}: compares at equal λ, which is a bound to {label}: leave it out"
                )
