"""CR-MOGM: MGDA with an exponential moving average of its weights."""

from dataclasses import dataclass
from typing import ClassVar

from .engine import Property
from .mgda import MGDA


@dataclass(frozen=True)
class CRMOGM(MGDA):
    """d = Σ_i α_i g_i, α ← (1 − ρ) α + ρ α*, α* ``(..., K)`` the weights that MGDA gives this batch.

    MGDA with ``weights_ema``, ρ = 0.1 by default; every method that sees a Gram matrix takes that setting.
    α starts at the first weights. It tells an EMA of the weights from one of the gradients (`moco`).

    Source: Zhou et al. 2022, "On the convergence of stochastic multi-objective gradient manipulation and
    beyond", NeurIPS, on Désidéri 2012, "Multiple-gradient descent algorithm"; ρ is their 1 − α. Differs: ρ is
    constant, where they let the share of the past grow as the learning rate falls.
    """

    weights_ema: float | None = 0.1

    name: ClassVar[str] = "cr_mogm"
    title: ClassVar[str] = "CR-MOGM"
    color: ClassVar[str] = "#66C2B2"
    marker: ClassVar[str] = "<"
    properties: ClassVar[frozenset[Property]] = frozenset({"permutation_equivariant"})
