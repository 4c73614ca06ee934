"""What all methods share: the contracts, the two passes over memory, small solvers."""

from scalpel_bench.methods.engine.arithmetic import check_rho, divide, draw, row_cosine, uniform
from scalpel_bench.methods.engine.base import Method
from scalpel_bench.methods.engine.contract import EMA, REGISTRY, BaseMethod, Order, Property, State
from scalpel_bench.methods.engine.coordinates import CoordinateMethod
from scalpel_bench.methods.engine.passes import gram
from scalpel_bench.methods.engine.solvers import (
    cosines,
    definite,
    nonnegative_qp,
    power,
    power_balance,
    simplex_projection,
    times,
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
    "check_rho",
    "cosines",
    "definite",
    "divide",
    "draw",
    "gram",
    "nonnegative_qp",
    "power",
    "power_balance",
    "row_cosine",
    "simplex_projection",
    "times",
    "uniform",
]
