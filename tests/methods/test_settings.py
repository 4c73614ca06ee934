"""What methods refuse in one line: settings of another type, and gradients, λ and losses that do not fit."""

from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import pytest
import torch

from scalpel_bench import methods
from scalpel_bench.benchmarks.contract import sampled
from scalpel_bench.declared import check_types


@pytest.mark.parametrize("name", methods.available())
def test_every_setting_of_every_method_has_a_type(name: str) -> None:
    for setting in (field for field in fields(methods.get(name)) if field.init):
        wrong: list[Any] = ["nonsense", [0.5], 1j]
        if isinstance(setting.default, float | int) and not isinstance(setting.default, bool):
            wrong.append(True)
        if isinstance(setting.default, int):
            wrong.append(1.5)
        for value in wrong:
            with pytest.raises(ValueError, match=rf"^{setting.name} must be .+, got [^\n]+$"):
                methods.create(name, **{setting.name: value})


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("dwa", {"period": 1.5}, "period must be a whole number, got 1.5"),
        ("single", {"objective": True}, "objective must be a whole number, got true"),
        ("bloop", {"rho": True}, "rho must be a finite number, got true"),
        ("bloop", {"ratio_only": 1}, "ratio_only must be true or false, got 1"),
        ("sum", {"rescale": 1}, "rescale must be true or false, got 1"),
        ("sum", {"lam": [0.1, 0.2]}, "lam must be a finite number or a tensor, got [0.1, 0.2]"),
        ("sum", {"blocks": 2}, "blocks must be a list of whole numbers or true, got 2"),
        ("sum", {"blocks": 1}, "blocks must be a list of whole numbers or true, got 1"),
        ("sum", {"blocks": False}, "blocks must be a list of whole numbers or true, got false"),
        ("sum", {"blocks": "x"}, "blocks must be a list of whole numbers or true, got 'x'"),
        ("sum", {"blocks": (1.5, 0.5)}, "blocks must be a list of whole numbers or true, got [1.5, 0.5]"),
        ("sum", {"blocks": (2, -1, 2)}, "blocks must be one size or more, none negative, got (2, -1, 2)"),
        ("sum", {"blocks": ()}, "blocks must be one size or more, none negative, got ()"),
        ("bloop", {"ratio_only": True, "rho": 1.0, "ema": 0.1}, "set rho instead of ema"),
        ("famo", {"beta": float("inf")}, "beta must be a finite number, got inf"),
        ("fairgrad", {"alpha": 0.0}, "alpha must lie in [0.05, 20], got 0.0"),
        ("fairgrad", {"alpha": 1e3}, "alpha must lie in [0.05, 20], got 1000.0"),
        ("uncertainty", {"lr": float("inf")}, "lr must be a finite number, got inf"),
    ],
)  # fmt: skip
def test_settings_that_are_refused(name: str, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011
        methods.create(name, **settings)
    assert str(refused.value).endswith(told)


def test_settings_that_are_taken() -> None:
    assert methods.create("dwa", temperature=2, period=7).settings["temperature"] == 2
    assert methods.create("sum", blocks=[1, 0, 2]).settings["blocks"] == (1, 0, 2)
    assert methods.create("cr_mogm", weights_ema=None).settings["weights_ema"] is None
    assert methods.create("sum", lam=torch.tensor([1, 2])).lam.tolist() == [1, 2]


def test_what_an_annotation_does_not_tell_is_left_alone() -> None:
    @dataclass
    class Odd:
        anything: Any = 1
        mapping: dict[str, int] | None = None
        sloppy: int = None  # type: ignore[assignment]
        sizes: tuple[int, int] = (1, 2)

    @dataclass
    class Unknown:
        speed: float = 1.0
        told_by_nobody: "Missing" = 0  # type: ignore[name-defined]  # noqa: F821

    check_types(Odd, {"anything": "x", "mapping": {}, "sizes": [3, 4], "sloppy": None})
    check_types(Unknown, {"told_by_nobody": 3})
    with pytest.raises(ValueError, match="sloppy must be a whole number, got 'x'"):
        check_types(Odd, {"sloppy": "x"})


def test_with_rho_1_the_ratio_is_that_of_the_gradient_anyway() -> None:
    for gradients in sampled(3, k=3):
        found = []
        for ratio_only in (None, True):
            method = methods.create("bloop", lam=0.3, rho=1.0, ratio_only=ratio_only)
            found.append(method.combine(gradients, method.init(gradients))[0])
        assert torch.equal(*found)


REFUSED = {
    "integers": (torch.ones(2, 5, dtype=torch.int64), "real floating-point numbers, got torch.int64"),
    "complex": (torch.ones(2, 5, dtype=torch.complex64), "real floating-point numbers, got torch.complex64"),
    "one": (torch.ones(1, 5), "give a main gradient and at least one auxiliary gradient, got 1"),
    "ones": (torch.ones(3, 1, 5), "give a main gradient and at least one auxiliary gradient, got 1"),
    "no entry": (torch.ones(0, 2, 5), r"no entry in a batch of gradients of shape \(0, 2, 5\)"),
    "of a graph": (torch.ones(2, 5, requires_grad=True), "must not require grad, as a direction has none"),
    "a vector": (torch.ones(5), r"must be \(\.\.\., K, P\), got the shape \(5,\)"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_gradients_that_are_refused(what: str) -> None:
    gradients, told = REFUSED[what]
    for name in methods.available():
        method = methods.create(name)
        calls = [
            partial(method.init, gradients),
            partial(method.gram, gradients, {}),
            partial(method.combine, gradients, {}, torch.ones(gradients.shape[:-1])),
        ]
        for call in calls:
            with pytest.raises(ValueError, match=told):
                call()


@pytest.mark.parametrize("name", ["sum", "bloop", "graddrop", "stch"])
def test_a_lam_that_does_not_fit_is_refused(name: str) -> None:
    for leading, lam, told in [((), [0.1, 0.2, 0.3], r"\(\) or \(2,\), got \(3,\)"),
                               ((4,), [[0.1]] * 3, r"\(4,\) or \(4, 2\), got \(3, 1\)")]:  # fmt: skip
        gradients = torch.ones(*leading, 3, 5)
        method = methods.create(name, lam=torch.tensor(lam))
        state = method.init(gradients)
        with pytest.raises(ValueError, match=f"lam must have the shape {told}"):
            method.combine(gradients, state, torch.ones(*leading, 3))


@pytest.mark.parametrize("name", ["sum", "dwa", "graddrop"])
def test_losses_of_another_number_are_refused(name: str) -> None:
    method = methods.create(name)
    gradients = torch.ones(3, 5)
    for losses in (torch.ones(1), torch.ones(2), torch.tensor(1.0), torch.ones(4, 3)):
        with pytest.raises(ValueError, match=r"losses must be \(3,\), one per gradient, got"):
            method.combine(gradients, method.init(gradients), losses)
    for losses in (torch.ones(4, 2), torch.ones(2, 3)):
        with pytest.raises(ValueError, match=r"losses must be \(4, 3\), one per gradient, got"):
            method.combine(gradients.expand(4, 3, 5), method.init(gradients.expand(4, 3, 5)), losses)


@pytest.mark.parametrize("name", methods.available())
def test_what_is_not_finite_stays_so(name: str) -> None:
    (pair,) = sampled(1, parameters=6)
    for value in (torch.inf, -torch.inf, torch.nan):
        for row in (0, 1):
            gradients = pair.clone()
            gradients[row, 2] = value
            method = methods.create(name)
            direction, _ = method.combine(gradients, method.init(pair), torch.tensor([1.0, 2.0]))
            assert not direction[2].isfinite()


def test_graddrop_passes_on_what_is_not_finite_and_nothing_else() -> None:
    inf, nan = torch.inf, torch.nan
    gradients = torch.tensor([[1.0, inf, inf, nan, -inf], [2.0, 1.0, -inf, 1.0, 3.0]])
    method = methods.create("graddrop")
    direction, _ = method.combine(gradients, method.init(gradients))
    expected = torch.tensor([3.0, inf, nan, nan, -inf])
    torch.testing.assert_close(direction, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", methods.available())
def test_what_is_remembered_keeps_its_shape(name: str) -> None:
    """With blocks too; of another shape it would not load into an equal `Surgeon`."""
    (gradients,) = sampled(1)
    blocks = {"blocks": (7, 23)} if issubclass(methods.get(name), methods.Method) else {}
    for settings in ({}, blocks):
        method = methods.create(name, **settings)
        state = method.init(gradients)
        shapes = {key: value.shape for key, value in state.items()}
        _, state = method.combine(gradients, state, torch.tensor([1.0, 2.0]))
        assert {key: value.shape for key, value in state.items()} == shapes
        state = method.observe(state, torch.tensor([0.9, 1.9]))
        assert {key: value.shape for key, value in state.items()} == shapes


@pytest.mark.parametrize("name", ["gradvac", "gradvac_main"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_gradvac_adds_nothing_for_an_average_of_1_which_nothing_reaches(
    name: str, dtype: torch.dtype
) -> None:
    for rows in sampled(20):
        gradients = rows.to(dtype)
        method = methods.create(name, beta=1.0)
        parallel = torch.stack([gradients[0], gradients[0] / 3])
        _, state = method.combine(parallel, method.init(parallel))
        direction, _ = method.combine(gradients, state)
        torch.testing.assert_close(direction, gradients.sum(0) if name == "gradvac" else gradients[0])
