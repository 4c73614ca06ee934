"""Gradient surgery: how the gradients of several losses become one direction.

Each method is one file of this package, or a plugin's: an installed package with an entry point in the group
``scalpel.methods``, or a loose file as ``path/to/file.py:ClassName``. They are found by name:

>>> method = methods.create("bloop", lam=0.3, rho=0.01)
>>> state = method.init(gradients)  # (..., K, P), main first
>>> direction, state = method.combine(gradients, state)  # (..., P)

`Surgeon` puts a method into any training loop.
"""

from scalpel_bench.methods.bloop import Bloop
from scalpel_bench.methods.engine.arithmetic import check_rho, divide, row_cosine, uniform
from scalpel_bench.methods.engine.base import EMA, REGISTRY, Method, Order, Property, State
from scalpel_bench.methods.engine.passes import gram
from scalpel_bench.methods.surgeon.surgeon import Surgeon

available, create, get, origin = REGISTRY.available, REGISTRY.create, REGISTRY.get, REGISTRY.origin

__all__ = [
    "EMA",
    "REGISTRY",
    "Bloop",
    "Method",
    "Order",
    "Property",
    "State",
    "Surgeon",
    "available",
    "check_rho",
    "create",
    "divide",
    "get",
    "gram",
    "origin",
    "row_cosine",
    "uniform",
]
