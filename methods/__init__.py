"""Gradient surgery: how the gradients of several losses become one direction.

Each method is one file of this package, or a plugin's: an installed package with an entry point in the group
``scalpel.methods``, or a loose file as ``path/to/file.py:ClassName``. They are found by name:

>>> method = methods.create("bloop", lam=0.3, rho=0.01)
>>> state = method.init(gradients)  # (..., K, P), main first
>>> direction, state = method.combine(gradients, state)  # (..., P)

`Surgeon` puts a method into any training loop.
"""

from methods.arithmetic import check_rho, cosine, divide, uniform
from methods.base import EMA, REGISTRY, Claim, Method, Order, State
from methods.passes import gram
from methods.surgeon import Surgeon

available, create, get, origin = REGISTRY.available, REGISTRY.create, REGISTRY.get, REGISTRY.origin

__all__ = [
    "EMA",
    "REGISTRY",
    "Claim",
    "Method",
    "Order",
    "State",
    "Surgeon",
    "available",
    "check_rho",
    "cosine",
    "create",
    "divide",
    "get",
    "gram",
    "origin",
    "uniform",
]
