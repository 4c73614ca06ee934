"""The contract of a method that sees the Gram matrix of its rows alone, and maps it to coefficients."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

from . import passes
from .arithmetic import check_rho, divide, rounded
from .contract import EMA, BaseMethod, State
from .passes import working, write
from .solvers import times, tolerance


@dataclass(frozen=True)
class Method(BaseMethod):
    """How K gradients become one direction d = cᵀR, with coefficients c computed from G = R Rᵀ alone.

    The rows of R are the K gradients, main first, followed by the remembered rows that `memory` declares.
    Auxiliary gradients (and what is remembered of them) are scaled by ``lam`` before the method sees them,
    so that `coefficients` holds the method's own formula and nothing else.

    Subclasses set `name` and `coefficients`, `memory` where they remember gradients, and `start` where they
    remember anything else.

    Args:
        lam: trade-off λ, as for every method (`BaseMethod`).
        rescale: as for every method.
        length: as for every method.
        ema: coefficient ρ of an EMA of every gradient, which smooths what the method projects on (see
            `projects`); None for none.
        blocks: sizes of consecutive parts of the parameter vector, each with a Gram matrix and coefficients
            of its own; True where the caller is to fill in those of the model's parameters (`with_blocks`);
            None for the whole model at once.

    Raises:
        ValueError: as for every method, or ``ema`` lies outside (0, 1].
    """

    ema: float | None = None
    blocks: tuple[int, ...] | Literal[True] | None = None

    projects: ClassVar[Literal["sum", "main"] | None] = None
    """What the method corrects by projections; None for a method that weights the gradients.

    A projecting method with ``ema`` reads ⟨g_i, m_j⟩ for ``gram[i, j]`` and ‖m_j‖² for ``gram[j, j]``, and
    what it adds to or takes from gradient j beyond the sum (or beyond g_m), it adds to or takes from m_j:
    Bloop is ``bloop_no_ema`` so treated. A weighting method computes its weights from the EMAs' Gram matrix.
    """
    lam_last: ClassVar[bool] = False
    """Whether λ multiplies the auxiliary coefficients, and not the rows that they are computed from: for
    methods that a scale of the auxiliary gradient does not change."""
    lam_native: ClassVar[bool] = False
    """Whether the method's own formula takes λ (`preferences`): neither rows nor coefficients are scaled."""
    absolute: ClassVar[bool] = False
    """Whether ``gram`` comes undivided: for methods that compare the lengths of gradients over steps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.blocks, list):
            object.__setattr__(self, "blocks", tuple(self.blocks))
        if self.ema is not None:
            check_rho(self.ema, "ema")
            if self.memory(2):
                raise ValueError(f"{self.name} has an EMA of its own: set that instead of ema")

    def with_blocks(self, sizes: Sequence[int]) -> Self:
        """The method with these blocks where it was made with ``blocks=True``, else as it is."""
        return replace(self, blocks=tuple(sizes)) if self.blocks is True else self

    def memory(self, k: int) -> tuple[EMA, ...]:
        """The rows to remember for K objectives, in the order in which they follow the gradients in R."""
        return ()

    @abstractmethod
    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """Coefficients of the rows of R in the direction.

        Args:
            gram: ``(..., R, R)`` in float64, the inner products of the K gradients and the remembered rows,
                auxiliary rows scaled by λ, divided by their largest entry (unless `absolute`). What is
                decided by rank goes by `rounding(gram)`, that of the rows, and not by that of float64.
            state: a fresh dict; what is assigned to it is handed back at the next step.
            losses: ``(..., K)``, or None where the caller does not know them.

        Returns:
            ``(..., R)``. It must not change when all the gradients are scaled by one positive number.
        """

    def preferences(self, gram: Tensor) -> Tensor:
        """(1, λ) / (1 + Σ λ) ``(..., K)``: λ as weights of the objectives on the simplex.

        Args:
            gram: ``(..., K, K)``, as `coefficients` gets it.
        """
        lam = self._lam_per_auxiliary(gram, gram.shape[-1])
        weights = torch.cat([torch.ones_like(lam[..., :1]), lam], -1)
        return weights / weights.sum(-1, keepdim=True)

    def init(self, gradients: Tensor, seed: int | Tensor = 0) -> State:
        """The state before the first step: remembered rows start at the first gradient.

        Args:
            gradients: ``(..., K, P)``, main first.
            seed: as for every method (`BaseMethod.init`).

        Raises:
            ValueError: as for every method.
        """
        state = super().init(gradients, seed)
        if rows := self._memory(gradients.shape[-2]):
            state["memory"] = torch.stack([working(gradients[..., m.objective, :]) for m in rows], -2)
        return state

    def gram(self, gradients: Tensor, state: State) -> Tensor:
        """The inner products of the gradients and the remembered rows, unscaled: the first pass of `combine`.

        Args:
            gradients: ``(..., K, P)``, main first.
            state: what `init` or the last step returned.

        Returns:
            ``(..., R, R)`` in float64, with blocks ``(..., B, R, R)``. Where each process holds a part of the
            P parameters, its sum over the processes is the G of the whole.
        """
        self._check(gradients)
        grams = [passes.gram(rows) for rows in self._rows(gradients, state)]
        return torch.stack(grams, -3) if self._blocks else grams[0]

    def combine(
        self,
        gradients: Tensor,
        state: State,
        losses: Tensor | None = None,
        *,
        gram: Tensor | None = None,
        out: Tensor | None = None,
        rounding: float | None = None,
    ) -> tuple[Tensor, State]:
        """One step of surgery, in two passes over the rows: one reads them into G, one writes the results.

        `BaseMethod.combine` has the arguments.
        """
        self._check(gradients)
        self._check_losses(losses)
        k, next_state = gradients.shape[-2], dict(state)
        memory = self._memory(k)
        direction = torch.empty_like(gradients[..., 0, :]) if out is None else out
        if memory and out is None:
            next_state["memory"] = state["memory"].clone()
        parts = self._rows(gradients, next_state)
        whole = self.gram(gradients, next_state) if gram is None else gram
        eps = max(torch.finfo(gradients.dtype).eps, rounding or 0.0)
        coefficients = self._row_coefficients(whole, k, next_state, self._per_part(losses), eps)
        moves = [(k + row, ema.objective, ema.rho) for row, ema in enumerate(memory)]
        each = coefficients.unbind(-2) if self._blocks else (coefficients,)
        for part, rows_of_part, weights in zip(self._parts, parts, each, strict=True):
            write(weights, rows_of_part, direction[..., part] if self._blocks else direction, moves)
        return direction, next_state

    def loss_weights(self, state: State, losses: Tensor) -> tuple[Tensor, State]:
        """Where the method `weights_losses`: `BaseMethod.loss_weights` has the arguments."""
        k, next_state = losses.shape[-1], dict(state)
        unused = torch.eye(k, dtype=torch.float64, device=losses.device).expand(*losses.shape[:-1], k, k)
        eps = torch.finfo(losses.dtype).eps
        return self._row_coefficients(unused, k, next_state, self._valid(losses), eps), next_state

    @property
    def single_backward(self) -> bool:
        """Whether `loss_weights` gives the direction by one backward pass, for this method's settings."""
        return self.weights_losses and self.ema is None and not self.blocks and self.length is None

    @property
    def _blocks(self) -> tuple[int, ...]:
        return self.blocks if isinstance(self.blocks, tuple) else ()

    def _rows(self, gradients: Tensor, state: State) -> list[list[Tensor]]:
        """Views of the R rows, by block."""
        rows = list(gradients.unbind(-2))
        if self._memory(len(rows)):
            rows += state["memory"].unbind(-2)
        return [[row[..., part] for row in rows] for part in self._parts] if self._blocks else [rows]

    @property
    def _parts(self) -> list[slice]:
        """Where each block lies in the parameter vector."""
        if not self._blocks:
            return [slice(None)]
        ends = list(accumulate(self._blocks))
        return [slice(end - size, end) for size, end in zip(self._blocks, ends, strict=True)]

    def _per_part(self, losses: Tensor | None) -> Tensor | None:
        if losses is None:
            return None
        seen = self._valid(losses)
        return seen[..., None, :] if self._blocks else seen

    def _valid(self, losses: Tensor) -> Tensor:
        """In float64; NaN where the method is not defined for them."""
        exact = losses.double()
        return torch.where(exact > 0, exact, torch.nan) if self.positive_losses else exact

    def _memory(self, k: int) -> tuple[EMA, ...]:
        if self.ema is None:
            return self.memory(k)
        return tuple(EMA(objective, self.ema) for objective in range(k))

    def _row_coefficients(
        self, gram: Tensor, k: int, state: State, losses: Tensor | None, eps: float
    ) -> Tensor:
        memory = self._memory(k)
        lam = self._lam_per_auxiliary(gram, k)
        plain = torch.cat([torch.ones_like(lam[..., :1]), lam], -1)
        scale = torch.ones_like(plain) if self.lam_native else plain
        scale = torch.cat([scale, *(scale[..., m.objective, None] for m in memory)], -1)
        seen, stored = _seen_rows(memory, k, gram.device), gram
        gram = seen @ gram @ seen.mT
        if not self.lam_last:
            gram = scale[..., :, None] * gram * scale[..., None, :]
        coefficients = self._smoothed(gram, k, state, losses, eps)
        if self.positive_losses and losses is not None:
            coefficients = torch.where(losses.isnan().any(-1, keepdim=True), torch.nan, coefficients)
        if self.length == "sum":
            own = (scale * coefficients) @ seen
            coefficients = coefficients * _ratio_of_lengths(plain, own, rounded(stored, eps))
        if self.rescale:
            coefficients = coefficients / (1 + lam.sum(-1, keepdim=True))
        return (scale * coefficients) @ seen

    def _smoothed(self, gram: Tensor, k: int, state: State, losses: Tensor | None, eps: float) -> Tensor:
        if self.ema is None:
            return self.coefficients(self._normalised(gram, eps), state, losses)
        smooth = gram[..., k:, k:]
        if self.projects is None:
            weights = self.coefficients(self._normalised(smooth, eps), state, losses)
            return torch.cat([weights, torch.zeros_like(weights)], -1)
        diagonal = smooth.diagonal(dim1=-2, dim2=-1)
        mixed = torch.diagonal_scatter(gram[..., :k, k:], diagonal, dim1=-2, dim2=-1)
        kept = torch.ones_like(diagonal)
        if self.projects == "main":
            kept[..., 1:] = 0
        return torch.cat([kept, self.coefficients(self._normalised(mixed, eps), state, losses) - kept], -1)

    def _normalised(self, gram: Tensor, eps: float) -> Tensor:
        if not self.absolute:
            gram = divide(gram, gram.diagonal(dim1=-2, dim2=-1).amax(-1)[..., None, None])
        return rounded(gram, eps)

    def _lam_per_auxiliary(self, gram: Tensor, k: int) -> Tensor:
        lam = self._lams(gram.shape[: -3 if self._blocks else -2], k, gram)
        return lam[..., None, :].expand(*gram.shape[:-2], k - 1) if self._blocks else lam

    def _leading(self, gradients: Tensor) -> torch.Size:
        return torch.Size([*super()._leading(gradients), *([len(self._blocks)] if self._blocks else [])])

    def _check(self, gradients: Tensor) -> None:
        super()._check(gradients)
        if self.blocks is True:
            raise ValueError("blocks=True: call with_blocks(sizes of the model's parameters) first")
        if self._blocks and sum(self._blocks) != gradients.shape[-1]:
            raise ValueError(f"blocks add up to {sum(self._blocks)} parameters, got {gradients.shape[-1]}")


