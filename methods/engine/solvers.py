"""Small dense problems that methods share: batched, with no synchronisation with the host.

On a GPU the iterations are fixed; on the CPU they end once further ones would change rounding alone.
"""

import math
from functools import cache

import torch
from torch import Tensor

from .arithmetic import divide, rounding

_SWEEPS = 9
"""Of Jacobi rotations over all pairs: they converge quadratically."""
_ENDED = 1e-32
"""z ∘ w, where both may be its root, that is rounding."""
_LAST = 1e-10
"""A step of Newton's method, relative to y, after which the next is rounding."""


def cosines(gram: Tensor) -> tuple[Tensor, Tensor]:
    """The cosines C between the rows and their lengths d, G = diag(d) C diag(d).

    Args:
        gram: ``(..., K, K)``.

    Returns:
        C ``(..., K, K)`` with ones on its diagonal, a zero row being orthogonal to all others, and d
        ``(..., K)``, 0 for a zero row.
    """
    lengths = gram.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt()
    unit = divide(divide(gram, lengths[..., :, None]), lengths[..., None, :]).clamp(-1, 1)
    unit = (unit + unit.mT) / 2
    return torch.diagonal_scatter(unit, torch.ones_like(lengths), dim1=-2, dim2=-1), lengths


def lost(gram: Tensor) -> float:
    """The length, relative to the rows', of a combination of them that their rounding may account for.

    2 √R ε^(3/4), for rows that are known to ε: of what is longer, rounding is a share of at most ε^(1/4), and
    what is shorter is little enough to be dropped.
    """
    return 2.0 * math.sqrt(gram.shape[-1]) * float(rounding(gram) ** 0.75)


def tolerance(gram: Tensor) -> float:
    """The eigenvalue, relative to the greatest, of a Gram matrix that rounding may account for.

    It is `lost` squared, but no less than what float64 loses in G itself.
    """
    return max(lost(gram) ** 2, _exact(gram))


def definite(matrix: Tensor, tolerance: float) -> Tensor:
    """The matrix ``(..., K, K)`` with the eigenvalues that are lost in rounding raised to its level."""
    values, vectors = eigh(matrix)
    missing = (tolerance * values.amax(-1, keepdim=True) - values).clamp(min=0)
    return matrix + (vectors * missing[..., None, :]) @ vectors.mT


def pseudo_inverse(matrix: Tensor, tolerance: float) -> Tensor:
    """The inverse of a positive semidefinite matrix ``(..., K, K)`` on its range.

    Args:
        matrix: ``(..., K, K)``.
        tolerance: the eigenvalue, relative to the greatest, up to which one is rounding.
    """
    values, vectors = _on_range(matrix, tolerance)
    return (vectors * divide(torch.ones_like(values), values)[..., None, :]) @ vectors.mT


