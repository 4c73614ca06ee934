"""The contract of a task: what is trained, on what, and how it is measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ...registry import Registry
from ..data import Data

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Model:
    """A network as tasks see it: callable, its parameters and buffers plain tensors.

    The parameters may be views of one flat vector, or belong to one of several models that train side by
    side; the module only says how they are used. Buffers may be written in place, as batch norm does.
    """

    module: nn.Module
    parameters: dict[str, Tensor]
    buffers: dict[str, Tensor]
    call: Callable[..., Any] = torch.func.functional_call

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The module's forward pass with these parameters and buffers."""
        return self.call(self.module, {**self.parameters, **self.buffers}, args, kwargs)


class Known(NamedTuple):
    """A loss whose gradient has a closed form, so that it needs no backward pass.

    ``gradient`` maps names of parameters to tensors of their shape; those of other parameters are zero.
    """

    value: Tensor
    gradient: dict[str, Tensor]


Loss = Tensor | Known


@dataclass
class Task(ABC):
    """A model, its data, its losses (main first) and its metrics.

    Subclasses are dataclasses; every field is a setting that a run records, except these two:

    Args:
        data: where data comes from: ``"embedded"``, ``"hub"``, or a folder in the hub's layout.
        device: where the data lies and the model runs.
    """

    data: str = "embedded"
    device: str = "cpu"

    name: ClassVar[str] = ""
    metrics: ClassVar[tuple[str, ...]] = ()
    """Metrics beside the losses that claims may be about, positive and better where they are less."""
    nonpositive: ClassVar[frozenset[str]] = frozenset()
    """Objectives whose loss may be 0 or less in training, for which some methods are not defined."""
    shared_forward: ClassVar[bool] = False
    """Whether the losses share a forward pass, so that its graph must outlive the first gradient."""
    pretrained: ClassVar[bool] = False
    """Whether the model was trained before: the data's fingerprint is then of its first weights, too."""

    @property
    def objectives(self) -> tuple[str, ...]:
        """The names of the losses, ``main`` first; of more than two, `evaluate` has their sum as ``aux``."""
        return ("main", "aux")

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "name" in cls.__dict__:
            REGISTRY.add(cls)

    def check_at_least(self, least: int, *settings: str) -> None:
        """Refuse settings below ``least``; a setting of None is off, and passes.

        Raises:
            ValueError: a setting is below ``least``.
        """
        for setting in settings:
            value = getattr(self, setting)
            if value is not None and value < least:
                raise ValueError(f"{setting} must be at least {least}, got {value}")

    def check_widths(self, setting: str) -> None:
        """Make a tuple of the widths of layers, of which there is at least one.

        Raises:
            ValueError: there is none, or one is below 1.
        """
        widths = tuple(getattr(self, setting))
        if not widths or min(widths) < 1:
            raise ValueError(f"{setting} must be widths of at least 1, got {list(widths)}")
        setattr(self, setting, widths)

    def check_share(self, setting: str) -> None:
        """Refuse a share that leaves nothing of the whole.

        Raises:
            ValueError: it is not in [0, 1).
        """
        if not 0 <= (value := getattr(self, setting)) < 1:
            raise ValueError(f"{setting} must lie in [0, 1), got {value}")

    @property
    def settings(self) -> dict[str, Any]:
        """What `tasks.create` takes to make this task again, except the data's source and the device."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("data", "device")}
        origin = REGISTRY.origin(self.name)
        return {"name": self.name, **({"origin": origin} if origin else {}), **own}

    @property
    @abstractmethod
    def dataset(self) -> Data:
        """The data, loaded on first use.

        Raises:
            DataError: it is missing or not what the task needs.
        """

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have data, out of train, validation and test."""
        return tuple(self.dataset.splits)

    @property
    @abstractmethod
    def steps_per_epoch(self) -> int:
        """How many batches make one pass over the training data of the main loss."""

    @abstractmethod
    def build(self) -> nn.Module:
        """A new network on the CPU, initialised from the global generator."""

    @abstractmethod
    def losses(self, model: Model, batch: Batch) -> Iterator[Loss]:
        """The scalar loss of each objective, one at a time, main first; `Known` where it needs no backward.

        A loss is yielded before the next is computed, so that its graph can be freed in between.
        """

    @abstractmethod
    def batches(self, generator: torch.Generator) -> Iterator[Batch]:
        """Batches without end, in an order that only ``generator`` decides."""

    def samples(self, count: int) -> list[tuple[Tensor, str]]:
        """Training examples to look at, ``(H, W, 3)`` uint8, each with what it shows; none by default."""
        return []

    @abstractmethod
    def evaluate(self, model: Model, split: str) -> dict[str, float]:
        """Every objective under its name, and the task's further metrics, over a split, or a part of it."""

    def final(self, model: Model, split: str) -> dict[str, float]:
        """Metrics that take too long to compute at every evaluation: only at the end of a run."""
        return {}


REGISTRY: Registry[Task] = Registry("task", "tasks")
