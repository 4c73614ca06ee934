"""Claims as predicates over statistics: the ``[[claims]]`` of an experiment.

Each is about one or several ratios between methods at equal seed, and is true where they lie in an interval
that the claim's margins set. `analysis.evidence` finds what speaks for or
against it, `analysis.verdicts` answers it. A kind is a class with a literal ``kind``.
"""

from __future__ import annotations

import itertools
import math
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from .settings import Settings

Split = Literal["train", "validation", "test"]
Measure = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
Limits = tuple[float, float]
EQUALITY = 0.02
"""How far apart what is called equal may be: less than the effects that are claimed."""
TUNED = "tuned"
"""What stands for λ where each method is taken at its own best."""
OWN = "our own question"
"""What stands for the paper's claim where the paper makes none."""


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _lam(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("true and false are no numbers")
    if value not in (None, TUNED) and not (isinstance(value, int | float) and value >= 0):
        raise ValueError(f"write a number of at least 0, or {TUNED!r}")
    return value


class Interval(Settings):
    """Bounds of which one may be open."""

    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _has_bound(self) -> Self:
        if self.low is None and self.high is None:
            raise ValueError("give low, high or both")
        return self

    @property
    def bounds(self) -> Limits:
        """Where the quantity must lie."""
        return (-math.inf if self.low is None else self.low, math.inf if self.high is None else self.high)


Names = Annotated[tuple[str, ...], BeforeValidator(_listed), Field(min_length=1)]
Measures = Annotated[tuple[Measure, ...], BeforeValidator(_listed), Field(min_length=1)]
"""Of which ratios: front ratios, those of 1 + Δm (``delta_m``), or of a metric's end values."""


class Claim(Settings):
    """What every claim states.

    ``paper`` is the claim's number and figure, or `OWN`. ``primary`` marks the one claim of a figure that is
    corrected for the number of figures; the others are secondary.
    """

    id: str = Field(pattern=r"^[a-z0-9-]+$")
    text: str
    paper: str
    primary: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        """The methods that it is about."""
        return ()

    @property
    def named(self) -> set[str]:
        """All methods that it names."""
        told = (getattr(self, key, ()) for key in ("method", "methods", "to", "than"))
        return {label for labels in told for label in _listed(labels)}

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Methods that are compared with one another, and so must not be the same."""
        return []

    @property
    def at_equal_lam(self) -> bool:
        """Whether runs of the same λ are compared."""
        return False


class MethodClaim(Claim):
    """A claim about methods, which runs of an experiment answer."""


class QuantityClaim(Claim):
    """A claim about a quantity of a simulation."""


class Compared(MethodClaim):
    """A claim about one method against others, which must hold against each of them."""

    method: str
    than: Names
    split: Split = "train"

    @property
    def labels(self) -> tuple[str, ...]:
        """The methods that it is about."""
        return (self.method, *self.than)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The method and each other, and these among themselves."""
        return list(itertools.combinations(self.labels, 2))


class Measured(MethodClaim):
    """A claim about ratios of what is measured, ``of``.

    With ``lam`` at this λ alone; ``"tuned"``: at the λ of each method that is best at the other seeds.
    """

    of: Measures = ("front_ratio",)
    lam: Annotated[float | Literal["tuned"] | None, BeforeValidator(_lam)] = None

    @model_validator(mode="after")
    def _fronts_have_every_lam(self) -> Self:
        if self.lam is not None and "front_ratio" in self.of:
            raise ValueError("lam: a front has all λ: say of what else the claim is")
        if self.lam == TUNED and "delta_m" in self.of:
            raise ValueError("lam: Δm is at each method's own λ anyway: leave it out")
        return self

    @property
    def at_equal_lam(self) -> bool:
        """Whether end values at the same λ are compared; fronts have all, and Δm each method's own."""
        own = {"front_ratio"} if self.lam is not None else {"front_ratio", "delta_m"}
        return self.lam != TUNED and not own.issuperset(self.of)


class Better(Compared, Measured):
    """``method`` has less loss: its ratio to each is below 1 − ``margin``.

    With ``limit``, it must also be above 1 − ``limit``: better, but only slightly.
    """

    kind: Literal["better"]
    margin: float = Field(0, ge=0, lt=1)
    limit: float | None = Field(None, gt=0, lt=1)

    @model_validator(mode="after")
    def _limit_beyond_margin(self) -> Self:
        if self.limit is not None and self.limit <= self.margin:
            raise ValueError(f"limit {self.limit:g} must be more than margin {self.margin:g}")
        return self

    @property
    def bounds(self) -> Limits:
        """Where the ratio must lie."""
        return (1 - self.limit if self.limit else 0.0, 1 - self.margin)


class Worse(Compared, Measured):
    """``method`` has more loss: its ratio to each is above 1 + ``margin``."""

    kind: Literal["worse"]
    margin: float = Field(0, ge=0)

    @property
    def bounds(self) -> Limits:
        """Where the ratio must lie."""
        return (1 + self.margin, math.inf)


class Equal(Measured):
    """Each of ``methods`` is equivalent to ``than``: the ratio lies between 1 / (1 + margin) and 1 + margin.

    Two one-sided tests at 5 %, as the 90 % interval that lies inside (Schuirmann 1987).
    """

    kind: Literal["equal"]
    methods: Names
    than: str
    split: Split = "train"
    margin: float = Field(EQUALITY, gt=0, le=EQUALITY)

    @property
    def labels(self) -> tuple[str, ...]:
        """The methods that it is about."""
        return (*self.methods, self.than)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Each of the methods, and what they are compared with."""
        return [(method, self.than) for method in self.methods]

    @property
    def bounds(self) -> Limits:
        """Where the ratio must lie."""
        return (1 / (1 + self.margin), 1 + self.margin)


class TradeOff(Compared):
    """At equal λ, ``method`` ends with less of one loss and more of the other, each by ``margin``."""

    kind: Literal["trade_off"]
    margin: float = Field(0, ge=0, lt=1)

    @property
    def at_equal_lam(self) -> bool:
        """Always."""
        return True


class LowerMixedLoss(Compared):
    """The least mixed loss over λ, (1 − t) L_main + t L_aux, is lower.

    Its ratio to that of each other method, averaged over ``t``, is below 1 − ``margin``.
    """

    kind: Literal["lower_mixed_loss"]
    t: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(min_length=1)
    margin: float = Field(0, ge=0, lt=1)

    @property
    def bounds(self) -> Limits:
        """Where the ratio must lie."""
        return (0.0, 1 - self.margin)


class Apart(Compared):
    """Trajectories of ``method`` are further from the others' than these are from one another.

    The ratio of its distance to the nearest of them to the largest distance between two of them is above
    1 + ``margin``.
    """

    kind: Literal["apart"]
    than: Annotated[tuple[str, ...], Field(min_length=2)]
    margin: float = Field(0, ge=0)

    @property
    def at_equal_lam(self) -> bool:
        """Always."""
        return True

    @property
    def bounds(self) -> Limits:
        """Where the ratio must lie."""
        return (1 + self.margin, math.inf)


class Cost(MethodClaim):
    """A training step of ``method`` takes at most ``most`` times as long as one of `sum`.

    The bench answers it, with its model ``on``: a busy sweep says nothing about time. Where the losses share
    a forward pass, `sum` takes one backward pass for both.
    """

    kind: Literal["cost"]
    method: str
    on: Literal["MLP", "transformer", "ResNet-18", "ResNet-8"]
    sum_takes: Literal["two gradients", "one backward pass"] = "two gradients"
    most: float = Field(gt=1)

    @property
    def labels(self) -> tuple[str, ...]:
        """The methods that it is about."""
        return (self.method,)

    @property
    def bounds(self) -> Limits:
        """Where the ratio must lie."""
        return (0.0, self.most)


class AtRest(MethodClaim):
    """A claim about where runs come to rest: train metrics, averaged over the second half of training.

    ``lam`` is the λ, and ``at`` the values of axes, of the runs that it is about. A method is called by its
    label, and by the values of axes that tell its variants apart: ``bloop (rho=0.01)``. The distance between
    two methods is that of their (main, aux) at equal seed, in nats.
    """

    lam: float = Field(ge=0)
    at: dict[str, float]


class RelativeDistance(AtRest):
    """``methods``, with all their variants, rest close to ``to``, in units of the distance of ``than`` to it.

    The ratio of the two distances is below ``most``.
    """

    kind: Literal["relative_distance"]
    methods: Names
    to: str
    than: str
    most: float = Field(gt=0)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Every two whose distances to a third are compared, and each of these and the third."""
        ends = [(self.to, self.than)]
        return ends + [(method, other) for method in self.methods for other in ends[0]]

    @property
    def bounds(self) -> Limits:
        """Where the ratio must lie."""
        return (0.0, self.most)


class Sloped(Interval, AtRest):
    """A power law: a slope over the log of an axis lies between ``low`` and ``high``.

    It is that of the least squares line through the ``values`` of the axis ``over``.
    """

    over: str
    values: tuple[float, ...] = Field(min_length=2)


class DistanceSlope(Sloped):
    """Of log (distance of ``method`` to ``to`` / distance of ``than`` to it)."""

    kind: Literal["distance_slope"]
    method: str
    to: str
    than: str

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Every two of the three."""
        return list(itertools.combinations((self.method, self.to, self.than), 2))


class BestSettingSlope(Sloped):
    """Of the log of the value of ``setting``, an axis, at which a method's ``metric`` is least.

    It is the lowest point of the parabola through log metric over log setting at the least value and its two
    neighbours; a least value at the edge of the grid is none.
    """

    kind: Literal["best_setting_slope"]
    method: str
    setting: str
    metric: str


class Within(Interval, QuantityClaim):
    """A quantity of a simulation lies between ``low`` and ``high``."""

    kind: Literal["within"]
    quantity: str


def kinds(of: type[Claim]) -> list[type[Claim]]:
    """The classes below one that have a kind."""
    own = [of] if "kind" in of.model_fields else []
    return own + [kind for each in of.__subclasses__() for kind in kinds(each)]


if TYPE_CHECKING:
    ComparisonClaim = Claim
    SimulationClaim = Claim
else:
    ComparisonClaim = Annotated[reduce(or_, kinds(MethodClaim)), Field(discriminator="kind")]
    SimulationClaim = Annotated[reduce(or_, kinds(QuantityClaim)), Field(discriminator="kind")]
