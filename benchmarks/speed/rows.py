"""A row of the tables: a figure, what it should be, and whether it is."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from scalpel_bench.benchmarks.speed.timing import Ratio

Verdict = Literal["met", "missed", "no target", "not measured"]


class Row(BaseModel):
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


def timed(
    part: str, figure: str, ratio: Ratio, target: float | None = None, milliseconds: float | None = None
) -> Row:
    """A row of a ratio of times."""
    return Row(
        part=part,
        figure=figure,
        value=ratio.value,
        low=ratio.low,
        high=ratio.high,
        target=target,
        milliseconds=milliseconds,
    )
