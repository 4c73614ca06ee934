"""What every method is: settings, a name, what it remembers, and one direction out of K gradients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, NamedTuple, Self, get_args

import torch
from torch import Tensor

from ...declared import check_types
from ...registry import Registry
from . import passes
from .arithmetic import seeds
from .parts import Parts, rows_by_part

State = dict[str, Tensor]
Order = Literal["after", "before"]
LamIs = Literal["trade-off", "length", "none", "bound"]
Length = Literal["own", "sum"]
Property = Literal["non_conflicting", "permutation_equivariant", "needs_losses"]


class EMA(NamedTuple):
    """A remembered row: the exponential moving average m ← (1 − rho) m + rho g of one objective's gradient.

    ``order`` says when it moves: ``"after"`` the direction has been computed from the past batches only,
    or ``"before"``, so that the direction already sees the current batch in it.
    """

    objective: int
    rho: float
    order: Order = "after"


@dataclass(frozen=True)
class BaseMethod(ABC):
    """How K gradients become one direction.

    A method derives from `Method`, which hands it the gradients' Gram matrix, or from `CoordinateMethod`,
    which hands it the gradients at every parameter. It is registered by being defined.

    Args:
        lam: trade-off λ ≥ 0 between main and auxiliary losses; a tensor of the leading shape ``(...)``, or
            ``(..., K - 1)`` for one value per auxiliary objective. Any number where it is a bound.
        rescale: multiply the direction by 1 / (1 + λ) (for several λ: by 1 / (1 + their sum)).
        length: ``"sum"`` scales the direction to the length of g_m + Σ λ_k g_k, within each block where
            there are blocks, and before ``rescale``; a direction of zero stays. ``"own"``, or None: as it is.

    Raises:
        ValueError: a setting is not of its type, ``lam`` is negative or not finite, or ``rescale`` is asked
            of a method to which λ is nothing or a bound.
    """

    lam: float | Tensor = 1.0
    rescale: bool = False
    length: Length | None = None

    name: ClassVar[str] = ""
    title: ClassVar[str] = ""
    """How legends call the method; empty for its name."""
    color: ClassVar[str] = ""
    """Its colour in figures, ``"#rrggbb"``; empty for one that follows from its name."""
    marker: ClassVar[str] = ""
    """Its marker in figures, one of matplotlib's; empty for one that follows from its colour or name."""
    lam_is: ClassVar[LamIs] = "trade-off"
    """What λ is to the method: a ``trade-off`` changes the angle of its direction, and moves it along the
    front; a ``length`` scales the direction and nothing else; where it is ``none``, λ counts as 1. A
    ``bound`` is that of a loss, in its unit (see `methods/constrained.py`): no gradient is scaled by it."""
    arbitrary_length: ClassVar[bool] = False
    """Whether the length of the direction is a convention, such as a mean where others have the sum: g_m does
    not enter with coefficient 1 where it is at a right angle to the others."""
    objectives: ClassVar[int | None] = None
    """The only number of objectives that the method is defined for; None for any."""
    random: ClassVar[bool] = False
    """Whether the method draws numbers: its state then has the step and the seed that `draw` needs."""
    weights_losses: ClassVar[bool] = False
    """Whether the direction is the gradient of a weighted sum of the losses whose weights depend on the
    losses and the state alone: of ``gram`` only the shape and type are read."""
    positive_losses: ClassVar[bool] = False
    """Whether the method is defined for positive losses only: the runner and `Surgeon` refuse others, and
    `combine` makes them a direction of NaN."""
    observes: ClassVar[bool] = False
    """Whether the method learns from the losses after the step (`observe`)."""
    compares_losses: ClassVar[bool] = False
    """Whether losses, and a bound on them, are compared with inner products of gradients: the direction then
    scales with the gradients where the losses and the bound are scaled by the square of that."""
    projects_auxiliary: ClassVar[bool] = False
    """Whether d = g_m + λ π(g_a; ·) for two objectives (see `shows_projection`)."""
    properties: ClassVar[frozenset[Property]] = frozenset()
    """Properties that the method promises and is tested for: ``non_conflicting`` (⟨d, g_i⟩ ≥ 0 for every i),
    ``permutation_equivariant`` (in the auxiliary objectives), ``needs_losses``."""

    def __post_init__(self) -> None:
        check_types(type(self), {field.name: getattr(self, field.name) for field in fields(self)})
        lam = torch.as_tensor(self.lam, dtype=torch.float64)
        least, told = (-torch.inf, "") if self.lam_is == "bound" else (0, " and at least 0")
        if not (torch.isfinite(lam) & (lam >= least)).all():
            raise ValueError(f"lam must be finite{told}, got {self.lam}")
        if self.length == "own":
            object.__setattr__(self, "length", None)
        if self.rescale and self.lam_is in ("none", "bound"):
            raise ValueError(f"{self.name} has no λ to rescale by: leave rescale out")

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "name" in cls.__dict__:
            if unknown := cls.properties - set(get_args(Property)):
                raise ValueError(f"method {cls.name!r} promises {', '.join(unknown)}, which no test knows")
            if cls.lam_is not in get_args(LamIs):
                raise ValueError(f"method {cls.name!r}: lam_is must be one of {', '.join(get_args(LamIs))}")
            REGISTRY.add(cls)

    @property
    def settings(self) -> dict[str, Any]:
        """What `methods.create` takes to make this method again: its name and settings, λ apart."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.init and f.name != "lam"}
        origin = REGISTRY.origin(self.name)
        return {"name": self.name, **({"origin": origin} if origin else {}), **own}

    @property
    def used_lam(self) -> float | Tensor:
        """The weight λ, or 1 where λ is nothing to the method, or a bound."""
        return 1.0 if self.lam_is in ("none", "bound") else self.lam

    def with_blocks(self, sizes: Sequence[int]) -> Self:
        """The method with these blocks where it was made with ``blocks=True``, else as it is."""
        return self

    def start(self, shape: torch.Size, k: int, device: torch.device) -> State:
        """What to remember beside gradients, at the first step; tensors of the leading ``shape``."""
        return {}

    def init(self, gradients: Tensor | Parts, seed: int | Tensor = 0) -> State:
        """The state before the first step.

        Args:
            gradients: ``(..., K, P)``, main first, or `Parts` of them.
            seed: of the numbers that the method draws; an integer, or a tensor of the leading shape ``(...)``
                with one for each entry. Methods that draw nothing do not look at it.

        Raises:
            ValueError: ``gradients`` has one objective, or another number than the method is defined for, or
                is not of floating-point numbers; or ``seed`` has another shape.
        """
        self._check(gradients)
        shape, device = self._leading(gradients), gradients.device
        state = self.start(shape, gradients.shape[-2], device)
        if self.random:
            state["step"] = torch.zeros(shape, dtype=torch.int64, device=device)
            state["seed"] = seeds(seed, gradients.shape[:-2], shape, device)
        return state

    def remembered(self, k: int) -> tuple[EMA, ...]:
        """The rows that are remembered of K gradients, in the order in which they follow these in G."""
        return ()

    def gram(self, gradients: Tensor | Parts, state: State) -> Tensor:
        """The inner products of the gradients ``(..., K, P)``: ``(..., K, K)`` in float64."""
        self._check(gradients)
        return passes.gram_of_parts(rows_by_part(gradients, None), range(gradients.shape[-2]))

    @abstractmethod
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
        """One step of surgery.

        Args:
            gradients: ``(..., K, P)``, main first, or `Parts` of them.
            state: what `init` or the last call returned; left untouched, unless ``out`` is given.
            losses: ``(..., K)`` or None.
            gram: what `gram` returned for these gradients and this state, if it is known already.
            out: ``(..., P)`` to write the direction into; the remembered rows of ``state`` are then moved in
                place, so that nothing of their length is allocated. It may be the main gradient itself,
                ``gradients[..., 0, :]``, which is lost then.
            rounding: the relative rounding of the gradients, where it is more than their dtype's: that of
                bfloat16 for what was computed in it and is kept in float32.

        Returns:
            the direction ``(..., P)`` in the gradients' dtype, and the next state. Where gradients or
            losses are not finite, neither is, then or later: skip the step, and go on with the state before.

        Raises:
            ValueError: as `init`, ``lam`` does not fit ``gradients``, or the method needs losses and got
                none, or more or fewer than gradients.
        """

    def observe(self, state: State, losses: Tensor) -> State:
        """Learn from the losses ``(..., K)`` of this batch after the step, where the method `observes`."""
        return state

    @property
    def streams(self) -> bool:
        """Whether the direction can be formed while gradients arrive, for this method's settings."""
        return False

    @property
    def shows_projection(self) -> bool:
        """Whether d tells how much of g_a is projected out, for this method's settings."""
        return self.projects_auxiliary and self.length is None

    @property
    def single_backward(self) -> bool:
        """Whether one backward pass gives the direction, for this method's settings."""
        return False

    def loss_weights(self, state: State, losses: Tensor) -> tuple[Tensor, State]:
        """Weights of the losses whose weighted sum has the direction as its gradient.

        Only where `single_backward`.

        Args:
            state: what `init` or the last step returned.
            losses: ``(..., K)``.

        Returns:
            ``(..., K)`` in float64, and the next state.
        """
        raise TypeError(f"{self.name} does not weigh losses")

    def _leading(self, gradients: Tensor | Parts) -> torch.Size:
        """The leading shape of what the method remembers."""
        return gradients.shape[:-2]

    def _lams(self, leading: torch.Size, k: int, like: Tensor, given: float | Tensor | None = None) -> Tensor:
        """λ, or what is given in its place, of each auxiliary objective: ``(..., K - 1)`` for ``(...)``."""
        used = self.used_lam if given is None else given
        lam = used.to(like) if isinstance(used, Tensor) else like.new_full((), used)
        if lam.dim() < len(leading) + 1 or lam.shape[-1] != k - 1:
            lam = lam[..., None]
        try:
            return lam.expand(*leading, k - 1)
        except RuntimeError:
            fitting, shape = f"{tuple(leading)} or {(*leading, k - 1)}", tuple(torch.as_tensor(used).shape)
            raise ValueError(f"lam must have the shape {fitting}, got {shape}") from None

    def _check(self, gradients: Tensor | Parts) -> None:
        if not gradients.dtype.is_floating_point:
            raise ValueError(f"gradients must be of real floating-point numbers, got {gradients.dtype}")
        if len(gradients.shape) < 2:
            raise ValueError(f"gradients must be (..., K, P), got the shape {tuple(gradients.shape)}")
        if (k := gradients.shape[-2]) < 2:
            raise ValueError(f"give a main gradient and at least one auxiliary gradient, got {k}")
        if self.objectives is not None and k != self.objectives:
            raise ValueError(f"{self.name} is defined for {self.objectives} objectives, got {k} gradients")
        if 0 in gradients.shape[:-2]:
            raise ValueError(f"there is no entry in a batch of gradients of shape {tuple(gradients.shape)}")
        if isinstance(gradients, Tensor) and gradients.requires_grad and torch.is_grad_enabled():
            raise ValueError("gradients must not require grad, as a direction has none: detach them")

    def _check_losses(self, losses: Tensor | None, shape: torch.Size) -> None:
        """Refuse losses that are neither of the ``shape`` ``(..., K)`` nor ``(K,)``."""
        if losses is None and "needs_losses" in self.properties:
            raise ValueError(f"{self.name} needs the losses: combine(gradients, state, losses)")
        if losses is not None and losses.shape not in (shape, shape[-1:]):
            raise ValueError(f"losses must be {tuple(shape)}, one per gradient, got {tuple(losses.shape)}")


REGISTRY: Registry[BaseMethod] = Registry("method", "methods")
