"""Remembered rows as combinations of the rows that are stored: before or after they move."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from .contract import EMA


class Layout(NamedTuple):
    """Of K gradients: the rows to remember, how they move (`passes.write`), and the rows to compare."""

    memory: tuple[EMA, ...]
    moves: list[tuple[int, int, float]]
    compared: range


@cache
def _moved_rows(memory: tuple[EMA, ...], k: int, device: torch.device) -> Tensor:
    """``(M, R)``: the next value of each remembered row as a combination of the rows that are stored."""
    moved = torch.zeros(len(memory), k + len(memory), dtype=torch.float64)
    for row, ema in enumerate(memory):
        moved[row, k + row] = 1 - ema.rho
        moved[row, ema.objective] += ema.rho
    return moved.to(device)


@cache
def seen_rows(memory: tuple[EMA, ...], k: int, device: torch.device) -> Tensor | None:
    """``(R, R)``: the rows that the method sees as combinations of those stored; None if the same."""
    if all(ema.order == "after" for ema in memory):
        return None
    seen = torch.eye(k + len(memory), dtype=torch.float64, device=device)
    moved = _moved_rows(memory, k, device)
    for row, ema in enumerate(memory):
        if ema.order == "before":
            seen[k + row] = moved[row]
    return seen
