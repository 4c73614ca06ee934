"""Settings of another type than their field's, or out of range, are refused when a task is made."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Any, Literal

import pytest

from scalpel_bench import methods, tasks
from scalpel_bench.benchmarks.execution import ExecutionOptions, describe_data
from scalpel_bench.benchmarks.messages import UserError
from scalpel_bench.declared import check_types

if TYPE_CHECKING:
    from collections.abc import Hashable

WRONG = [
    ("small_weights", {"flip": "no"}, "flip must be true or false, got 'no'"),
    ("small_weights", {"flip": 0}, "flip must be true or false, got 0"),
    ("small_weights", {"width": True}, "width must be a whole number, got true"),
    ("small_weights", {"width": 1.5}, "width must be a whole number, got 1.5"),
    ("small_weights", {"width": 2**63}, "width must be a number of 64 bits, got 9223372036854775808"),
    ("small_weights", {"images": 5}, "images must be text, got 5"),
    ("small_weights", {"batch_size": 0}, "batch_size must be at least 1, got 0"),
    ("small_weights", {"validation_fraction": 1}, r"validation_fraction must lie in \[0, 1\), got 1"),
    ("small_weights", {"evaluation_limit": "all"}, "evaluation_limit must be a whole number, got 'all'"),
    ("smooth_mlp", {"hidden": []}, r"hidden must be widths of at least 1, got \[\]"),
    ("smooth_mlp", {"hidden": [0]}, r"hidden must be widths of at least 1, got \[0\]"),
    ("smooth_mlp", {"hidden": [1.5]}, r"hidden must be a list of whole numbers, got \[1.5\]"),
    ("smooth_mlp", {"hidden": ["a"]}, r"hidden must be a list of whole numbers, got \['a'\]"),
    ("smooth_mlp", {"hidden": [True]}, r"hidden must be a list of whole numbers, got \[true\]"),
    ("smooth_mlp", {"hidden": 5}, "hidden must be a list of whole numbers, got 5"),
    ("smooth_mlp", {"hidden": [2**64]}, "hidden must be a number of 64 bits, got 18446744073709551616"),
    ("smooth_mlp", {"batch_size": 0}, "batch_size must be at least 1, got 0"),
    ("smooth_mlp", {"validation_fraction": -0.1}, r"validation_fraction must lie in \[0, 1\), got -0.1"),
    ("many_labels", {"batch_size": 0}, "batch_size must be at least 1, got 0"),
    ("many_labels", {"validation_fraction": 1.5}, r"validation_fraction must lie in \[0, 1\), got 1.5"),
    ("robustness", {"validation_fraction": 1.0}, r"validation_fraction must lie in \[0, 1\), got 1.0"),
    ("pinn", {"points": 1.5}, "points must be a whole number, got 1.5"),
    ("pinn", {"hidden": None}, "hidden must be a list of whole numbers, got None"),
    ("softmax_regression", {"l2": float("inf")}, "l2 must be a finite number, got inf"),
    ("softmax_regression", {"l2": "big"}, "l2 must be a finite number, got 'big'"),
    ("quadratic", {"examples": -1}, "examples must be at least 1, got -1"),
    ("quadratic", {"examples": "a"}, "examples must be a whole number, got 'a'"),
    ("quadratic", {"features": 0}, "features must be at least 1, got 0"),
    ("translation", {"heads": 0}, "heads must be at least 1, got 0"),
    ("translation", {"layers": 0}, "layers must be at least 1, got 0"),
    ("translation", {"max_length": 0}, "max_length must be at least 1, got 0"),
    ("language_model", {"heads": {"a": 1}}, "heads must be a whole number, got {'a': 1}"),
    ("quadratic", {"self": 1}, "task 'quadratic': unknown setting 'self'"),
]


@pytest.mark.parametrize(("task", "settings", "message"), WRONG)
def test_a_task_is_not_made_of_wrong_settings(task: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        tasks.create(task, **settings)


def test_a_method_is_not_made_of_an_unknown_setting() -> None:
    with pytest.raises(ValueError, match="^method 'sum': unknown setting 'self'"):
        methods.create("sum", self=1)


def test_valid_settings_are_kept_as_they_were_given() -> None:
    settings = tasks.create("softmax_regression", l2=1, examples=None).settings
    assert (settings["l2"], type(settings["l2"]), settings["examples"]) == (1, int, None)
    assert tasks.create("smooth_mlp", hidden=[3, 4]).settings["hidden"] == (3, 4)


@pytest.mark.parametrize("task", ["multi_digits", "robustness"])
def test_kernels_too_large_for_the_images_are_refused_with_the_data(task: str) -> None:
    settings = {**tasks.create(task).settings, "kernels": [9, 9]}
    with pytest.raises(UserError, match=r"^kernels \[9, 9\] are too large for images of"):
        describe_data(settings, ExecutionOptions())


@dataclasses.dataclass
class Unresolved:
    known: int | str = 0
    unknown: Hashable = 0
    choice: Literal[1, True] = 1
    pair: tuple[float, bool] = (0.0, False)


def test_what_only_a_type_checker_knows_is_not_checked_and_all_else_is() -> None:
    assert "Hashable" not in vars(sys.modules[__name__])
    check_types(Unresolved, {"unknown": [], "known": "a", "choice": True, "pair": [1, True]})
    for wrong, message in (
        ({"known": 1.5}, "known must be a whole number or text, got 1.5"),
        ({"choice": 1.0}, "choice must be one of 1, true, got 1.0"),
        ({"pair": [True, True]}, r"pair must be a list of 2 values, got \[true, true\]"),
        ({"pair": [1.0]}, r"pair must be a list of 2 values, got \[1.0\]"),
    ):
        with pytest.raises(ValueError, match=f"^{message}$"):
            check_types(Unresolved, wrong)
