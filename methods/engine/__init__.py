"""What all methods share: the contracts, the two passes over memory, small solvers."""

from scalpel_bench.methods.engine.arithmetic import (
    adam,
    adam_start,
    check_rho,
    divide,
    draw,
    row_cosine,
    uniform,
)
from scalpel_bench.methods.engine.base import Method
from scalpel_bench.methods.engine.contract import EMA, REGISTRY, BaseMethod, Order, Property, State
from scalpel_bench.methods.engine.coordinates import CoordinateMethod
from scalpel_bench.methods.engine.passes import gram
from scalpel_bench.methods.engine.solvers import (
    cosines,
    definite,
    lost,
    nonnegative_qp,
    power,
    power_balance,
    rank,
    simplex_projection,
    times,
    tolerance,
)

__all__ = [
    "EMA",
    "REGISTRY",
    "BaseMethod",
    "CoordinateMethod",
    "Method",
    "Order",
    "Property",
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
    "power",
    "power_balance",
    "rank",
    "row_cosine",
    "simplex_projection",
    "times",
    "tolerance",
    "uniform",
]
