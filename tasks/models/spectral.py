"""The largest singular value of a matrix that changes a little at every training step.

Training against spectral norms makes the top singular values crowd (differences of 1e-4 of their size, a
dozen at a time), where plain warm-started power iteration follows the wrong vector. A block of vectors is
kept instead, and separated by Rayleigh-Ritz.

Where few values are near the top, the block is narrow and grows only as its residuals ask for (`_Search`).
Where many are, and on devices where nothing may wait for numbers, a wide block is sharpened by a filter of
fixed degree (`_sharpened`). Sources: Parlett 1998, "The symmetric eigenvalue problem", chapters 11 and 13
(Rayleigh-Ritz, residual bounds, block Krylov spaces); Zhou, Saad, Tiago, Chelikowsky 2006,
"Self-consistent-field calculations using Chebyshev-filtered subspace iteration".
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

WIDE = 20
"""From so many vectors on all `WIDTH` are kept, and filtered by a polynomial of `DEGREE`."""

TOLERANCE = 3e-4
"""Of the estimated error of the leading vectors."""

EXTENSIONS, AT_ONCE = 16, 12
CROWD = 0.9
"""The residuals of eigenvalues above this share of the largest extend the space, `AT_ONCE` at most."""

TIE, TIED = 0.997, 0.99
"""Where the second eigenvalue is above `TIE` of the first, those above `TIED` are separated in float64."""

_TINY = 1e-5

DEGREE = 14
AMPLIFICATION = 2e4
"""How much the filter may favour the largest singular value: more than float32 columns can hold."""

_LEAST_CUT = 2 / (1 + math.cosh(math.log(2 * AMPLIFICATION) / DEGREE))


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
    gram = (short @ short.mT).cpu()  # one matrix of this size takes a GPU longer
    log: Tensor = torch.linalg.eigvalsh(gram)[-1].log() / 2
    return log.to(weight.device)


def log_spectral_norm(weight: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """log of the largest singular value, with gradient u vᵀ / σ, and the basis for the next step.

    Args:
        weight: ``(rows, columns)``; NaN where one of its numbers is not finite.
        basis: from `start_basis`, or from the last call on a nearby weight.

    Returns:
        a scalar, and the new basis ``(b, n)``; rows that are not needed are zero.
    """
    short = _short(weight)
    find = _adaptive if weight.device.type == "cpu" else _sharpened
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
    kept = int(torch.count_nonzero(torch.linalg.vector_norm(basis, dim=-1)))
    if kept >= WIDE and short.isfinite().all():
        return _sharpened(short, basis, kept)
    search = _Search(short, basis[:kept])
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
        kept: ``(k, n)``, orthogonal rows.
    """

    def __init__(self, short: Tensor, kept: Tensor) -> None:
        self.short = short
        span = kept / torch.linalg.vector_norm(kept, dim=-1, keepdim=True)
        outside = (short @ _random(short.shape[1], short.dtype)).double()
        self.span = torch.cat([span, _unit(outside - (span @ outside) @ span)[None]])
        self.width = len(self.span)
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


@lru_cache
def _random(length: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(length, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def _sharpened(short: Tensor, basis: Tensor, kept: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """The same by Rayleigh-Ritz on the filtered basis; rows beyond the first ``kept`` start at random."""
    if kept is not None and kept < len(basis):
        random = _random(basis[kept:].numel(), basis.dtype).view_as(basis[kept:])
        length = torch.linalg.vector_norm(basis[kept - 1])
        basis = torch.cat([basis[:kept], random * (length / random.shape[-1] ** 0.5)])
    span = torch.eye(*basis.shape, dtype=basis.dtype, device=basis.device)
    if basis.shape[0] < basis.shape[1]:
        span = _orthonormal(_filtered(short, basis))
    image = span.to(short.dtype) @ short
    exact = image.double()
    finite = torch.nan_to_num(exact @ exact.mT, 0, 0, 0)  # a run that diverges must not raise
    values, rotation = torch.linalg.eigh(finite)
    values, rotation = values.flip(-1).clamp(min=0), rotation.flip(-1).mT
    vectors = rotation @ span
    right = _unit(rotation[0].to(short.dtype) @ image)
    following = vectors * values.sqrt()[:, None]
    if kept is not None and (near := int((values > KEPT * values[0]).sum())) < WIDE:
        following[max(near, NARROW) :] = 0
    return vectors[0].to(short.dtype), right, following


def _orthonormal(rows: Tensor) -> Tensor:
    """Orthonormal rows with the span of these ``(b, n)``, which are in float64 and far from dependent.

    On a GPU the library takes one matrix of a population after the other through its QR decomposition, and
    all at once through a Cholesky decomposition, which is as accurate when it is done twice (Yamamoto et al.
    2015, "Roundoff error analysis of the CholeskyQR2 algorithm").
    """
    if rows.device.type != "cpu":
        return _by_cholesky(rows)
    columns: Tensor = torch.linalg.qr(rows.mT).Q
    return columns.mT


def _by_cholesky(rows: Tensor) -> Tensor:
    for _ in range(2):
        factor = torch.linalg.cholesky_ex(rows @ rows.mT)[0]
        rows = torch.linalg.solve_triangular(factor, rows, upper=False)
    return rows


def _filtered(short: Tensor, basis: Tensor) -> Tensor:
    """The basis ``(b, n)`` with all that lies under its smallest singular value damped; in float64."""
    values = torch.linalg.vector_norm(basis, dim=-1)
    cut = torch.maximum(values[-1] ** 2, _LEAST_CUT * values[0] ** 2).to(short.dtype)
    matrix = _squared(short) * (2 / cut)
    matrix.diagonal().sub_(1)
    before = (basis / values[:, None]).to(short.dtype)
    now = before @ matrix
    for _ in range(DEGREE - 1):
        before, now = now, torch.addmm(before, now, matrix, beta=-1, alpha=2)
    filtered: Tensor = now.double() / torch.linalg.vector_norm(now, dim=-1, keepdim=True)
    return filtered


def _squared(short: Tensor, parts: int = 4) -> Tensor:
    """W Wᵀ, of which what is symmetric is computed once."""
    size = -(-short.shape[0] // parts)
    square = short.new_empty(short.shape[0], short.shape[0])
    for start in range(0, short.shape[0], size):
        column = short[start:] @ short[start : start + size].mT
        square[start:, start : start + size] = column
        square[start : start + size, start:] = column.mT
    return square


def _unit(vector: Tensor) -> Tensor:
    unit: Tensor = vector / torch.linalg.vector_norm(vector)
    return unit


def _short(weight: Tensor) -> Tensor:
    short: Tensor = weight if weight.shape[-2] <= weight.shape[-1] else weight.mT
    return short
