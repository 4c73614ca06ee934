"""What λ is to a method, and to the training that it takes part in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ... import methods
from .settings import Training


def check_lam(label: str, settings: Mapping[str, Any], training: Training) -> None:
    """Refuse trainings that move a λ that is no weight, or take the bound of one method for another's λ.

    Raises:
        ValueError: they do.
    """
    name, reference = settings["name"], training.step_of or settings
    here = {name, reference["name"]} & set(methods.available())
    lam_is = {used: methods.get(used).lam_is for used in here}
    own, other = ((lam_is.get(of["name"]), of.get("bounded")) for of in (settings, reference))
    if training.lam_schedule and own[0] in ("none", "bound"):
        what = "a bound" if own[0] == "bound" else "nothing"
        raise ValueError(f"methods: {label}: λ is {what} to {name}: leave lam_schedule out")
    if own != other and "bound" in (own[0], other[0]):
        raise ValueError(f"methods: {label}: λ is not the same to {name} and {reference['name']}: no step_of")
