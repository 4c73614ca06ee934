"""Bloop: keep the part of each auxiliary gradient that is orthogonal to EMAs of the gradients before it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import ClassVar, Literal

import torch
from torch import Tensor

from .engine import Order, RememberingMethod, State, divide, tolerance


@dataclass(frozen=True)
class Bloop(RememberingMethod):
    """d = g_m + λ π(g_a; m), π(a; b) = a − ⟨a, b⟩ / ‖b‖² · b, m ← (1 − ρ) m + ρ g_m.

    With K > 2 objectives in order of importance, gradient k is projected out of the span of the EMAs of all
    gradients before it: d = g_1 + Σ λ_k π(g_k; (m_1, …, m_{k−1})), by Gram-Schmidt through the Gram matrix.

    Source: Hsieh et al. 2024, arXiv 2402.02998, Equation 5, Algorithm 1, Section 2.3 (levels; there without
    EMA). The EMAs start at the first gradients. Of several auxiliary gradients, one whose λ is 0 is no level:
    those after it keep what they have along it.

    Args:
        rho: EMA coefficient ρ in (0, 1]. With ρ = 1 nothing is remembered and gradients are projected
            against the current ones: Bloop without EMA (Section 2.2).
        order: ``"after"`` (Algorithm 1) projects against the EMA of past batches and moves it afterwards;
            ``"before"`` (Appendix A and the authors' code) moves it first.
        ratio_only: take ⟨g_a, m⟩ / ‖m‖² of g_m, not of m, from the direction, as an option of the authors'
            code does. With ρ = 1 the two are the same.

    Raises:
        ValueError: ``rho`` or ``order`` is none of these, or ``ratio_only`` comes with ``ema``.
    """

    ratio_only: bool | None = None

    name: ClassVar[str] = "bloop"
    title: ClassVar[str] = "Bloop"
    color: ClassVar[str] = "#D55E00"
    marker: ClassVar[str] = "s"
    projects: ClassVar[Literal["sum", "main"] | None] = "sum"
    projects_auxiliary: ClassVar[bool] = True
    fixed_gradients: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ratio_only and self.ema is not None:
            raise ValueError("ratio_only takes the share of the EMA that rho sets: set rho instead of ema")

    def compared(self, k: int) -> range:
        """The auxiliary gradient and the EMA, of two objectives whose EMA moves afterwards."""
        every = super().compared(k)
        return every[1:] if k == 2 and self.rho != 1 and self.order == "after" else every

    @property
    def streams(self) -> bool:
        """Not where g_m itself is projected on: with ρ = 1, and with ``ratio_only``."""
        return super().streams and self.rho != 1 and not self.ratio_only

    @property
    def shows_projection(self) -> bool:
        """Not with ``ratio_only``, where what is taken is no part of g_a."""
        return super().shows_projection and not self.ratio_only

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., 2 K - 1)`` for the gradients and the EMAs; ``(..., K)`` where ρ = 1."""
        remembered = self.rho != 1
        k = (gram.shape[-1] + 1) // 2 if remembered else gram.shape[-1]
        rows, total = _start(gram.shape[-1], k, gram.device)
        if k == 2:
            total = torch.addcmul(total, self.share(gram)[..., None], rows[self.reference], value=-1)
        else:
            total = self._levels(gram, rows, total.expand(gram.shape[:-1]), k)
        if self.ratio_only and remembered:
            total = total @ torch.stack([*rows[:k], *rows[: k - 1]])
        return total

    def _levels(self, gram: Tensor, rows: Sequence[Tensor], total: Tensor, k: int) -> Tensor:
        """The sum of the gradients, less what each has in the span of the references before it."""
        references = [i if self.rho == 1 else k + i for i in range(k - 1)]
        basis: list[Tensor] = []
        for level in range(1, k):
            basis.append(_orthogonal_part(rows[references[level - 1]], basis, gram))
            for vector in basis:
                total = total - _share(rows[level], vector, gram) * vector
        return total


@dataclass(frozen=True)
class BloopNoEMA(Bloop):
    """d = g_m + λ π(g_a; g_m): Bloop with ρ = 1.

    Source: Hsieh et al. 2024, arXiv 2402.02998, Section 2.2.
    """

    rho: float = field(default=1.0, init=False)
    order: Order = field(default="after", init=False)
    ratio_only: bool | None = field(default=None, init=False)

    name: ClassVar[str] = "bloop_no_ema"
    title: ClassVar[str] = "Bloop, no EMA"
    color: ClassVar[str] = "#56B4E9"
    marker: ClassVar[str] = "P"


@cache
def _start(count: int, k: int, device: torch.device) -> tuple[Sequence[Tensor], Tensor]:
    """The R rows in coefficients of themselves, ``(R,)`` each, and the sum of the K gradients ``(R,)``."""
    rows = torch.eye(count, dtype=torch.float64, device=device)
    return rows.unbind(), rows[:k].sum(0)


def _orthogonal_part(row: Tensor, basis: list[Tensor], gram: Tensor) -> Tensor:
    """What is left of a row outside the span of the basis, in coefficients; zero if only rounding is left."""
    left = row.expand(gram.shape[:-1])
    for vector in basis:
        left = left - _share(row, vector, gram) * vector
    negligible = _inner(left, left, gram) <= tolerance(gram) * _inner(row, row, gram)
    return torch.where(negligible, 0.0, left)


def _share(row: Tensor, vector: Tensor, gram: Tensor) -> Tensor:
    """⟨row, vector⟩ / ‖vector‖², ``(..., 1)``."""
    return divide(_inner(row, vector, gram), _inner(vector, vector, gram))


def _inner(a: Tensor, b: Tensor, gram: Tensor) -> Tensor:
    """The inner product of two combinations of the rows, ``(..., 1)``."""
    return ((a[..., None, :] @ gram).squeeze(-2) * b).sum(-1, keepdim=True)
