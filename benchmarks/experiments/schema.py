"""Experiments: validated TOML, one file per figure, and the runs that it plans."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from ... import methods, tasks
from ...entries import read_folder
from ...words import unknown
from ..messages.errors import UserError, as_user_error, explain
from .box import Box
from .claims import ComparisonClaim
from .common import Describe, Grid
from .from_file import FromFile
from .lam import check_lam
from .method_settings import SHARED, along, filled_in, own_lams, own_training
from .settings import (
    LARGEST,
    LEARNING_RATE,
    Settings,
    Training,
    TrainingRun,
    check_names,
    variation,
)

SCALES = ("smoke", "laptop", "workstation", "paper")
"""What every experiment of the suite has; some have ``released`` too, the script of the paper's authors."""
MANIFEST = "manifest"
"""Validation context of an experiment as it was recorded."""

MOST_RUNS = 100_000
"""Of a grid: more would take minutes to plan, and all memory."""

Lam = Annotated[float, Field(ge=0, le=LARGEST)]


class Labels(Settings):
    """What figures write on their axes."""

    main: str = "main loss"
    aux: str = "auxiliary loss"
    log_main: bool = True
    log_aux: bool = False


class Experiment(FromFile):
    """A comparison of methods over a λ grid, seeds and further axes, at one scale."""

    kind: Literal["training"] = "training"
    task: dict[str, Any]
    methods: dict[str, dict[str, Any]] = Field(min_length=1)
    lam: tuple[Lam, ...] = Field(min_length=1)
    training: Training
    axes: dict[str, tuple[int | float, ...]] = Field(default_factory=dict)
    box: Box | None = None
    """None before it is chosen: then nothing is measured of fronts."""
    labels: Labels = Labels()
    aux: str = "aux"
    """The metric that fronts have the main loss against: ``aux``, or the name of an objective."""
    figure: Literal["fronts", "paths", "trajectories", "exact"] = "fronts"
    claims: tuple[ComparisonClaim, ...] = ()

    @property
    def compares_fronts(self) -> bool:
        """Whether its figures and first table show fronts over λ."""
        return self.figure in ("fronts", "paths")

    @property
    def objectives(self) -> tuple[str, ...]:
        """The names of the task's losses; of a task that is not here, the first two."""
        if self.task["name"] not in tasks.available():
            return ("main", "aux")
        return tasks.create(**self.task).objectives

    @property
    def metrics(self) -> tuple[str, ...]:
        """What runs may be compared by: losses, the sum of the auxiliary ones, metrics of the task."""
        further = tasks.get(name).metrics if (name := self.task["name"]) in tasks.available() else ()
        return tuple(dict.fromkeys(("aux", *self.objectives, *further)))

    @property
    def alone(self) -> dict[str, str]:
        """The method by which each objective is trained alone; nothing where one has none."""
        singles = {of["objective"]: label for label, of in self.methods.items() if of["name"] == "single"}
        places = dict(enumerate(self.objectives))
        return {name: singles[k] for k, name in places.items()} if places.keys() <= singles.keys() else {}

    @field_validator("lam", mode="before")
    @classmethod
    def _expand_grid(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return Grid.model_validate(value).values()

    @field_validator("task", mode="after")
    @classmethod
    def _resolve_task(cls, value: Any, info: ValidationInfo) -> Any:
        """Fill in the task's settings; a manifest has them, its plugins may not be here."""
        if info.context == MANIFEST:
            return check_names(value)
        if not isinstance(value.get("name"), str):
            raise ValueError("the key 'name' is missing, or is no text")
        for key in ("data", "device"):
            if key in value:
                raise ValueError(f"{key}: no setting of an experiment: give --{key} to the command")
        return tasks.create(**value).settings

    @field_validator("methods", mode="after")
    @classmethod
    def _resolve_methods(cls, value: Any, info: ValidationInfo) -> Any:
        """Fill in every method's name and settings, but for a manifest; its own training and λ stay there."""
        if info.context == MANIFEST:
            return {label: check_names(settings) for label, settings in value.items()}
        resolved = {}
        for label, given in value.items():
            settings = {"name": label, **given}
            own, lam = settings.pop("training", {}), settings.pop("lam", None)
            if not isinstance(settings["name"], str):
                raise ValueError(f"{label}: name: {settings['name']!r} is no text")
            try:
                resolved[label] = filled_in(settings) | ({"training": own_training(own)} if own else {})
                resolved[label] |= {} if lam is None else {"lam": own_lams(lam, resolved[label]["name"])}
            except ValueError as error:
                raise ValueError(f"{label}: {error}") from None
            _check_label(label, resolved[label]["name"])
        return resolved

    @field_validator("training", mode="after")
    @classmethod
    def _resolve_reference(cls, value: Training, info: ValidationInfo) -> Training:
        """Fill in the settings of the method whose step's length is taken, but for a manifest."""
        if info.context == MANIFEST or value.step_of is None:
            return value
        return value.model_copy(update={"step_of": filled_in(value.step_of)})

    @model_validator(mode="after")
    def _own_trainings(self, info: ValidationInfo) -> Self:
        for label, settings in self.methods.items():
            try:
                training = self.training_of(label)
            except ValidationError as error:
                raise ValueError(f"methods: {label}: training: {explain(error)}") from None
            if info.context != MANIFEST:
                check_lam(label, settings, training)
            for key in settings.get("training", {}):
                if f"training.{key}" in self.axes:
                    raise ValueError(f"methods: {label}: training: {key} is an axis of the experiment")
        return self

    @model_validator(mode="after")
    def _defined_losses(self, info: ValidationInfo) -> Self:
        """Refuse a method for positive losses where the task has others, but for what has been recorded."""
        task = self.task["name"]
        if info.context == MANIFEST or task not in tasks.available():
            return self
        for label in self.methods:
            used = self.names_of(label) & set(methods.available())
            needs = any(methods.get(name).positive_losses for name in used)
            if needs and (others := ", ".join(sorted(tasks.get(task).nonpositive))):
                raise ValueError(
                    f"methods: {label} is defined for positive losses only, and the {others} loss of {task} "
                    "may be 0 or less: leave it out"
                )
        return self

    @model_validator(mode="after")
    def _known_aux(self) -> Self:
        if self.aux not in ("aux", *self.metrics):
            raise ValueError(f"aux: {unknown('metric', self.aux, self.metrics)}")
        return self

    @model_validator(mode="after")
    def _known_axes(self) -> Self:
        if self.figure == "exact" and "task.batch_size" not in self.axes:
            raise ValueError("figure: exact is drawn over batch sizes: make task.batch_size an axis")
        for axis, values in self.axes.items():
            if axis.partition(".")[0] not in ("training", "method", "task") or not axis.partition(".")[2]:
                raise ValueError(f"axes: {axis!r} must start with training., method. or task.")
            if not values:
                raise ValueError(f"axes.{axis}: the grid is empty")
            section, _, setting = axis.partition(".")
            known = {
                "training": Training.model_fields.keys(),
                "method": set().union(*self.methods.values()) - {"name", *SHARED},
                "task": self.task.keys() - {"name", "origin"},
            }[section]
            if setting not in known:
                raise ValueError(f"axes: {axis}: {unknown('setting', setting, sorted(known))}")
        for label, settings in self.methods.items():
            for key, value in settings.items():
                if key in SHARED or not isinstance(value, dict):
                    continue
                ((axis, values),) = value.items()
                if len(values) != len(self.axes.get(axis, ())):
                    expected = f"{axis} must be an axis of {len(values)} values"
                    raise ValueError(f"methods: {label}: {key}: {expected}")
        return self

    @model_validator(mode="after")
    def _as_many_objectives(self, info: ValidationInfo) -> Self:
        """Refuse a method that is not defined for as many objectives as the task has, but for a manifest."""
        if info.context == MANIFEST:
            return self
        count = len(self.objectives)
        first = {axis: values[0] for axis, values in self.axes.items() if values}
        for label in self.methods:
            settings = self.settings_of(label, first)
            try:
                method = methods.create(**settings | {"blocks": None} if "blocks" in settings else settings)
                method.init(torch.empty(count, 1))
            except ValueError as error:
                raise ValueError(f"methods: {label}: {error}") from None
        return self

    def settings_of(self, label: str, point: Mapping[str, float]) -> dict[str, Any]:
        """The settings of a method at a point of the axes, without its own training and λ."""
        own = {key: value for key, value in self.methods[label].items() if key not in SHARED}
        return {key: along(value, self.axes, point) for key, value in own.items()}

    def training_of(self, label: str) -> Training:
        """How a method is trained: as the experiment, but for what is its own."""
        own = self.methods[label].get("training", {})
        return Training.model_validate({**self.training.model_dump(), **own}) if own else self.training

    def names_of(self, label: str) -> set[str]:
        """The names of the methods that decide the numbers of a method's runs."""
        return {self.methods[label]["name"], *self.training_of(label).methods}

    def lams(self, label: str) -> tuple[float, ...]:
        """λ of a method's runs: its own, else the grid, or 1 alone where λ is no trade-off to it.

        Bounds of a loss that are not given lie in the box for train losses, evenly and with its ends, as many
        as the grid has values; a single one is the middle.

        Raises:
            UserError: they are not given, and there is no box.
        """
        own = self._stated(label)
        if "lam" in own:
            return tuple(own["lam"])
        if not self.bounds(label):
            return self.lam if self.trades_off(label) else (1.0,)
        bounded = own.get("bounded")
        if self.box is None or bounded not in ("aux", "main"):
            raise UserError(
                f"{self.name}: λ of {label} is a bound on a loss: write lam = [...] in its table of [methods]"
                + (", or give the experiment a box" if bounded else "")
            )
        low, high = getattr(self.box.of("train"), bounded)
        count = len(self.lam)
        return tuple(np.linspace(low, high, count).tolist()) if count > 1 else ((low + high) / 2,)

    def runs_at(self, label: str, lam: float) -> bool:
        """Whether a method is run at a λ.

        Raises:
            UserError: as `lams`.
        """
        return lam in self.lams(label) or (lam == 0 and label == self._without_aux)

    @property
    def _without_aux(self) -> str:
        """The label of `sum` that is run at λ = 0 whatever its grid; empty where the rate is no axis."""
        sums = [
            label
            for label, settings in self.methods.items()
            if settings["name"] == "sum" and "training" not in settings
        ]
        return sums[0] if sums and len(self.axes.get(LEARNING_RATE, ())) > 1 else ""

    def trades_off(self, label: str) -> bool:
        """Whether λ moves a method along the front; also of a method that is not here, of recorded runs."""
        return self._lam_is(label) in ("trade-off", "bound")

    def bounds(self, label: str) -> bool:
        """Whether λ is the bound of a loss to a method."""
        return self._lam_is(label) == "bound"

    def on_grid(self, label: str) -> bool:
        """Whether a method is run at the λ of the experiment, so that it is compared at equal λ."""
        return self._lam_is(label) == "trade-off" and "lam" not in self._stated(label)

    def own_grid(self, label: str) -> bool:
        """Whether λ is a trade-off to a method, and it states its own."""
        return self._lam_is(label) == "trade-off" and not self.on_grid(label)

    def _stated(self, label: str) -> dict[str, Any]:
        """What is said of a method, whose label may also tell the axes that vary it."""
        return self.methods.get(label) or self.methods[label.partition(" (")[0]]

    def _lam_is(self, label: str) -> str:
        name = self._stated(label)["name"]
        return methods.get(name).lam_is if name in methods.available() else "trade-off"

    def plan(self, describe: Describe) -> list[TrainingRun]:
        """All runs, seeds outermost, so that whole fronts are finished one after the other.

        ``describe`` tells the data of a task's settings. Every method is run at its `lams`.

        Where the learning rate is an axis, `sum` at λ = 0 is run at every rate: the protocol ``main-tuned``
        chooses by it.

        Raises:
            UserError: the grid has more than ``MOST_RUNS`` runs, or a bad value.
        """
        cells = [(label, lam) for label in self.methods for lam in self.lams(label)]
        count = self.seeds * len(cells) * math.prod(map(len, self.axes.values()))
        if count > MOST_RUNS:
            raise UserError(f"{self.name}: its grid has {count:,} runs, more than {MOST_RUNS:,}")
        if (label := self._without_aux) and 0.0 not in self.lams(label):
            cells.append((label, 0.0))
        points = [
            dict(zip(self.axes, values, strict=True)) for values in itertools.product(*self.axes.values())
        ]
        runs = [
            self._run(label, lam, seed, point, describe)
            for seed in range(self.seeds)
            for point in points
            for label, lam in cells
        ]
        return list({run.id: run for run in runs}.values())

    def _run(
        self, label: str, lam: float, seed: int, point: dict[str, int | float], describe: Describe
    ) -> TrainingRun:
        sections: dict[str, dict[str, Any]] = {
            "training": self.training_of(label).model_dump(),
            "task": dict(self.task),
            "method": self.settings_of(label, point),
        }
        used = {}
        for axis, value in point.items():
            section, _, setting = axis.partition(".")
            if section == "method" and setting not in sections["method"]:
                continue
            sections[section][setting] = value
            used[axis] = value
        with as_user_error("axes"):
            if sections["method"]["name"] in methods.available():
                methods.create(**sections["method"], lam=lam)
            if sections["task"] != self.task and self.task["name"] in tasks.available():
                tasks.create(**sections["task"])
            return TrainingRun(
                experiment=self.name,
                scale=self.scale,
                label=label + variation(used),
                data=describe(sections["task"]),
                lam=lam,
                seed=seed,
                task=sections["task"],
                method=sections["method"],
                axes=used,
                training=Training.model_validate(sections["training"]),
            )


def _check_label(label: str, name: str) -> None:
    """Refuse to call a method as another of the suite is called, or as variants along an axis are.

    Tables and claims find them by their labels.

    Raises:
        ValueError: it is called so.
    """
    if label != name and label in read_folder("methods").entries:
        raise ValueError(
            f"{label}: the label of a method of the suite, and this is {name}: choose another label"
        )
    if " (" in label:
        raise ValueError(f"{label}: what follows ' (' tells the values of axes: choose another label")
