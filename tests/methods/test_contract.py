"""What every method must satisfy, found by registry: a new method is tested the moment it exists."""

import math
from pathlib import Path

import pytest
import torch

from scalpel_bench import methods
from scalpel_bench.benchmarks.contract import Broken, check_method, method_rules
from scalpel_bench.registry import catalogue


@pytest.mark.parametrize("name", methods.available())
def test_contract(name: str) -> None:
    assert {rule: broken for rule, broken in check_method(name).items() if broken} == {}


def test_the_contract_can_fail() -> None:
    """A method that breaks most rules: it divides, draws globally, and forgets its source."""

    class Careless(methods.Method):
        """No source."""

        name = "careless"
        properties = frozenset({"non_conflicting", "permutation_equivariant"})

        def coefficients(self, gram, state, losses):
            noise = torch.rand(gram.shape[-1])
            return -noise * gram[..., 0, 0, None] / gram[..., 1, 1, None]

    try:
        broken = []
        for rule, check in method_rules().items():
            try:
                check("careless")
            except Broken:
                broken.append(rule)
        assert broken == [
            "says what it is",
            "float64 stays, bfloat16 is accumulated in float32",
            "autocast changes nothing",
            "arguments and global generator are left untouched",
            "equal calls give equal directions",
            "another seed changes what it draws, and nothing where it draws nothing",
            "written in place, directions and what is remembered are the same",
            "no NaN on zero, parallel, opposed, huge or tiny gradients",
            "d(c g) = c d(g) in float64 for c from 1e-100 to 1e100",
            "d(c g) = c d(g) in float32 for c from 1e-24 to 1e18",
            "dependent gradients in float32 and bfloat16 give the direction of float64",
            "a batched call equals single calls",
            "so it does for three objectives, some of them dependent",
            "per-block Gram matrices equal a call per block",
            "a saved state continues bit for bit",
            "both losses fall on a convex quadratic",
            "its length is arbitrary where it says so",
            "length='sum' gives its direction the length of the sum",
            "what it promises holds",
        ]
    finally:
        methods.REGISTRY.remove("careless")


def test_a_method_that_uses_losses_must_say_so() -> None:
    class Secretive(methods.Method):
        """Weights by losses. Source: none."""

        name = "secretive"

        def coefficients(self, gram, state, losses):
            return losses / losses.sum()

    try:
        with pytest.raises(Broken, match="raises without losses .*does not promise needs_losses"):
            method_rules()["what it promises holds"]("secretive")
    finally:
        methods.REGISTRY.remove("secretive")


def test_unknown_names_and_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown method 'blop': did you mean bloop"):
        methods.create("blop")
    with pytest.raises(ValueError, match=r"method 'bloop': unknown setting 'rhoo': did you mean rho\?"):
        methods.create("bloop", rhoo=0.1)
    with pytest.raises(ValueError, match="method 'sum': unknown setting 'speed'; known: lam, rescale, "):
        methods.create("sum", speed=0.1)


@pytest.mark.parametrize("rho", [0.0, -0.1, 1.5, math.nan])
def test_bloop_refuses_a_bad_rho(rho: float) -> None:
    with pytest.raises(ValueError, match=r"rho must (lie in \(0, 1\]|be a finite number)"):
        methods.create("bloop", rho=rho)
    with pytest.raises(ValueError, match=r"ema must (lie in \(0, 1\]|be a finite number)"):
        methods.create("sum", ema=rho)


def test_bloop_refuses_a_bad_order_and_a_second_ema() -> None:
    with pytest.raises(ValueError, match="order must be one of after, before"):
        methods.create("bloop", order="during")
    with pytest.raises(ValueError, match="bloop has an EMA of its own"):
        methods.create("bloop", ema=0.1)


def test_methods_for_two_objectives_refuse_three() -> None:
    with pytest.raises(ValueError, match="defined for 2 objectives, got 3"):
        methods.create("dynamic_barrier").init(torch.zeros(3, 5))


@pytest.mark.parametrize("name", ["agem", "bloop_no_ema", "pcgrad"])
def test_projections_on_emas_refuse_more_than_two_objectives(name: str) -> None:
    method = methods.create(name, ema=0.1)
    method.init(torch.zeros(2, 5))
    with pytest.raises(ValueError, match=f"{name} with ema is defined for 2 objectives, got 3"):
        method.init(torch.zeros(3, 5))


def test_blocks_must_add_up() -> None:
    with pytest.raises(ValueError, match="blocks add up to 4 parameters, got 5"):
        methods.create("sum", blocks=(1, 3)).init(torch.zeros(2, 5))


def test_two_methods_of_one_name_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"two methods are named 'sum': scalpel_bench.methods.sum.Sum and .*Another"
    ):

        class Another(methods.get("sum")):  # type: ignore[misc]
            name = "sum"


def test_an_unknown_claim_is_refused() -> None:
    with pytest.raises(ValueError, match="promises perfection, which no test knows"):

        class Boaster(methods.get("sum")):  # type: ignore[misc]
            name = "boaster"
            properties = frozenset({"perfection"})


def test_methods_on_coordinates_have_no_gram_matrix_to_smooth_or_to_cut() -> None:
    for setting in ({"ema": 0.1}, {"blocks": (1, 2)}):
        with pytest.raises(ValueError, match=f"'graddrop': .*'{next(iter(setting))}'"):
            methods.create("graddrop", **setting)
    method = methods.create("graddrop", lam=0.0)
    gradients = torch.tensor([[1.0, -2.0], [-5.0, -5.0]])
    direction, _ = method.combine(gradients, method.init(gradients))
    assert direction.tolist() == gradients[0].tolist()


def test_every_method_class_is_exported_by_its_package() -> None:
    exported = (Path(methods.__file__).parent / "__init__.py").read_text()
    for entry in catalogue("methods").values():
        module = entry.module.rpartition(".")[2]
        line = f"    from .{module} import {entry.class_name} as {entry.class_name}"
        if entry.origin is None:
            assert f"{line}\n" in exported, f"add to methods/__init__.py, under TYPE_CHECKING:\n{line}"
            assert getattr(methods, entry.class_name) is methods.get(entry.name)
            assert entry.class_name in dir(methods)
    with pytest.raises(AttributeError, match="module 'scalpel_bench.methods' has no attribute 'Blop'"):
        _ = methods.Blop


def test_a_lam_per_auxiliary_objective() -> None:
    gradients = torch.randn(3, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    method = methods.create("sum", lam=torch.tensor([0.5, 2.0]))
    direction, _ = method.combine(gradients, method.init(gradients))
    torch.testing.assert_close(direction, gradients[0] + 0.5 * gradients[1] + 2 * gradients[2])
