"""What λ is to a method, and the length of its direction: by formula, on vectors."""

import pytest
import torch
from torch import Tensor

from scalpel_bench import methods
from scalpel_bench.benchmarks.contract import sampled

SETTINGS = [
    ("sum", {}),
    ("bloop", {"rho": 0.3}),
    ("bloop", {"rho": 0.3, "order": "before"}),
    ("upgrad", {}),
    ("cagrad", {}),
    ("pcgrad", {}),
    ("upgrad", {"ema": 0.2}),
    ("aligned_mtl", {}),
    ("rlw", {}),
    ("graddrop", {}),
]


def norm(vector: Tensor) -> Tensor:
    return torch.linalg.vector_norm(vector, dim=-1, keepdim=True)


def directions(method: methods.BaseMethod, steps: list[Tensor]) -> list[Tensor]:
    state, found = method.init(steps[0]), []
    for gradients in steps:
        direction, state = method.combine(gradients, state)
        found.append(direction)
    return found


@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_the_length_of_the_sum_of_several_over_leading_dimensions(
    name: str, settings: dict, rescale: bool
) -> None:
    lam = torch.tensor([[0.5, 2.0, 0.1], [3.0, 0.0, 1.0]], dtype=torch.float64)
    steps = [torch.stack([a, b]) for a, b in zip(sampled(4, k=4), sampled(4, k=4, seed=1), strict=True)]
    own = directions(methods.create(name, lam=lam, **settings), steps)
    matched = directions(methods.create(name, lam=lam, length="sum", rescale=rescale, **settings), steps)
    for direction, before, gradients in zip(matched, own, steps, strict=True):
        total = gradients[:, 0] + (lam[..., None] * gradients[:, 1:]).sum(1)
        divisor = 1 + lam.sum(-1, keepdim=True) if rescale else 1.0
        torch.testing.assert_close(direction, before * norm(total) / norm(before) / divisor)


def test_the_length_of_the_sum_in_each_block() -> None:
    steps, blocks = sampled(3), (7, 23)
    own = directions(methods.create("upgrad", lam=0.4, blocks=blocks), steps)
    matched = directions(methods.create("upgrad", lam=0.4, blocks=blocks, length="sum"), steps)
    for direction, before, (main, aux) in zip(matched, own, steps, strict=True):
        for part in (slice(0, 7), slice(7, 30)):
            length = norm(main[part] + 0.4 * aux[part])
            torch.testing.assert_close(direction[part], before[part] * length / norm(before[part]))


@pytest.mark.parametrize("scale", [1e-100, 1e100])
@pytest.mark.parametrize("name", ["upgrad", "graddrop", "nash_mtl"])
def test_the_length_of_the_sum_follows_the_scale(name: str, scale: float) -> None:
    steps = sampled(3)
    method = methods.create(name, lam=0.4, length="sum")
    scaled = directions(method, [scale * gradients for gradients in steps])
    for a, b in zip(scaled, directions(method, steps), strict=True):
        torch.testing.assert_close(a / scale, b)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", ["mgda", "upgrad", "imtl_g", "graddrop"])
def test_a_direction_of_zero_keeps_its_length(name: str, dtype: torch.dtype) -> None:
    main = sampled(1)[0][0].to(dtype)
    for gradients in (torch.stack([main, -main / 3]), torch.zeros(2, 30, dtype=dtype)):
        direction = directions(methods.create(name, length="sum"), [gradients])[0]
        if name != "graddrop":
            assert direction.tolist() == [0.0] * 30
        assert direction.isfinite().all()


def test_its_own_length_is_the_default_and_no_setting_of_a_run() -> None:
    assert methods.create("sum", length="own") == methods.create("sum")
    assert methods.create("sum", length="own").settings["length"] is None
    with pytest.raises(ValueError, match="length must be one of own, sum, got 'mean'"):
        methods.create("sum", length="mean")


def test_a_sum_of_losses_of_another_length_takes_a_backward_pass_per_loss() -> None:
    assert methods.create("rlw").single_backward
    assert not methods.create("rlw", length="sum").single_backward


@pytest.mark.parametrize("name", [n for n in methods.available() if methods.get(n).lam_is == "none"])
def test_a_lambda_that_is_nothing_counts_as_one(name: str) -> None:
    steps = sampled(4, k=3)
    expected = directions(methods.create(name, length="sum"), steps)
    for lam in (0.0, 0.3, torch.tensor([0.1, 5.0])):
        found = directions(methods.create(name, lam=lam, length="sum"), steps)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_what_the_suite_has() -> None:
    """By kind, so that a change of one is seen."""
    meanings = {name: methods.get(name).lam_is for name in methods.available()}
    assert {name: meaning for name, meaning in meanings.items() if meaning != "trade-off"} == {
        "agem": "none",
        "cr_mogm": "none",
        "constrained_barrier": "bound",
        "fairgrad": "none",
        "gradvac_main": "none",
        "imtl_g": "length",
        "lagrangian": "bound",
        "mgda": "none",
        "moco": "none",
        "nash_mtl": "length",
        "single": "none",
    }


def test_an_unknown_meaning_of_lambda_is_refused() -> None:
    with pytest.raises(ValueError, match="'vague': lam_is must be one of trade-off, length, none, bound"):

        class Vague(methods.Sum):
            name, lam_is = "vague", "something"


def test_upgrad_of_two_is_half_of_pcgrad_and_as_long_as_the_sum_where_asked() -> None:
    for gradients in sampled(5, parameters=3):
        half, whole = (directions(methods.create(n, lam=0.7), [gradients])[0] for n in ("upgrad", "pcgrad"))
        torch.testing.assert_close(2 * half, whole)
        matched = (
            directions(methods.create(n, lam=0.7, length="sum"), [gradients])[0] for n in ("upgrad", "pcgrad")
        )
        torch.testing.assert_close(*matched)


@pytest.mark.parametrize("lam", [0.2, 4.0])
def test_config_has_cosines_in_the_ratio_of_lambda(lam: float) -> None:
    for gradients in sampled(5):
        (direction,) = directions(methods.create("config", lam=lam), [gradients])
        main, aux = (gradients @ direction) / torch.linalg.vector_norm(gradients, dim=-1)
        torch.testing.assert_close(aux, lam * main)
