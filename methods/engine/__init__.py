"""What all methods share: the contracts, the two passes over memory, small solvers."""

from .arithmetic import (
    adam,
    adam_start,
    check_rho,
    divide,
    draw,
    rounded,
    rounding,
    row_cosine,
    uniform,
)
from .base import Method
from .contract import EMA, REGISTRY, BaseMethod, LamIs, Order, Property, State
from .coordinates import CoordinateMethod
from .lengths import ratio_of_lengths
from .parts import Parts
from .passes import gram
from .remembering import RememberingMethod
from .solvers import (
    cosines,
    definite,
    lost,
    nonnegative_qp,
    power_balance,
    pseudo_inverse,
    simplex_projection,
    spectrum,
    times,
    tolerance,
)

__all__ = [
    "EMA",
    "REGISTRY",
    "BaseMethod",
    "CoordinateMethod",
    "LamIs",
    "Method",
    "Order",
    "Parts",
    "Property",
    "RememberingMethod",
    "State",
    "adam",
    "adam_start",
    "check_rho",
    "cosines",
    "definite",
    "divide",
    "draw",
    "gram",
    "lost",
    "nonnegative_qp",
    "power_balance",
    "pseudo_inverse",
    "ratio_of_lengths",
    "rounded",
    "rounding",
    "row_cosine",
    "simplex_projection",
    "spectrum",
    "times",
    "tolerance",
    "uniform",
]
