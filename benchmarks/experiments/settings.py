"""What a run is: its settings, and the id that is a hash of exactly these."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Literal, Self, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

LEARNING_RATE = "training.lr"


LARGEST = 1e38
"""Of rates and weights: single precision holds little more."""


class Settings(BaseModel):
    """Frozen settings that refuse unknown keys, infinities and NaN, and true and false for numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, given: Any) -> Any:
        if isinstance(given, dict):
            for key, value in given.items():
                if key not in _numeric(cls) or not _has_boolean(value):
                    continue
                if isinstance(value, dict) and get_origin(cls.model_fields[key].annotation) is not dict:
                    continue  # a grid, which has settings of its own
                raise ValueError(f"{key}: true and false are no numbers")
        return given


def _has_boolean(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_boolean, value.values()))
    return any(map(_has_boolean, value)) if isinstance(value, list | tuple) else isinstance(value, bool)


@cache
def _numeric(of: type[BaseModel]) -> frozenset[str]:
    """The fields that hold numbers, and nothing that might be, or hold, true or false."""
    leaves = {name: set(_leaves(field.annotation)) for name, field in of.model_fields.items()}
    others = {int, float, str, type(None), ...}
    return frozenset(name for name, held in leaves.items() if held & {int, float} and held <= others)


def _leaves(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        yield from _leaves(get_args(annotation)[0])
    elif inner := get_args(annotation):
        for each in inner:
            yield from _leaves(each)
    else:
        yield annotation


Name = Annotated[str, Field(pattern=r"^[^./\\\x00-\x1f][^/\\\x00-\x1f]*$", max_length=100)]
"""A name that may become that of a file or a folder, and leads to no other."""


def check_names(settings: dict[str, Any]) -> dict[str, Any]:
    """Refuse settings of a task or a method whose name is not bare: recorded files load no code.

    Raises:
        ValueError: the name is missing, or is a path.
    """
    name = settings.get("name")
    if not isinstance(name, str) or not name or any(mark in name for mark in ":/\\"):
        raise ValueError(f"{name!r} is no name of a task or a method")
    return settings


Named = Annotated[dict[str, Any], AfterValidator(check_names)]

Option = Annotated[Literal[True] | None, BeforeValidator(lambda value: value or None)]
"""On, or None where it is off: then it is no part of a run's identity."""

SecondMoment = Annotated[
    Literal["direction", "gradient"] | None,
    AfterValidator(lambda value: None if value == "direction" else value),
]
"""None for the direction's: then it is no part of a run's identity."""

LamSchedule = Annotated[
    Literal["constant", "linear", "inverse"] | None,
    AfterValidator(lambda value: None if value == "constant" else value),
]
"""None for a constant λ: then it is no part of a run's identity."""


class Training(Settings):
    """How a run is trained.

    ``lr`` is the rate after warm-up; ``cosine`` falls to zero at the last step. SGD uses Nesterov momentum;
    ``weight_decay`` is decoupled, of ``adamw`` alone. Evaluations are evenly spaced over the steps, the last
    one at the end; the start is evaluated too.

    ``lam_schedule`` multiplies λ in step t = 0, 1, … of T: ``linear`` by 1 − t / T, ``inverse`` by
    1 / (1 + t / epoch), an epoch being its number of steps. It is for methods to which λ is a weight.

    Controls of the step, off unless set: with ``second_moment = "gradient"`` Adam's second moment is that of
    the plain weighted sum of the gradients, and only its first that of the direction; ``step_of`` holds the
    name and settings of a method, and gives every step the length that it would have had with that one.

    Options for speed, off unless set: ``channels_last`` lays convolutions out by pixel; ``bf16`` runs the
    forward passes of training in bfloat16 autocast (evaluation stays in float32); ``compile`` compiles the
    model. ``threads`` of the CPU, which decide the rounding of long sums: one unless set, on any machine.
    """

    optimizer: Literal["adam", "adamw", "sgd"]
    lr: float = Field(gt=0, le=LARGEST)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float | None = Field(None, ge=0, le=LARGEST)
    second_moment: SecondMoment = None
    step_of: Named | None = None
    schedule: Literal["constant", "cosine"] = "constant"
    lam_schedule: LamSchedule = None
    warmup_epochs: float = Field(0, ge=0)
    epochs: int = Field(gt=0, le=1_000_000_000)
    evaluations: int = Field(10, gt=0, le=1_000_000)
    channels_last: Option = None
    bf16: Option = None
    compile: Option = None
    threads: int | None = Field(None, gt=0, le=1024)

    @model_validator(mode="after")
    def _warmup_ends(self) -> Self:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs {self.warmup_epochs} must be less than epochs {self.epochs}")
        return self

    @model_validator(mode="after")
    def _options_of_the_optimizer(self) -> Self:
        if self.weight_decay is not None and self.optimizer != "adamw":
            raise ValueError(
                f"weight_decay is of adamw alone, where it is decoupled, not of {self.optimizer}"
            )
        if self.weight_decay is None and self.optimizer == "adamw":
            raise ValueError("adamw needs weight_decay (0.01 in PyTorch)")
        if self.second_moment and self.optimizer == "sgd":
            raise ValueError("second_moment is of adam and adamw: sgd has none")
        return self

    @property
    def methods(self) -> set[str]:
        """The methods, beside a run's own, that decide its steps."""
        plain = {"sum"} if self.second_moment else set()
        return plain | ({self.step_of["name"]} if self.step_of else set())

    def __hash__(self) -> int:
        return hash(self.model_dump_json())


class DataRecord(Settings):
    """Which data a run saw."""

    name: str
    fingerprint: str


class TrainingRun(Settings):
    """One training run.

    ``label`` is how figures call the method and ``axes`` the settings that the sweep varied; both are
    already in the other settings, and no part of the identity.
    """

    kind: Literal["training"] = "training"
    experiment: Name
    scale: Name
    label: str
    task: Named
    data: DataRecord
    method: Named
    lam: float
    seed: int = Field(ge=0)
    training: Training
    axes: dict[str, float] = {}

    @property
    def methods(self) -> set[str]:
        """The names of the methods that decide its numbers."""
        return {self.method["name"], *self.training.methods}

    @property
    def method_label(self) -> str:
        """The label of the method in the experiment's file, without the axes that vary it."""
        return self.label.removesuffix(variation(self.axes))

    @property
    def id(self) -> str:
        """16 hexadecimal digits."""
        return _identity(self)


class Simulation(Settings):
    """A run that trains no model; ``label`` is not part of the identity."""

    experiment: Name
    scale: Name
    label: str = "simulation"
    seed: int = Field(ge=0)

    @property
    def id(self) -> str:
        """16 hexadecimal digits."""
        return _identity(self)


class NoiseRun(Simulation):
    """The mean of a projection against noisy gradients, by Monte Carlo (`simulations.noise`)."""

    kind: Literal["noise"] = "noise"
    dimension: int = Field(gt=1)
    sigmas: tuple[float, ...]
    rhos: tuple[float, ...]
    draws: int = Field(gt=1)


class RatesRun(Simulation):
    """The error of the EMA and of the main loss over step sizes (`simulations.theorem2`)."""

    kind: Literal["rates"] = "rates"
    dimension: int = Field(gt=1)
    etas: tuple[float, ...]
    horizon: float = Field(gt=0)
    replicas: int = Field(gt=0)


AnyRun = TrainingRun | NoiseRun | RatesRun
Run = Annotated[AnyRun, Field(discriminator="kind")]


def variation(axes: Mapping[str, float]) -> str:
    """What a label says of the axes of a run, the learning rate apart: `` (rho=0.1)``, or nothing."""
    shown = [f"{axis.partition('.')[2]}={value:g}" for axis, value in axes.items() if axis != LEARNING_RATE]
    return f" ({', '.join(shown)})" if shown else ""


def _identity(run: Settings) -> str:
    settings = _canonical(run.model_dump(mode="json", exclude={"label", "axes"}))
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def _canonical(value: Any) -> Any:
    """The same value with 1.0 written as 1, and options that are off (None) left out."""
    if isinstance(value, dict):
        return {k: _canonical(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_canonical(v) for v in value]
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return int(value)
    return value
