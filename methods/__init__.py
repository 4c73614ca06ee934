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

from .engine import (
    EMA,
    REGISTRY,
    BaseMethod,
    CoordinateMethod,
    Method,
    Order,
    Parts,
    Property,
    State,
    check_rho,
    divide,
    draw,
    gram,
    row_cosine,
    uniform,
)
from .surgeon import Surgeon, kept_graph

if TYPE_CHECKING:  # imported when they are asked for, so that a file that is broken harms no other
    from .agem import AGEM as AGEM
    from .aligned_mtl import AlignedMTL as AlignedMTL
    from .bloop import Bloop as Bloop
    from .bloop import BloopNoEMA as BloopNoEMA
    from .cagrad import CAGrad as CAGrad
    from .config_momentum import ConFIGMomentum as ConFIGMomentum
    from .conflict_free import ConFIG as ConFIG
    from .cosine_similarity import Cosine as Cosine
    from .cosmos import COSMOS as COSMOS
    from .cr_mogm import CRMOGM as CRMOGM
    from .db_mtl import DBMTL as DBMTL
    from .dualproj import DualProj as DualProj
    from .dwa import DWA as DWA
    from .dynamic_barrier import ConstrainedBarrier as ConstrainedBarrier
    from .dynamic_barrier import DynamicBarrier as DynamicBarrier
    from .fairgrad import FairGrad as FairGrad
    from .famo import FAMO as FAMO
    from .gls import GLS as GLS
    from .graddrop import GradDrop as GradDrop
    from .gradnorm import GradNorm as GradNorm
    from .gradvac import GradVac as GradVac
    from .gradvac import GradVacMain as GradVacMain
    from .imtl_g import IMTLG as IMTLG
    from .imtl_l import IMTLL as IMTLL
    from .lagrangian import Lagrangian as Lagrangian
    from .metabalance import MetaBalance as MetaBalance
    from .mgda import MGDA as MGDA
    from .moco import MoCo as MoCo
    from .nash_mtl import NashMTL as NashMTL
    from .negative_momentum import NegativeMomentum as NegativeMomentum
    from .one_sided_bloop import OneSidedBloop as OneSidedBloop
    from .pbi import PBI as PBI
    from .pcd import PCD as PCD
    from .pcgrad import PCGrad as PCGrad
    from .reweighted_sum import ReweightedSum as ReweightedSum
    from .rlw import RLW as RLW
    from .si import SI as SI
    from .single import Single as Single
    from .stch import STCH as STCH
    from .sum import Sum as Sum
    from .uncertainty import UW as UW
    from .upgrad import UPGrad as UPGrad

available, create, get, origin = REGISTRY.available, REGISTRY.create, REGISTRY.get, REGISTRY.origin

__all__ = [
    "EMA",
    "REGISTRY",
    "BaseMethod",
    "CoordinateMethod",
    "Method",
    "Order",
    "Parts",
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