def spectrum(gram: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """The eigenvalues ``(..., K)`` of G, 0 beyond its range, and the eigenvectors ``(..., K, K)`` in columns.

    The rank is that of the cosines, without the zero rows: the lengths of rows, which decide the eigenvalues
    as much, do not change it. So the eigenvalues that are kept are not the greatest but those of the greatest
    share vᵀGv / vᵀ diag(d²) v: it is small where dependent rows cancel, and not where a row is short.

    Args:
        gram: G = diag(d) C diag(d), ``(..., K, K)``, with the cosines C and the lengths d of the rows.
        tolerance: the eigenvalue of C, relative to the greatest, up to which one is rounding.
    """
    unit, lengths = cosines(gram)
    values, vectors = _on_range(unit, tolerance)
    independent = (values > 0).sum(-1, keepdim=True) - (lengths == 0).sum(-1, keepdim=True)
    unit = (vectors * values[..., None, :]) @ vectors.mT
    values, vectors = eigh(lengths[..., :, None] * unit * lengths[..., None, :], graded=True)
    share = divide(values, ((vectors * lengths[..., :, None]) ** 2).sum(-2))
    greater = (share[..., None, :] > share[..., :, None]).sum(-1)
    return torch.where(greater < independent, values.clamp(min=0), 0.0), vectors


def times(matrix: Tensor, vector: Tensor) -> Tensor:
    """The matrix ``(..., K, K)`` times the vector ``(..., K)``."""
    return (matrix @ vector[..., None]).squeeze(-1)


def nonnegative_qp(matrix: Tensor, linear: Tensor, iterations: int = 40) -> Tensor:
    """z ≥ 0 of least ½ zᵀQz + qᵀz, by a primal-dual interior-point method.

    With w = Qz + q ≥ 0 and z ∘ w = 0 at the optimum, each iteration takes Mehrotra's predictor and corrector.

    Source: Mehrotra 1992, "On the implementation of a primal-dual interior point method"; for the quadratic
    programme, Nocedal & Wright 2006, "Numerical optimization", Algorithm 16.4.

    Args:
        matrix: Q ``(..., K, K)``, positive definite with entries of order one.
        linear: q ``(..., K)``, entries of order one at most.
        iterations: how many; each shrinks z ∘ w to no less than 1/200.

    Returns:
        ``(..., K)``.
    """
    z = torch.ones_like(linear)
    w = torch.ones_like(linear)
    for _ in range(iterations):
        residual = times(matrix, z) + linear - w
        product = z * w
        if _may_end(z) and float(product.amax()) < _ENDED:
            break
        factor, _ = torch.linalg.cholesky_ex(matrix + torch.diag_embed(w / z))
        dz, dw = _newton(factor, z, w, residual, -product)
        step = _step(z, w, dz, dw)
        gap = product.mean(-1, keepdim=True)
        ahead = ((z + step * dz) * (w + step * dw)).mean(-1, keepdim=True)
        target = gap * (ahead / gap) ** 3
        dz, dw = _newton(factor, z, w, residual, target - product - dz * dw)
        step = _step(z, w, dz / 0.995, dw / 0.995)
        z, w = z + step * dz, w + step * dw
    return z


def power_balance(matrix: Tensor, scale: Tensor, exponent: float, iterations: int = 40) -> Tensor:
    """y > 0 with Qy = b ∘ y^(−p), by Newton's method on w = Qy and log w + p log y = log b.

    Where Q is singular along a nonnegative vector there is none, and y grows to what rounding allows.

    Args:
        matrix: Q ``(..., K, K)``, positive definite with entries of order one.
        scale: b ``(..., K)``, positive.
        exponent: p > 0.
        iterations: how many; 20 do for p between 1/2 and 2.

    Returns:
        ``(..., K)``.
    """
    y = w = scale ** (1 / (1 + exponent))
    for _ in range(iterations):
        residual = times(matrix, y) - w
        factor, _ = torch.linalg.cholesky_ex(matrix + torch.diag_embed(exponent * w / y))
        change = w * (torch.log(scale / w) - exponent * torch.log(y))
        dy = torch.cholesky_solve((change - residual)[..., None], factor).squeeze(-1)
        dw = times(matrix, dy) + residual
        step = _step(y, w, dy / 0.9, dw / 0.9)
        y, w = y + step * dy, w + step * dw
        if _may_end(y) and float((dy / y).abs().amax()) < _LAST:
            break
    return y


def simplex_projection(point: Tensor) -> Tensor:
    """The nearest point ``(..., K)`` with nonnegative entries of sum 1.

    Source: Duchi et al. 2008, "Efficient projections onto the l1-ball for learning in high dimensions",
    Figure 1.
    """
    ordered = point.sort(-1, descending=True).values
    shifts = (ordered.cumsum(-1) - 1) / torch.arange(1, point.shape[-1] + 1, device=point.device)
    return (point - shifts.amax(-1, keepdim=True)).clamp(min=0)


def eigh(matrix: Tensor, graded: bool = False) -> tuple[Tensor, Tensor]:
    """Eigenvalues ``(..., K)`` in no order and eigenvectors ``(..., K, K)`` in columns, by Jacobi rotations.

    `torch.linalg.eigh` would do, but waits for the device.

    Source: Golub & Van Loan 2013, "Matrix computations", Section 8.5 (parallel ordering); Demmel & Veselić
    1992, "Jacobi's method is more accurate than QR".

    Args:
        matrix: ``(..., K, K)``.
        graded: whether each eigenvalue is to be exact relative to itself, not to the greatest: entries of
            any size are then rotated away. For D C D with a diagonal D and a C far from singular.
    """
    k = matrix.shape[-1]
    vectors = torch.eye(k, dtype=matrix.dtype, device=matrix.device).expand(matrix.shape)
    rounding = (0.0 if graded else torch.finfo(matrix.dtype).eps) * matrix.abs().amax((-2, -1))[..., None]
    for _ in range(1 if k == 2 else _SWEEPS):
        before = matrix
        for pairs in _rounds(k, matrix.device):
            partner = pairs.abs()
            diagonal = matrix.diagonal(dim1=-2, dim2=-1)
            twice = ((matrix + matrix.mT) * partner).sum(-1)
            difference = (times(partner, diagonal) - diagonal) * pairs.sum(-1)
            sign = torch.where(difference < 0, -1.0, 1.0)
            tangent = divide(twice * sign, difference.abs() + torch.hypot(difference, twice))
            tangent = torch.where(twice.abs() <= rounding, 0.0, tangent)
            cosine = (1 + tangent**2).rsqrt()
            rotation = torch.diag_embed(cosine) + (tangent * cosine)[..., None] * pairs
            matrix, vectors = rotation.mT @ matrix @ rotation, vectors @ rotation
        if k > 2 and _may_end(matrix) and torch.equal(matrix, before):
            break
    return matrix.diagonal(dim1=-2, dim2=-1), vectors


def _may_end(problems: Tensor) -> bool:
    """Whether asking them costs no wait."""
    return problems.device.type == "cpu"


def _on_range(matrix: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """`eigh`, with 0 for the eigenvalues that are rounding."""
    values, vectors = eigh(matrix)
    return torch.where(values > tolerance * values.amax(-1, keepdim=True), values, 0.0), vectors


def _exact(matrix: Tensor) -> float:
    """The eigenvalue, relative to the greatest, lost in the arithmetic on a matrix ``(..., K, K)``."""
    return 16 * matrix.shape[-1] * torch.finfo(matrix.dtype).eps


def _newton(factor: Tensor, z: Tensor, w: Tensor, residual: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
    """The steps with which Qz + q − w vanishes and z ∘ w moves by ``change``, to first order."""
    dz = torch.cholesky_solve((change / z - residual)[..., None], factor).squeeze(-1)
    return dz, (change - w * dz) / z


def _step(z: Tensor, w: Tensor, dz: Tensor, dw: Tensor) -> Tensor:
    """The longest step up to 1 that keeps z and w nonnegative, ``(..., 1)``."""
    shrinking = torch.cat([-dz / z, -dw / w], -1).amax(-1, keepdim=True)
    return 1 / shrinking.clamp(min=1)


@cache
def _rounds(k: int, device: torch.device) -> tuple[Tensor, ...]:
    """Every pair p < q once, in rounds of disjoint pairs: ``(K, K)`` each, +1 at (p, q) and −1 at (q, p)."""
    seats = list(range(k + k % 2))
    rounds = []
    for _ in range(len(seats) - 1):
        pairs = torch.zeros(k, k, dtype=torch.float64)
        for p, q in zip(seats[: len(seats) // 2], reversed(seats), strict=False):
            if max(p, q) < k:
                pairs[min(p, q), max(p, q)], pairs[max(p, q), min(p, q)] = 1, -1
        rounds.append(pairs.to(device))
        seats = [seats[0], seats[-1], *seats[1:-1]]
    return tuple(rounds)
