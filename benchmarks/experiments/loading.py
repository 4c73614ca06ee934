"""Experiments by name or file, at one scale."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from ...utf8 import decode_utf8
from ...words import unknown
from ..messages.errors import UserError
from .claims import TUNED, AtRest, BestSettingSlope, Claim, Measured, Sloped
from .common import Grid
from .complaints import Lines, complaints, located
from .from_file import OF_THE_FILE, beside, with_defaults
from .schema import Experiment
from .simulated import ConvergenceRatesExperiment, MixedLossExperiment, NoiseExperiment
from .toml_file import merge, read_toml

AnyExperiment = Experiment | NoiseExperiment | ConvergenceRatesExperiment | MixedLossExperiment
ADAPTER: TypeAdapter[AnyExperiment] = TypeAdapter(Annotated[AnyExperiment, Field(discriminator="kind")])


def available() -> dict[str, Path]:
    """The experiments of the suite by name."""
    folder = resources.files("scalpel_bench.benchmarks.experiments")
    return {file.stem: file for file in sorted(Path(str(folder)).glob("*.toml"))}


def load(name: str, scale: str, overrides: dict[str, Any] | None = None) -> AnyExperiment:
    """An experiment of the suite, or a TOML file of the user's, at one scale.

    Args:
        name: a name from `available`, or a path that ends in ``.toml``. Loose files that it names are found
            from its own folder.
        scale: one of the scales that the file states; one that states none has ``laptop``.
        overrides: nested keys that replace the file's.

    Raises:
        UserError: no such experiment or scale, an unknown key, or a bad value.
    """
    own = name.lower().endswith(".toml")
    path = Path(name) if own else available().get(name)
    if path is None:
        raise UserError(no_experiment(name))
    raw = read_toml(path)
    called, raw = (str(path), beside(raw, path.parent)) if own else (path.name, raw)
    scales = raw.pop("scales", {"laptop": {}})
    if not isinstance(scales, dict) or not all(isinstance(table, dict) for table in scales.values()):
        raise UserError(f"{called}: scales must be tables, such as [scales.laptop]")
    if scale not in scales:
        raise UserError(f"{called}: {unknown('scale', scale, scales)}")
    lines = Lines(decode_utf8(path.read_bytes()), scale)
    settings = with_defaults(merge(raw, scales[scale], overrides or {}), path.stem)
    if stated := settings.keys() & OF_THE_FILE:
        told = f"{min(stated)}: unknown key; an experiment is called as its file is"
        raise UserError(_at(called, located(told, lines, overrides or {})))
    found = {"name": path.stem, "scale": scale, "file": path if own else None}
    try:
        loaded = ADAPTER.validate_python({**settings, **found})
    except ValidationError as error:
        told = complaints(error, lines, overrides or {}, settings["kind"])
        raise UserError(_at(called, told)) from error
    try:
        _check_claims(loaded, [merge(raw, table) for table in scales.values()])
    except ValueError as error:
        raise UserError(_at(called, located(str(error), lines, overrides or {}))) from error
    return loaded


def check_scale(scale: str, names: Iterable[str]) -> None:
    """Refuse a scale that some of several experiments lack; what is wrong with their names is left to `load`.

    Raises:
        UserError: one lacks it; the message says which scales all of them have.
    """
    files = [Path(name) if name.lower().endswith(".toml") else available().get(name) for name in names]
    found = [read_toml(file).get("scales", ["laptop"]) for file in files if file is not None]
    stated = [list(scales) for scales in found if isinstance(scales, dict | list)]
    if all(scale in scales for scales in stated):
        return
    known = [name for name in stated[0] if all(name in scales for scales in stated)]
    wrong = "not every experiment has it" if any(scale in scales for scales in stated) else "no such scale"
    raise UserError(f"--scale {scale}: {wrong}, choose from {', '.join(known)}")


def no_experiment(name: str) -> str:
    """That the suite has no experiment of that name, and what may have been meant."""
    if Path(f"{name}.toml").is_file():
        return f"unknown experiment {name!r}: did you mean {name}.toml?"
    if ".py" in name:
        return f"{name} is a task: `scalpel new experiment {name}` writes an experiment of it"
    return f"{unknown('experiment', name, available())} (a file of your own ends in .toml)"


def _at(file: str, told: str) -> str:
    """A complaint behind the name of its file, and its line where it begins with one."""
    return f"{file}{', ' if told.startswith('line ') else ': '}{told}"


def _check_claims(experiment: AnyExperiment, at_scales: Iterable[dict[str, Any]]) -> None:
    """Refuse claims of the same id, several primary ones, and those that no runs of the experiment answer.

    Args:
        experiment: as it is loaded.
        at_scales: what its file says at each scale, not only at that of the experiment.

    Raises:
        ValueError: there is one.
    """
    ids = [claim.id for claim in experiment.claims]
    if doubled := [id for id in ids if ids.count(id) > 1]:
        raise ValueError(f"claims: two have the id {doubled[0]!r}")
    primary = [claim.id for claim in experiment.claims if claim.primary]
    if len(primary) > 1:
        raise ValueError(f"claims: one may be primary, not {' and '.join(primary)}")
    if isinstance(experiment, Experiment):
        for claim in experiment.claims:
            try:
                _check_claim(claim, experiment, at_scales)
            except ValueError as error:
                raise ValueError(f"claims: {claim.id}: {error}") from None


def _check_claim(claim: Claim, experiment: Experiment, at_scales: Iterable[dict[str, Any]]) -> None:
    """Refuse a claim about what an experiment lacks, about a method and itself, and bounds beside λ.

    Raises:
        ValueError: it is one.
    """
    if isinstance(claim, Measured):
        known = ("front_ratio", "delta_m", *experiment.metrics)
        for measure in claim.of:
            if measure not in known:
                raise ValueError(unknown("metric", measure, known))
    for label in sorted(claim.named):
        if label.partition(" (")[0] not in experiment.methods:
            raise ValueError(unknown("method", label, experiment.methods))
    for label in claim.labels:
        if claim.at_equal_lam and experiment.bounds(label):
            raise ValueError(f"compares at equal λ, which is a bound to {label}: leave it out")
    for first, second in claim.pairs:
        if first == second:
            raise ValueError(f"compares {first} with itself: name another method")
    if (lam := getattr(claim, "lam", None)) not in (None, TUNED):
        for label in sorted(claim.named):
            if not experiment.bounds(label) and experiment.trades_off(label):
                _check_on_grid(lam, label.partition(" (")[0], experiment, at_scales)
    if isinstance(claim, AtRest):
        _check_at_rest(claim, experiment, at_scales)


def _check_at_rest(claim: AtRest, experiment: Experiment, at_scales: Iterable[dict[str, Any]]) -> None:
    """Refuse axes that no run has, and values that are on an axis at no scale.

    Raises:
        ValueError: there is one.
    """
    stated = {axis: [value] for axis, value in claim.at.items()}
    if isinstance(claim, Sloped):
        if claim.over in claim.at:
            raise ValueError(f"over: {claim.over} is held at one value by at: leave it out there")
        stated[claim.over] = list(claim.values)
    if isinstance(claim, BestSettingSlope):
        stated[claim.setting] = []
    tables = [table for at in at_scales if isinstance(table := at.get("axes"), dict)]
    for axis, values in stated.items():
        if not experiment.axes:
            raise ValueError(f"{axis}: the experiment has no axes")
        if axis not in experiment.axes:
            raise ValueError(unknown("axis", axis, experiment.axes))
        grids = [experiment.axes[axis], *(table.get(axis, ()) for table in tables)]
        known = [each for grid in grids if isinstance(grid, list | tuple) for each in grid]
        for value in values:
            if value not in known:
                raise ValueError(f"{axis}: {value:g} is on no grid of that axis")
    if isinstance(claim, BestSettingSlope):
        section, _, setting = claim.setting.partition(".")
        label = claim.method.partition(" (")[0]
        if section == "method" and setting not in experiment.methods[label]:
            raise ValueError(f"setting: {label} has no {setting}")


def _check_on_grid(
    lam: float, label: str, experiment: Experiment, at_scales: Iterable[dict[str, Any]]
) -> None:
    """Refuse a λ at which a method is run at no scale.

    Raises:
        ValueError: it is one.
    """
    known = sorted({*experiment.lams(label), *(value for at in at_scales for value in _lams(at, label))})
    if lam not in known:
        near = sorted(sorted(known, key=lambda value: abs(value - lam))[:3])
        raise ValueError(f"lam: {lam!r} is on no grid of {label}; near it are {', '.join(map(repr, near))}")


def _lams(stated: dict[str, Any], label: str) -> list[float]:
    """λ of a method as a file states them; none where it is wrong, which is told at that scale."""
    table: Any = stated.get("methods")
    own = table.get(label) if isinstance(table, dict) else None
    grid = own["lam"] if isinstance(own, dict) and "lam" in own else stated.get("lam")
    with suppress(ValidationError):
        grid = Grid.model_validate(grid).values() if isinstance(grid, dict) else grid
    return [each for each in grid if isinstance(each, int | float)] if isinstance(grid, list) else []
