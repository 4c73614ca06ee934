"""``scalpel new``: commented templates of a method and of a task."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from ...registry import catalogue
from ..messages import UserError

_METHOD = '''"""{title}: one line that says what it does."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from scalpel_bench.methods import Method, State, divide


@dataclass(frozen=True)
class {cls}(Method):
    """d = g_m + λ g_a − max(0, ⟨g_m, λ g_a⟩) / ‖g_m‖² · g_m (an example: put your formula here).

    Source: who, when, arXiv id, equation.
    """

    # Further settings are fields with defaults, checked in __post_init__:
    # strength: float = 1.0

    name: ClassVar[str] = "{name}"
    objectives: ClassVar[int | None] = 2  # None if it works for any number
    # If scaling g_a by λ first turns no direction, as where the formula normalises it, weight the result:
    # lam_last: ClassVar[bool] = True

    # To remember gradients, override `memory`; anything else, override `start` and assign to `state`.

    def coefficients(self, gram: Tensor, state: State, losses: Tensor | None) -> Tensor:
        """``(..., K)``: one coefficient per gradient, main first.

        ``gram`` is ``(..., K, K)``: gram[..., 0, 1] is ⟨g_m, λ g_a⟩. Stay on tensors (torch.where, divide).
        """
        agreement = gram[..., 0, 1].clamp(min=0)
        main = 1 - divide(agreement, gram[..., 0, 0])
        return torch.stack([main, torch.ones_like(main)], -1)
'''

_TASK = '''"""{title}: one line that says what is trained on what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn

from scalpel_bench.tasks import Batch, Data, Model, Task
from scalpel_bench.tasks.data import epochs, full_batches


@dataclass
class {cls}(Task):
    """Main: squared error of one quantity. Auxiliary: that of another, from the same network (an example).

    Source: who, when.
    """

    # Settings are fields with defaults; every run records them.
    batch_size: int = 32
    width: int = 1  # too narrow for both quantities, so that the losses conflict

    name: ClassVar[str] = "{name}"
    shared_forward: ClassVar[bool] = True  # both losses come from one forward pass; False if each has its own

    @cached_property
    def dataset(self) -> Data:
        """The tensors of each split; real tasks load them through `tasks.data` from `self.data`."""
        generator = torch.Generator().manual_seed(0)
        truth = 0.3 * torch.randn(8, 2, generator=generator)
        truth[:, 1] = 0.7 * (truth[:, 0] + truth[:, 1])
        splits = {{}}
        for split, size in (("train", 256), ("validation", 128), ("test", 128)):
            x = torch.randn(size, 8, generator=generator)
            noise = 0.1 * torch.randn(size, 2, generator=generator)
            splits[split] = {{"x": x, "y": torch.sin(x @ truth) + noise}}
        return Data("embedded", "synthetic", splits).to(self.device)

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in the training split."""
        return full_batches(len(self.dataset.splits["train"]["y"]), self.batch_size)

    def build(self) -> nn.Module:
        """The network, initialised from the global generator, which the runner seeds."""
        return nn.Sequential(nn.Linear(8, self.width), nn.Tanh(), nn.Linear(self.width, 2))

    def losses(self, model: Model, batch: Batch) -> Iterator[Tensor]:
        """Main first, one at a time."""
        main, aux = (model(batch["x"]) - batch["y"]).square().mean(0)
        yield main
        yield aux

    def batches(self, generator: torch.Generator) -> Iterator[Batch]:
        """Shuffled batches without end."""
        return epochs(self.dataset.splits["train"], self.batch_size, generator)

    def evaluate(self, model: Model, split: str) -> dict[str, float]:
        """Both losses over a whole split; further metrics may follow."""
        main, aux = self.losses(model, self.dataset.splits[split])
        return {{"main": main.item(), "aux": aux.item()}}
'''

_TEST = '''"""The contract of {name}, and its formula."""

from pathlib import Path

import pytest

from scalpel_bench.benchmarks.contract import {kind}_rules

NAME = f"{{Path(__file__).with_name('{name}.py')}}:{cls}"


@pytest.mark.parametrize("rule", {kind}_rules())
def test_contract(rule: str) -> None:
    {kind}_rules()[rule](NAME)
'''


def new(kind: str, name: str, folder: Path) -> list[str]:
    """Write a template and its test; returns lines that say what was written and what to do next.

    Inside the repository the file goes to ``methods/`` or ``tasks/``, whose tests find it by themselves.

    Raises:
        UserError: the name is taken or no name, or a file is in the way.
    """
    if not re.fullmatch("[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise UserError(f"{name!r} is no name for a {kind}: use lower-case letters, digits and underscores")
    if known := catalogue(f"{kind}s").get(name):
        raise UserError(f"there is a {kind} {name!r} already: {known.place}")
    cls = "".join(part.capitalize() for part in name.split("_"))
    fields = {"name": name, "cls": cls, "kind": kind, "title": name.replace("_", " ").capitalize()}
    template = (_METHOD if kind == "method" else _TASK).format(**fields)
    if re.search(rf"^from .* import .*\b{cls}\b", template, re.MULTILINE):
        raise UserError(f"{name!r}: its class would be {cls}, which the file imports; choose another name")
    inside = (folder / "src" / "scalpel_bench" / "registry.py").exists()
    target = (folder / f"{kind}s" if inside else folder) / f"{name}.py"
    files = {target: template}
    if not inside:
        files[folder / f"test_{name}.py"] = _TEST.format(**fields)
    for path in files:
        if path.exists():
            raise UserError(f"{path} exists already")
    for path, text in files.items():
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror}") from error
    called = name if inside else f"{target}:{cls}"
    lines = [f"wrote {path}" for path in files] + [f"scalpel check {called}"]
    if kind == "method":
        lines.append(f"scalpel sweep fig3a --scale smoke --methods sum,{called}")
    else:
        lines.append(f"scalpel new experiment {called}")
    if not inside:
        lines.append(f"python -m pytest {folder / f'test_{name}.py'}")
    return lines
