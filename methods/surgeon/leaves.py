"""Leaves of autograd's graph: whose they are, which of them a loss reaches, what runs at their gradients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.optim import Optimizer
from torch.utils.weak import WeakTensorKeyDictionary

from .distributed import check_alike, is_sharded, like
from .graph import walk
from .guard import Guard

Parameters = Optimizer | Iterable[Tensor] | Iterable[tuple[str, Tensor]] | Iterable[dict[str, Any]]


class Owned:
    """The parameters that a Surgeon was given: a list, or what the groups of an optimiser hold at present.

    Args:
        given: an optimiser, its ``param_groups``, parameters, or pairs of a name and a parameter.
        shared: those of them that a method works on; None for all.

    Raises:
        ValueError: ``given`` is none of these, or holds what is no leaf.
    """

    def __init__(self, given: Parameters, shared: Iterable[Tensor] | None) -> None:
        if isinstance(given, nn.Module | Tensor) or not (
            isinstance(given, Iterable) or hasattr(given, "param_groups")
        ):
            raise ValueError(
                f"Surgeon got a {type(given).__name__}: give it the optimiser, or model.parameters()"
            )
        self._optimizer = given if hasattr(given, "param_groups") else None
        self._items: Any = None
        if self._optimizer is None:
            groups = isinstance(given, list) and all(isinstance(each, dict) for each in given)
            # the list of an optimiser's groups is kept itself: it grows with add_param_group
            self._items = given if groups else list(given)  # type: ignore[arg-type]
        for parameter, _ in self._pairs():
            if not isinstance(parameter, Tensor) or not parameter.is_leaf:
                tensor = isinstance(parameter, Tensor)
                what = "a tensor that is no leaf" if tensor else f"a {type(parameter).__name__} among them"
                raise ValueError(f"Surgeon got {what}: give it the optimiser, or model.parameters()")
            if isinstance(parameter, nn.parameter.UninitializedParameter):
                raise ValueError("a parameter has no shape yet: run the model once before making the Surgeon")
        self._shared = shared_parameters(shared)

    def divided(self) -> tuple[list[Tensor], list[Tensor]]:
        """The parameters that require grad at present: those that a method works on, and the others."""
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        chosen = {id(p) for p in (trained if self._shared is None else self._shared)}
        return [p for p in trained if id(p) in chosen], [p for p in trained if id(p) not in chosen]

    def check(self, shared: Sequence[Tensor], heads: Sequence[Tensor]) -> None:
        """Refuse what `divided` returned where there can be no direction.

        Raises:
            ValueError: see `Surgeon`.
        """
        given = {id(parameter) for parameter in self.parameters()}
        if any(id(parameter) not in given for parameter in self._shared or ()):
            raise ValueError("a parameter of shared is not one of parameters: give the model's there")
        if not shared:
            raise ValueError("no parameter to work on: none (of shared) requires grad")
        every = [*shared, *heads]
        if any(parameter.is_complex() for parameter in every):
            raise ValueError("complex parameters have no direction: train torch.view_as_real of them")
        if len(devices := sorted({str(parameter.device) for parameter in every})) > 1:
            raise ValueError(f"the parameters lie on {', '.join(devices)}: a Surgeon works on one device")
        check_alike(every, self.describe)

    def parameters(self) -> list[Tensor]:
        """Each parameter once, frozen ones too."""
        return list({id(parameter): parameter for parameter, _ in self._pairs()}.values())

    def describe(self, parameter: Tensor) -> str:
        """Its name where the optimiser or the caller knows it, else its place and shape."""
        index = next(i for i, other in enumerate(self.parameters()) if other is parameter)
        name = next(name for other, name in self._pairs() if other is parameter)
        return f"parameter {name or index} of shape {tuple(parameter.shape)}"

    def _pairs(self) -> Iterator[tuple[Tensor, str | None]]:
        return _named(self._items if self._optimizer is None else self._optimizer.param_groups)


def shared_parameters(shared: Iterable[Any] | None) -> list[Tensor] | None:
    """The parameters that a method works on, as a Surgeon takes them; None for all.

    Raises:
        ValueError: a module, a tensor or a function is given in their place.
    """
    if shared is None:
        return None
    if isinstance(shared, nn.Module | Tensor) or not isinstance(shared, Iterable):
        raise ValueError(f"shared is a {type(shared).__name__}: give the parameters() of the shared part")
    return [parameter for parameter, _ in _named(shared)]


def _named(items: Iterable[Any]) -> Iterator[tuple[Tensor, str | None]]:
    """Parameters with their names where these are known, from groups, pairs or parameters."""
    for item in items:
        if isinstance(item, dict):
            own = item["params"] if isinstance(item["params"], list | tuple) else [item["params"]]
            names = item.get("param_names", [None] * len(own))
            yield from zip(own, names, strict=True)
        elif isinstance(item, tuple):
            yield item[1], item[0]
        else:
            yield item, None


class Others:
    """Leaves that a loss reaches and the Surgeon does not own: they get what ``backward()`` would give them.

    Args:
        owned: the parameters that the Surgeon owns.
        weights: K, of the losses in the sum that ``backward()`` would have been called on.
        sums: what their gradients are added to.
        guard: asked whether something may be added to their ``.grad``.
    """

    def __init__(self, owned: Sequence[Tensor], weights: Sequence[float], sums: Sums, guard: Guard) -> None:
        self._owned = {id(parameter) for parameter in owned}
        self._weights, self._sums, self._guard = weights, sums, guard
        self._found: dict[int, Tensor] = {}
        self.nodes: set[Node] = set()
        """The nodes of the graphs that were walked, and are to be passed again."""

    def find(self, loss: Tensor) -> list[Tensor]:
        """All that were found so far, after a walk of this loss's graph.

        Raises:
            RuntimeError: one of them waits for a step with the direction of another Surgeon.
        """
        new = [leaf for leaf in walk(loss, self.nodes) if id(leaf) not in self._owned]
        self._guard.check_beside(new)
        self._found |= {id(leaf): leaf for leaf in new}
        return list(self._found.values())

    def add(self, k: int, gradients: Sequence[Tensor | None]) -> None:
        """Add what loss k gives to the leaves that `find` returned."""
        for leaf, gradient in zip(self._found.values(), gradients, strict=True):
            if gradient is not None:
                self._sums.add(leaf, gradient * self._weights[k])


class Sums:
    """What a step has for leaves that the Surgeon does not own, until it is whole.

    It keeps no leaf alive that has no hooks: the inputs of a micro-batch are gone before the next one.
    """

    def __init__(self) -> None:
        self.clear()

    def __reduce__(self) -> tuple[type[Sums], tuple[()]]:
        return Sums, ()

    def clear(self) -> None:
        """Start a step."""
        self._sums: MutableMapping[Tensor, Tensor] = WeakTensorKeyDictionary()
        self._hooked: dict[int, Tensor] = {}

    def add(self, leaf: Tensor, gradient: Tensor) -> None:
        """Add to what a leaf will get."""
        before = self._sums.get(leaf)
        self._sums[leaf] = gradient.to(leaf.dtype) if before is None else before + gradient
        if leaf._backward_hooks or getattr(leaf, "_post_accumulate_grad_hooks", None):
            self._hooked[id(leaf)] = leaf

    @torch.no_grad()
    def deliver(self) -> None:
        """Add the sums to ``.grad``, and run the leaves' hooks."""
        sums = list(self._sums.items())
        self.clear()
        for leaf, gradient in sums:
            gradient = hooked(leaf, gradient)
            leaf.grad = gradient if leaf.grad is None else leaf.grad.add_(gradient)
            run_post_hooks(leaf)