def _ratio_of_lengths(plain: Tensor, own: Tensor, gram: Tensor) -> Tensor:
    """‖plainᵀR‖ / ‖ownᵀR‖ ``(..., 1)``, and 0 where the latter is zero to the rounding of the rows.

    Args:
        plain: ``(..., K)``, of the gradients alone.
        own: ``(..., R)``.
        gram: ``(..., R, R)``, with the rounding of its rows.
    """
    diagonal, k = gram.diagonal(dim1=-2, dim2=-1), plain.shape[-1]
    longest = diagonal.amax(-1, keepdim=True)
    unit = divide(gram, longest[..., None])
    of_sum = _squared_length(plain, unit[..., :k, :k])
    of_own = _squared_length(own, unit)
    lost = tolerance(gram) * (own**2 * divide(diagonal, longest)).sum(-1, keepdim=True)
    return divide(of_sum, torch.where(of_own > lost, of_own, 0.0)).sqrt()


def _squared_length(coefficients: Tensor, gram: Tensor) -> Tensor:
    return (times(gram, coefficients) * coefficients).sum(-1, keepdim=True).clamp(min=0)


@cache
def _moved_rows(memory: tuple[EMA, ...], k: int, device: torch.device) -> Tensor:
    """``(M, R)``: the next value of each remembered row as a combination of the rows that are stored."""
    moved = torch.zeros(len(memory), k + len(memory), dtype=torch.float64)
    for row, ema in enumerate(memory):
        moved[row, k + row] = 1 - ema.rho
        moved[row, ema.objective] += ema.rho
    return moved.to(device)


@cache
def _seen_rows(memory: tuple[EMA, ...], k: int, device: torch.device) -> Tensor:
    """``(R, R)``: the rows that the method sees as combinations of the rows that are stored."""
    seen = torch.eye(k + len(memory), dtype=torch.float64, device=device)
    moved = _moved_rows(memory, k, device)
    for row, ema in enumerate(memory):
        if ema.order == "before":
            seen[k + row] = moved[row]
    return seen
