"""Gradient surgery: how the gradients of several losses become one direction.

Each method is one file of this package, or a plugin's: an installed package with an entry point in the group
``scalpel.methods``, or a loose file as ``path/to/file.py:ClassName``. They are found by name, and the classes
of this package's files are its attributes too:

>>> method = methods.create("bloop", lam=0.3, rho=0.01)  # or methods.Bloop(lam=0.3, rho=0.01)
>>> state = method.init(gradients)  # (..., K, P), main first
>>> direction, state = method.combine(gradients, state)  # (..., P)

`Surgeon` puts a method into any training loop.
"""

from typing import TYPE_CHECKING

from scalpel_bench.methods.engine import (
    EMA,
    REGISTRY,
    BaseMethod,
    CoordinateMethod,
    Method,
    Order,
    Property,
    State,
    check_rho,
    divide,
    draw,
    gram,
    row_cosine,
    uniform,
)
from scalpel_bench.methods.surgeon import Surgeon, kept_graph

if TYPE_CHECKING:  # imported when they are asked for, so that a file that is broken harms no other
    from scalpel_bench.methods.agem import AGEM as AGEM
    from scalpel_bench.methods.aligned_mtl import AlignedMTL as AlignedMTL
    from scalpel_bench.methods.bloop import Bloop as Bloop
    from scalpel_bench.methods.bloop import BloopNoEMA as BloopNoEMA
    from scalpel_bench.methods.cagrad import CAGrad as CAGrad
    from scalpel_bench.methods.conflict_free import ConFIG as ConFIG
    from scalpel_bench.methods.cosine_similarity import Cosine as Cosine
    from scalpel_bench.methods.dualproj import DualProj as DualProj
    from scalpel_bench.methods.dwa import DWA as DWA
    from scalpel_bench.methods.dynamic_barrier import DynamicBarrier as DynamicBarrier
    from scalpel_bench.methods.fairgrad import FairGrad as FairGrad
    from scalpel_bench.methods.famo import FAMO as FAMO
    from scalpel_bench.methods.gls import GLS as GLS
    from scalpel_bench.methods.graddrop import GradDrop as GradDrop
    from scalpel_bench.methods.gradvac import GradVac as GradVac
    from scalpel_bench.methods.imtl_g import IMTLG as IMTLG
    from scalpel_bench.methods.metabalance import MetaBalance as MetaBalance
    from scalpel_bench.methods.mgda import MGDA as MGDA
    from scalpel_bench.methods.moco import MoCo as MoCo
    from scalpel_bench.methods.nash_mtl import NashMTL as NashMTL
    from scalpel_bench.methods.pcgrad import PCGrad as PCGrad
    from scalpel_bench.methods.rlw import RLW as RLW
    from scalpel_bench.methods.stch import STCH as STCH
    from scalpel_bench.methods.sum import Sum as Sum
    from scalpel_bench.methods.uncertainty import UW as UW
    from scalpel_bench.methods.upgrad import UPGrad as UPGrad

available, create, get, origin = REGISTRY.available, REGISTRY.create, REGISTRY.get, REGISTRY.origin

__all__ = [
    "EMA",
    "REGISTRY",
    "BaseMethod",
    "CoordinateMethod",
    "Method",
    "Order",
    "Property",
    "State",
    "Surgeon",
    "available",
    "check_rho",
    "create",
    "divide",
    "draw",
    "get",
    "gram",
    "kept_graph",
    "origin",
    "row_cosine",
    "uniform",
]


def __getattr__(name: str) -> type[BaseMethod]:
    """The method class of that name that a file of this folder defines."""
    return REGISTRY.attribute(name)


def __dir__() -> list[str]:
    return sorted([*__all__, *REGISTRY.class_names()])
