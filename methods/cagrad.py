"""CAGrad: the direction near the mean gradient that serves the worst objective best."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .engine import (
    Method,
    Property,
    State,
    cosines,
    definite,
    divide,
    nonnegative_qp,
    times,
    tolerance,
)

_SECTIONS = 32
_ROUNDS = 6


@dataclass(frozen=True)
class CAGrad(Method):
    """d maximises min_i ⟨g_i, d⟩ over ‖d − g_0‖ ≤ c ‖g_0‖, g_0 = (1/K) Σ_i g_i.

    In closed form for two objectives. For more, the nearest such d to g_0 for a value t of that minimum is
    g_0 + Jᵀz, z ``(..., K)`` from a nonnegative quadratic programme. The greatest t with ‖Jᵀz‖ ≤ c ‖g_0‖ is
    bracketed by dividing an interval. Zero gradients take no part.

    Source: Liu et al. 2021, "Conflict-averse gradient descent for multi-task learning", arXiv 2110.14048,
    Algorithm 1, without the authors' optional division by 1 + c². Differs: they minimise ⟨g_w, g_0⟩ +
    c ‖g_0‖ ‖g_w‖, the dual, on the simplex by a general solver. Where the dual ends on g_w = 0 and many d
    are best, this is the nearest to g_0. λ scales the auxiliary gradients before; λ = 1 is theirs.

    Args:
        c: the radius c in [0, 1).

    Raises:
        ValueError: ``c`` is outside [0, 1).
    """

    c: float = 0.5

    name: ClassVar[str] = "cagrad"
    title: ClassVar[str] = "CAGrad"
    color: ClassVar[str] = "#66C2B2"
    marker: ClassVar[str] = "d"
    arbitrary_length: ClassVar[bool] = True
    properties: ClassVar[frozenset[Property]] = frozenset({"permutation_equivariant"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.c < 1:
            raise ValueError(f"c must lie in [0, 1), got {self.c}")

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., K)``, at least 1/K."""
        unit, lengths = cosines(gram)
        mean = gram.mean((-2, -1)).clamp(min=0).sqrt()[..., None]
        slope = divide(gram.mean(-1), mean * lengths)
        nonzero = lengths > 0
        shortness = divide(lengths.where(nonzero, torch.inf).amin(-1, keepdim=True), lengths)
        if gram.shape[-1] == 2:
            nearest = self._of_two(unit[..., 0, 1, None], slope, shortness, tolerance(gram))
        else:
            nearest = self._of_more(unit, slope, shortness, tolerance(gram))
        return 1 / gram.shape[-1] + divide(mean * nearest, lengths)

    def _of_two(self, cosine: Tensor, slope: Tensor, shortness: Tensor, tolerance: float) -> Tensor:
        """z where one objective is the worst though d moves towards it alone, or else where both are equal.

        There z is the least that makes them equal, and what the radius leaves, at a right angle to it.
        """
        cosine = cosine.clamp(-1 + 2 * tolerance, 1 - 2 * tolerance)
        other = shortness.flip(-1)
        alone = (slope + self.c) * other <= (slope.flip(-1) + self.c * cosine) * shortness
        apart = slope * other - slope.flip(-1) * shortness
        square = (shortness - other) ** 2 + 2 * (1 - cosine) * shortness * other
        left = (self.c**2 - divide(apart**2, square)).clamp(min=0)
        across = divide(left, square * (1 - cosine) * (1 + cosine)).sqrt()
        equal = across * (shortness - cosine * other) - divide(apart * other, square)
        return torch.where(alone, self.c, equal.clamp(min=0).where(~alone.any(-1, keepdim=True), 0.0))

    def _of_more(self, unit: Tensor, slope: Tensor, shortness: Tensor, tolerance: float) -> Tensor:
        """z by dividing the interval in which the worst objective's value lies."""
        bounds = divide(torch.stack([slope, slope + self.c]), shortness)
        low, high = bounds.where(shortness > 0, torch.inf).amin(-1, keepdim=True).nan_to_num(posinf=0.0)
        matrix = definite(unit, tolerance)
        sections = torch.linspace(0, 1, _SECTIONS, dtype=unit.dtype, device=unit.device)
        sections = sections.reshape(-1, *[1] * slope.dim())
        for _ in range(_ROUNDS):
            values = low + sections * (high - low)
            z = nonnegative_qp(matrix, (slope - values * shortness).clamp(max=1), 25)
            reach = (z * times(matrix, z)).sum(-1, keepdim=True).sqrt()
            inside = (reach <= self.c).cumprod(0).sum(0, keepdim=True).clamp(1, _SECTIONS - 1)
            low, high = (values.gather(0, inside - i).squeeze(0) for i in (1, 0))
        return z.gather(0, (inside - 1).expand(1, *slope.shape)).squeeze(0)
