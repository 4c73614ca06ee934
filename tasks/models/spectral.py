"""The largest singular value of a matrix that changes a little at every training step.

Training against spectral norms makes the top singular values crowd (differences of 1e-4 of their size, a
dozen at a time), where plain warm-started power iteration follows the wrong vector. A block of vectors is
kept instead, and separated by Rayleigh-Ritz.

On a CPU the block is as wide as the top is crowded, and only as much is done in a step as its residuals say
is needed (`_Search`). Elsewhere nothing may wait for numbers, so that all that may be needed is done at every
step (`_fixed`). Sources: Parlett 1998, "The symmetric eigenvalue problem", chapters 11 and 13 (Rayleigh-Ritz,
residual bounds, block Krylov spaces); Zhou, Saad, Tiago, Chelikowsky 2006, "Self-consistent-field
calculations using Chebyshev-filtered subspace iteration".
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from functools import lru_cache

import torch
from torch import Tensor
from torch.library import custom_op

WIDTH = 32
"""The most vectors kept; a matrix with no more rows or columns than that is decomposed at every step."""

NARROW = 8
KEPT = 0.6
"""Vectors are kept whose squared singular value is above this share of the largest; at least `NARROW`."""

WIDE, DEGREE, GAIN = 20, 8, 30
"""From `WIDE` vectors on a filter comes first that favours the largest by `GAIN`, if `DEGREE` allows it."""

TOLERANCE = 3e-4
"""Of the estimated error of the leading vectors."""

EXTENSIONS, AT_ONCE = 16, 12
CROWD = 0.9
"""The residuals of eigenvalues above this share of the largest extend the space, `AT_ONCE` at most."""

TIE, TIED = 0.997, 0.99
"""Where the second eigenvalue is above `TIE` of the first, those above `TIED` are separated in float64."""

_TINY = 1e-5

FIXED_DEGREE = 12
AMPLIFICATION = 2e4
"""How much the fixed filter may favour the largest singular value: more than float32 columns can hold."""

_LEAST_CUT = 2 / (1 + math.cosh(math.log(2 * AMPLIFICATION) / FIXED_DEGREE))


def start_basis(weight: Tensor) -> Tensor:
    """The exact basis to start from.

    Args:
        weight: ``(rows, columns)``.

    Returns:
        ``(b, n)`` in float64, n the shorter side, b = min(n, 32): the leading singular vectors of the shorter
        side, each as long as its singular value.
    """
    short = _short(weight).double()
    vectors, values, _ = torch.linalg.svd(short, full_matrices=False)
    basis: Tensor = (vectors * values).mT
    return basis[:WIDTH].contiguous()


def exact_log_norm(weight: Tensor) -> Tensor:
    """log of the largest singular value, by the eigenvalues of W Wᵀ in float64.

    Args:
        weight: ``(rows, columns)``; NaN where one of its numbers is not finite.
    """
    short = _short(weight).double()
    if not short.isfinite().all():
        return torch.full_like(short[0, 0], torch.nan)
    log: Tensor = torch.linalg.eigvalsh(short @ short.mT)[-1].log() / 2
    return log


def log_spectral_norm(weight: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """log of the largest singular value, with gradient u vᵀ / σ, and the basis for the next step.

    Args:
        weight: ``(rows, columns)``; NaN where one of its numbers is not finite.
        basis: from `start_basis`, or from the last call on a nearby weight.

    Returns:
        a scalar, and the new basis ``(b, n)``; rows that are not needed are zero.
    """
    short = _short(weight)
    find = _adaptive if weight.device.type == "cpu" else _fixed
    device = weight.device.type
    lowered = torch.amp.is_autocast_available(device)
    with torch.autocast(device, torch.bfloat16, enabled=False) if lowered else nullcontext():
        with torch.no_grad():
            left, right, basis = find(short.detach(), basis)
        return torch.log(left @ short @ right), basis


@custom_op("scalpel::leading_singular_vectors", mutates_args=())
def _adaptive(short: Tensor, basis: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if short.shape[0] <= WIDTH:
        return _decomposed(short, basis)
    search = _Search(short, basis)
    while search.solve() > TOLERANCE and search.can_extend:
        search.extend()
    if not search.finite:
        return short[:, 0] * torch.nan, short[0] * torch.nan, basis.clone()
    return *search.leading(), search.next_basis(basis)


@_adaptive.register_fake
def _(short: Tensor, basis: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return short.new_empty(short.shape[0]), short.new_empty(short.shape[1]), torch.empty_like(basis)


@_adaptive.register_vmap
def _(
    info: torch._functorch.autograd_function.VmapInfo,
    in_dims: tuple[int | None, int | None],
    short: Tensor,
    basis: Tensor,
) -> tuple[tuple[Tensor, ...], tuple[int, int, int]]:
    """One matrix after the other, so that a replica takes the steps that it takes alone."""
    shorts, bases = (
        [tensor] * info.batch_size if dim is None else list(tensor.unbind(dim))
        for tensor, dim in zip((short, basis), in_dims, strict=True)
    )
    found = [_adaptive(s, b) for s, b in zip(shorts, bases, strict=True)]
    return tuple(torch.stack(column) for column in zip(*found, strict=True)), (0, 0, 0)


def _decomposed(short: Tensor, basis: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    exact = short.double()
    gram = exact @ exact.mT
    if not gram.isfinite().all():
        return short[:, 0] * torch.nan, short[0] * torch.nan, basis.clone()
    left = torch.linalg.eigh(gram)[1][:, -1]
    return left.to(short.dtype), _unit(left @ exact).to(short.dtype), basis.clone()


class _Search:
    """Rayleigh-Ritz for A = W Wᵀ on a space that grows by the residuals of the leading Ritz vectors.

    The space starts as the kept vectors and W h, h fixed and random: were a vector about to become the
    leading one from outside of the space, W h would have a share of it, and the next step's space too.

    Args:
        short: W ``(n, m)``, n ≤ m.
        basis: ``(b, n)``, rows orthogonal or zero.
    """

    def __init__(self, short: Tensor, basis: Tensor) -> None:
        self.short = short
        lengths = torch.linalg.vector_norm(basis, dim=-1)
        kept = int(torch.count_nonzero(lengths))
        span = basis[:kept] / lengths[:kept, None]
        if kept >= WIDE:
            span = _filtered(short, span, float(lengths[0]) ** 2, float(lengths[kept - 1]) ** 2)
        outside = (short @ _random(short.shape[1], short.dtype)).double()
        self.span = torch.cat([span, _unit(outside - (span @ outside) @ span)[None]])
        self.width = kept + 1
        self.extensions = 0
        self.low = self.span.to(short.dtype)
        self.image = self.low @ short
        self.applied = self.image @ short.mT

    def solve(self) -> float:
        """The Ritz pairs of the space, largest first, and the estimated error of the leading one.

        With r_j the residuals, θ_j the Ritz values, ω the largest eigenvalue outside, taken to be the least
        of the width that the space started with: what is outside of the space adds ‖r_1‖ / (θ_1 − ω) to the
        error, and what it mixes inside adds ⟨r_1, r_j⟩ / ((θ_1 − ω) (θ_1 − θ_j)).
        """
        gram = (self.image @ self.image.mT).double()
        self.finite = bool(gram.isfinite().all())
        if not self.finite:
            return math.nan
        values, rotation = torch.linalg.eigh(gram)
        self.values, self.rotation = values.flip(-1), rotation.mT.flip(0)
        self.theta: list[float] = self.values.tolist()
        first = self.theta[0]
        crowd = min(max(self._above(CROWD), 2), WIDTH)
        chosen = self.rotation[:crowd].to(self.low.dtype)
        scaled = chosen * self.values[:crowd, None].to(chosen.dtype)
        self.residuals = torch.addmm(chosen @ self.applied, scaled, self.low, alpha=-1)
        outside = max(first - self.theta[self.width - 1], _TINY * first)
        own, *products = (self.residuals @ self.residuals[0]).tolist()
        error = own / outside**2
        for theta, product in zip(self.theta[1:crowd], products, strict=True):
            error += (product / outside / max(first - theta, _TINY * first)) ** 2
        return math.sqrt(error) if first > 0 else math.nan

    @property
    def can_extend(self) -> bool:
        """Whether there is more to add."""
        return self.extensions < EXTENSIONS and len(self.span) < self.span.shape[1]

    def extend(self) -> None:
        """Add the residuals."""
        room = self.span.shape[1] - len(self.span)
        new = self.residuals[: min(AT_ONCE, room)].double()
        for _ in range(2):  # once leaves rounding, which grows with each extension
            new = torch.linalg.qr((new - (new @ self.span.mT) @ self.span).mT).Q.mT
        low = new.to(self.low.dtype)
        image = low @ self.short
        self.span, self.low = torch.cat([self.span, new]), torch.cat([self.low, low])
        self.image = torch.cat([self.image, image])
        self.applied = torch.cat([self.applied, image @ self.short.mT])
        self.extensions += 1

    def leading(self) -> tuple[Tensor, Tensor]:
        """The singular vectors u ``(n,)`` and v ``(m,)``."""
        dtype = self.low.dtype
        if len(self.theta) > 1 and self.theta[1] > TIE * self.theta[0] and dtype != torch.float64:
            tied = self.rotation[: min(self._above(TIED), WIDTH)] @ self.span
            image = tied @ self.short.double()
            first = torch.linalg.eigh(image @ image.mT)[1][:, -1]
            return (first @ tied).to(dtype), _unit(first @ image).to(dtype)
        first = self.rotation[0]
        return (first @ self.span).to(dtype), _unit(first.to(dtype) @ self.image)

    def next_basis(self, basis: Tensor) -> Tensor:
        """The leading Ritz vectors, A applied to each, made orthogonal."""
        count = min(max(self._above(KEPT), NARROW), self._above(_TINY), WIDTH)
        values = self.values[:count, None]
        rows = (self.rotation[:count].to(self.low.dtype) @ self.applied).double() / values
        factor = torch.linalg.cholesky_ex(rows @ rows.mT)[0]
        kept = torch.zeros_like(basis)
        kept[:count] = torch.linalg.solve_triangular(factor, rows, upper=False) * values.sqrt()
        return kept

    def _above(self, share: float) -> int:
        return sum(theta > share * self.theta[0] for theta in self.theta)


def _filtered(short: Tensor, rows: Tensor, top: float, cut: float) -> Tensor:
    """Rows ``(k, n)`` with what lies under the eigenvalue ``cut`` damped, made orthogonal; float64."""
    least = math.acosh(max(2 * top / cut - 1, 1 + _TINY))
    degree = min(DEGREE, math.ceil(math.acosh(GAIN) / least))
    matrix = (short @ short.mT) * (2 / cut)
    matrix.diagonal().sub_(1)
    before = rows.to(short.dtype)
    now = before @ matrix
    for _ in range(degree - 1):
        before, now = now, torch.addmm(before, now, matrix, beta=-1, alpha=2)
    orthogonal: Tensor = torch.linalg.qr(now.double().mT).Q.mT
    return orthogonal


@lru_cache
def _random(length: int, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(length, generator=generator, dtype=torch.float64).to(dtype)


def _fixed(short: Tensor, basis: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same by a filter of fixed degree over all vectors, and Rayleigh-Ritz in float64."""
    exact = short.double()
    span = torch.eye(*basis.shape, dtype=exact.dtype, device=exact.device)
    if basis.shape[0] < basis.shape[1]:
        span = torch.linalg.qr(_sharpened(short, basis.mT)).Q.mT
    image = span @ exact
    finite = torch.nan_to_num(image @ image.mT, 0, 0, 0)  # a run that diverges must not raise
    values, rotation = torch.linalg.eigh(finite)
    values, rotation = values.flip(-1).clamp(min=0).sqrt(), rotation.flip(-1).mT
    vectors = rotation @ span
    right = _unit(rotation[0] @ image).to(short.dtype)
    return vectors[0].to(short.dtype), right, vectors * values[:, None]


def _sharpened(short: Tensor, basis: Tensor) -> Tensor:
    """The basis with all that lies under its smallest singular value damped; ``(n, b)`` in float64."""
    values = torch.linalg.vector_norm(basis, dim=-2)
    cut = torch.maximum(values[..., -1] ** 2, _LEAST_CUT * values[..., 0] ** 2).to(short.dtype)
    matrix = (short @ short.mT) * (2 / cut)
    matrix = matrix - torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    before = (basis / values).to(short.dtype)
    now = matrix @ before
    for _ in range(FIXED_DEGREE - 1):
        before, now = now, 2 * (matrix @ now) - before
    filtered: Tensor = now.double() / torch.linalg.vector_norm(now, dim=-2)
    return filtered


def _unit(vector: Tensor) -> Tensor:
    unit: Tensor = vector / torch.linalg.vector_norm(vector)
    return unit


def _short(weight: Tensor) -> Tensor:
    short: Tensor = weight if weight.shape[-2] <= weight.shape[-1] else weight.mT
    return short