@torch.no_grad()
def write(
    parameters: Sequence[Tensor],
    direction: Sequence[Tensor],
    reached: Sequence[bool],
    overflow: bool,
    guard: Guard,
) -> None:
    """Fill ``.grad``, in place where there is one, as ``backward()`` does; then run the leaves' hooks.

    Args:
        parameters: those that have a part in the direction.
        direction: by parameter.
        reached: whether a loss reached it.
        overflow: whether the direction is infinite, so that no step uses it.
        guard: told of what was written.
    """
    written = []
    for parameter, view, is_reached in zip(parameters, direction, reached, strict=True):
        if not is_reached:
            if parameter.grad is not None:
                parameter.grad.zero_()
            continue
        written.append(parameter)
        # .data: each gradient counts its own versions
        gradient = view.data if view.dtype == parameter.dtype else view.to(parameter.dtype)
        if is_sharded(parameter):
            gradient = like(gradient, parameter)
        if not overflow:
            gradient = hooked(parameter, gradient)
        if parameter.grad is None:
            parameter.grad = gradient
        else:
            parameter.grad.copy_(gradient)
    guard.wrote(written, free=overflow)
    if not overflow:
        for parameter in written:
            run_post_hooks(parameter)


def hooked(leaf: Tensor, gradient: Tensor) -> Tensor:
    """A gradient after the leaf's hooks (`Tensor.register_hook`)."""
    for hook in list((leaf._backward_hooks or {}).values()):
        changed = hook(gradient)
        gradient = gradient if changed is None else changed
    return gradient


def run_post_hooks(leaf: Tensor) -> None:
    """What was registered to run once ``.grad`` is there, such as an optimiser of this leaf alone."""
    hooks = getattr(leaf, "_post_accumulate_grad_hooks", None)
    for hook in list((hooks or {}).values()):
        hook(leaf)
