"""A measurement: a figure, what it should be, and whether it is."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from .timing import Name, Times, milliseconds, ratio

Verdict = Literal["met", "missed", "no target", "not measured"]


class Measurement(BaseModel):
    """One figure.

    ``part`` is the question it belongs to (`PARTS`). ``low`` and ``high`` are quartiles over turns, or the
    95 % interval of a fitted exponent. ``at`` says where on a curve it lies. ``note`` says why there is no
    value.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    part: str
    figure: str
    value: float | None
    low: float | None = None
    high: float | None = None
    target: float | None = None
    at_least: bool = False
    milliseconds: float | None = None
    at: dict[str, int] = {}
    note: str = ""

    @classmethod
    def of_times(
        cls, part: str, figure: str, times: Times[Name], name: Name, to: Name, target: float | None = None
    ) -> Self:
        """The time of ``name`` over that of ``to``, with the milliseconds of the former."""
        found = ratio(times, name, to)
        return cls(
            part=part,
            figure=figure,
            value=found.value,
            low=found.low,
            high=found.high,
            target=target,
            milliseconds=milliseconds(times, name),
        )

    @property
    def verdict(self) -> Verdict:
        """How the value stands to the target."""
        if self.value is None:
            return "not measured"
        if self.target is None:
            return "no target"
        met = self.value >= self.target if self.at_least else self.value <= self.target
        return "met" if met else "missed"

    @property
    def measured(self) -> str:
        """The value with its interval, as tables write it."""
        if self.value is None:
            return "–"
        interval = "" if self.low is None or self.high is None else f" [{self.low:.2f}, {self.high:.2f}]"
        return f"{self.value:.2f}{interval}"

    @property
    def sought(self) -> str:
        """The target as tables write it."""
        return "" if self.target is None else f"{'≥' if self.at_least else '≤'} {self.target:.2f}"


PARTS = {
    "a": "a step of a method",
    "b": "against other libraries",
    "c": "the direction alone",
    "d": "populations",
    "e": "growth with the work",
    "f": "memory",
    "g": "sweeps",
    "h": "in a loop of one's own",
}
ON_CPU = "gh"
"""Parts that are measured on the CPU alone."""
GPU = "gpu"
"""The part that has a record of its own."""
