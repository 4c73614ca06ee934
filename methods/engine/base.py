"""The contract of a method that sees the Gram matrix of its rows alone, and maps it to coefficients."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

from . import passes
from .arithmetic import check_rho, normalised, rounded
from .contract import EMA, BaseMethod, State
from .ema_rows import Layout, seen_rows
from .lengths import ratio_of_lengths
from .parts import Parts, by_block, cut, row_of, rows_by_block, rows_by_part, sizes_of
from .passes import working


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
            `projects`), for two objectives where the method projects; None for none.
        weights_ema: coefficient ρ of an EMA of the coefficients themselves, c ← (1 − ρ) c + ρ c_new, from the
            first ones on; None for none. Zhou et al. 2022, NeurIPS, CR-MOGM, with 1 − α for ρ.
        blocks: sizes of consecutive parts of the parameter vector, each with a Gram matrix and coefficients
            of its own, and the same random numbers; True where the caller is to fill in those of the model's
            parameters (`with_blocks`); None for the whole model at once.

    Raises:
        ValueError: as for every method, ``ema`` or ``weights_ema`` lies outside (0, 1], or of ``blocks``
            there is none or one is negative.
    """

    ema: float | None = None
    weights_ema: float | None = None
    blocks: tuple[int, ...] | Literal[True] | None = None

    projects: ClassVar[Literal["sum", "main"] | None] = None
    """What the method corrects by projections; None for a method that weights the gradients.

    A projecting method with ``ema`` reads ⟨g_i, m_j⟩ for ``gram[i, j]`` and ‖m_j‖² for ``gram[j, j]``, and
    what it adds to or takes from gradient j beyond the sum (or beyond g_m), it adds to or takes from m_j:
    Bloop is ``bloop_no_ema`` with an EMA. Of more than two gradients, projections meet in ⟨m_i, m_j⟩, which
    no entry of ``gram`` would be: this is refused. A weighting method computes its weights from the EMAs'
    Gram matrix.
    """
    lam_last: ClassVar[bool] = False
    """Whether λ multiplies the auxiliary coefficients, and not the rows that they are computed from: for
    methods that a scale of the auxiliary gradient does not change."""
    fixed_gradients: ClassVar[bool] = False
    """Whether, without ``ema`` and ``blocks``, the coefficients of the K gradients are constants, and those
    of remembered rows follow from the rows' products with each other and with the gradients after their own.
    For a row that moves ``"after"`` the direction, products of gradients after its own alone count. No row is
    of the last gradient, and all move in the same order."""
    lam_native: ClassVar[bool] = False
    """Whether the method's own formula takes λ (`preferences`): neither rows nor coefficients are scaled."""
    absolute: ClassVar[bool] = False
    """Whether ``gram`` comes undivided: for methods that compare the lengths of gradients over steps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.blocks, list):
            object.__setattr__(self, "blocks", tuple(self.blocks))
        if isinstance(self.blocks, tuple) and (not self.blocks or min(self.blocks) < 0):
            raise ValueError(f"blocks must be one size or more, none negative, got {self.blocks}")
        for name in ("ema", "weights_ema"):
            if (rho := getattr(self, name)) is not None:
                check_rho(rho, name)
        if self.ema is not None and self.memory(2):
            raise ValueError(f"{self.name} has an EMA of its own: set that instead of ema")

    def with_blocks(self, sizes: Sequence[int]) -> Self:
        """The method with these blocks where it was made with ``blocks=True``, else as it is."""
        return replace(self, blocks=tuple(sizes)) if self.blocks is True else self

    def memory(self, k: int) -> tuple[EMA, ...]:
        """The rows to remember for K objectives, in the order in which they follow the gradients in R."""
        return ()

    def remembered(self, k: int) -> tuple[EMA, ...]:
        """Those of `memory`, or an EMA of every gradient where ``ema`` is set."""
        return self._of(k).memory

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

    def compared(self, k: int) -> range:
        """The rows of R whose inner products `coefficients` reads; in `combine` the others are not taken.

        What `coefficients` gets for the others is NaN, unless the caller of `combine` gives it G.
        """
        return range(0 if self.weights_losses and self.ema is None else k + len(self.remembered(k)))

    def preferences(self, gram: Tensor) -> Tensor:
        """(1, λ) / (1 + Σ λ) ``(..., K)``: λ as weights of the objectives on the simplex.

        Args:
            gram: ``(..., K, K)``, as `coefficients` gets it.
        """
        lam = self._lam_per_auxiliary(gram, gram.shape[-1])
        weights = torch.cat([torch.ones_like(lam[..., :1]), lam], -1)
        return weights / weights.sum(-1, keepdim=True)

    def init(self, gradients: Tensor | Parts, seed: int | Tensor = 0) -> State:
        """The state before the first step: remembered rows start at the first gradient.

        Args:
            gradients: ``(..., K, P)``, main first.
            seed: as for every method (`BaseMethod.init`).

        Raises:
            ValueError: as for every method.
        """
        state = super().init(gradients, seed)
        if rows := self.remembered(gradients.shape[-2]):
            state["memory"] = torch.stack([working(row_of(gradients, m.objective)) for m in rows], -2)
        if self.weights_ema is not None:
            shape = (*self._leading(gradients), gradients.shape[-2] + len(rows))
            state["weights_ema"] = torch.full(shape, torch.nan, dtype=torch.float64, device=gradients.device)
        return state

    def gram(self, gradients: Tensor | Parts, state: State) -> Tensor:
        """The inner products of the gradients and the remembered rows, unscaled: the first pass of `combine`.

        Args:
            gradients: ``(..., K, P)``, main first.
            state: what `init` or the last step returned.

        Returns:
            ``(..., R, R)`` in float64, with blocks ``(..., B, R, R)``. Where each process holds a part of the
            P parameters, its sum over the processes is the G of the whole.
        """
        self._check(gradients)
        k = gradients.shape[-2]
        return self._gram(self._rows(gradients, state), range(k + len(self.remembered(k))))

    def combine(
        self,
        gradients: Tensor | Parts,
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
        self._check_losses(losses, gradients.shape[:-1])
        k, next_state = gradients.shape[-2], dict(state)
        direction = torch.empty_like(row_of(gradients, 0)) if out is None else out
        if self._of(k).memory and out is None:
            next_state["memory"] = state["memory"].clone()
        blocks = self._rows(gradients, next_state)
        whole = self._gram(blocks, self._of(k).compared) if gram is None else gram
        eps = max(torch.finfo(gradients.dtype).eps, rounding or 0.0)
        coefficients = self._row_coefficients(whole, k, next_state, self._per_part(losses), eps)
        each = coefficients.unbind(-2) if self._blocks else (coefficients,)
        written = by_block(cut(direction, sizes_of(gradients)), self._blocks)
        for rows, into, weights in zip(blocks, written, each, strict=True):
            passes.write_parts(weights, rows, into, self._of(k).moves)
        return direction, next_state

    def loss_weights(self, state: State, losses: Tensor) -> tuple[Tensor, State]:
        """Where the method `weights_losses`: `BaseMethod.loss_weights` has the arguments."""
        k, next_state = losses.shape[-1], dict(state)
        unused = torch.eye(k, dtype=torch.float64, device=losses.device).expand(*losses.shape[:-1], k, k)
        eps = torch.finfo(losses.dtype).eps
        return self._row_coefficients(unused, k, next_state, self._valid(losses), eps), next_state

    @property
    def streams(self) -> bool:
        """Whether the direction can be formed while gradients arrive, for this method's settings."""
        plain = self.ema is None and self.weights_ema is None and not self.blocks
        return self.fixed_gradients and plain and self.length is None

    @property
    def single_backward(self) -> bool:
        """Whether `loss_weights` gives the direction by one backward pass, for this method's settings."""
        return self.weights_losses and self.ema is None and not self.blocks and self.length is None

    @property
    def _blocks(self) -> tuple[int, ...]:
        return self.blocks if isinstance(self.blocks, tuple) else ()

    def _rows(self, gradients: Tensor | Parts, state: State) -> list[list[list[Tensor]]]:
        """Views of the R rows, by block and part."""
        memory = state["memory"] if self.remembered(gradients.shape[-2]) else None
        return rows_by_block(rows_by_part(gradients, memory), self._blocks)

    def _gram(self, blocks: list[list[list[Tensor]]], chosen: range) -> Tensor:
        """G, but NaN where a row is not chosen."""
        grams = [passes.gram_of_parts(parts, chosen) for parts in blocks]
        return torch.stack(grams, -3) if self._blocks else grams[0]

    def _per_part(self, losses: Tensor | None) -> Tensor | None:
        seen = None if losses is None else self._valid(losses)
        return seen if seen is None or not self._blocks else seen[..., None, :]

    def _valid(self, losses: Tensor) -> Tensor:
        """In float64; NaN where the method is not defined for them."""
        exact = losses.double()
        return torch.where(exact > 0, exact, torch.nan) if self.positive_losses else exact

    def _of(self, k: int) -> Layout:
        """What follows from the method and K alone."""
        if k not in self._layouts:
            memory = self.memory(k) if self.ema is None else tuple(EMA(i, self.ema) for i in range(k))
            moves = [(k + row, ema.objective, ema.rho) for row, ema in enumerate(memory)]
            self._layouts[k] = Layout(memory, moves, range(k + len(memory)))
            if self.length != "sum":
                self._layouts[k] = self._layouts[k]._replace(compared=self.compared(k))
        return self._layouts[k]

    @cached_property
    def _layouts(self) -> dict[int, Layout]:
        return {}

    def _row_coefficients(
        self, gram: Tensor, k: int, state: State, losses: Tensor | None, eps: float
    ) -> Tensor:
        seen = seen_rows(self.remembered(k), k, gram.device)
        if seen is None:
            return self._seen_coefficients(gram, k, state, losses, eps)
        return self._seen_coefficients(seen @ gram @ seen.mT, k, state, losses, eps) @ seen

    def seen_coefficients(self, gram: Tensor, k: int, rounding: float) -> Tensor:
        """Where the method `streams`: the coefficients of the rows as the method sees them.

        Args:
            gram: ``(R, R)`` in float64, of those rows, unscaled; entries that a coefficient does not depend
                on may hold anything finite.
            k: K.
            rounding: the relative rounding of the rows.

        Returns:
            ``(R,)`` in float64.
        """
        return self._seen_coefficients(gram, k, {}, None, rounding)

    def _seen_coefficients(
        self, gram: Tensor, k: int, state: State, losses: Tensor | None, eps: float
    ) -> Tensor:
        scale, both = self._scales(gram, k)
        scaled = gram if self.lam_last else gram * both
        coefficients = self._averaged(self._smoothed(scaled, k, state, losses, eps), state)
        if self.positive_losses and losses is not None:
            coefficients = torch.where(losses.isnan().any(-1, keepdim=True), torch.nan, coefficients)
        coefficients = coefficients * scale
        if coefficients.shape != gram.shape[:-1]:
            coefficients = coefficients.expand(gram.shape[:-1])
        if self.length == "sum":
            lam = self._lam_per_auxiliary(gram, k)
            plain = torch.cat([torch.ones_like(lam[..., :1]), lam], -1)
            coefficients = coefficients * ratio_of_lengths(plain, coefficients, rounded(gram, eps))
        if self.rescale:
            coefficients = coefficients / (1 + self._lam_per_auxiliary(gram, k).sum(-1, keepdim=True))
        return coefficients

    def _scales(self, gram: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """What λ multiplies each row by ``(..., R)``, and each entry of G; kept where λ is a number."""
        key = (k, gram.device)
        if isinstance(self.lam, Tensor) or key not in self._kept_scales:
            lam = self._lam_per_auxiliary(gram, k)
            if not isinstance(self.lam, Tensor):
                lam = lam[(0,) * (lam.dim() - 1)]
            scale = torch.cat([torch.ones_like(lam[..., :1]), lam], -1)
            scale = torch.ones_like(scale) if self.lam_native else scale
            scale = torch.cat([scale, *(scale[..., m.objective, None] for m in self.remembered(k))], -1)
            scales = scale, scale[..., :, None] * scale[..., None, :]
            if isinstance(self.lam, Tensor):
                return scales
            self._kept_scales[key] = scales
        return self._kept_scales[key]

    @cached_property
    def _kept_scales(self) -> dict[tuple[int, torch.device], tuple[Tensor, Tensor]]:
        return {}

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

    def _averaged(self, coefficients: Tensor, state: State) -> Tensor:
        """Their EMA, where there is one; it starts at the first ones, and anew after any of NaN."""
        if self.weights_ema is None:
            return coefficients
        past = torch.where(state["weights_ema"].isnan(), coefficients, state["weights_ema"])
        state["weights_ema"] = (1 - self.weights_ema) * past + self.weights_ema * coefficients
        return state["weights_ema"]

    def _normalised(self, gram: Tensor, eps: float) -> Tensor:
        return rounded(gram if self.absolute else normalised(gram), eps)

    def _lam_per_auxiliary(self, gram: Tensor, k: int) -> Tensor:
        lam = self._lams(gram.shape[: -3 if self._blocks else -2], k, gram)
        return lam[..., None, :].expand(*gram.shape[:-2], k - 1) if self._blocks else lam

    def _leading(self, gradients: Tensor | Parts) -> torch.Size:
        return torch.Size([*super()._leading(gradients), *([len(self._blocks)] if self._blocks else [])])

    def _check(self, gradients: Tensor | Parts) -> None:
        super()._check(gradients)
        if self.ema is not None and self.projects and (k := gradients.shape[-2]) != 2:
            raise ValueError(f"{self.name} with ema is defined for 2 objectives, got {k} gradients")
        if self.blocks is True:
            raise ValueError("blocks=True: call with_blocks(sizes of the model's parameters) first")
        if self._blocks and sum(self._blocks) != gradients.shape[-1]:
            raise ValueError(f"blocks add up to {sum(self._blocks)} parameters, got {gradients.shape[-1]}")
