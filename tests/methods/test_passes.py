"""The two passes over memory: numbers across pieces, in low precision, in place; and what is allocated."""

from functools import partial
from itertools import combinations_with_replacement, product

import pytest
import torch

from scalpel_bench import methods
from scalpel_bench.benchmarks.speed.memory import of_call
from scalpel_bench.methods.engine import passes


def rows_of(*shape: int, count: int = 3, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, generator=generator).to(dtype) for _ in range(count)]


@pytest.mark.parametrize("count", [3, 5])
@pytest.mark.parametrize("shape", [(1,), (passes.PIECE + 3,), (3, 2 * passes.PIECE // 3 + 1), (2, 3, 5)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_gram_is_that_of_the_whole_rows(shape: tuple[int, ...], count: int, dtype: torch.dtype) -> None:
    rows = rows_of(*shape, count=count, dtype=dtype)
    exact = torch.stack(rows, -2).double()
    length = exact.square().sum(-1).amax().item()
    found = passes.gram(rows)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, exact @ exact.mT, rtol=0, atol=2e-5 * length)


@pytest.mark.parametrize("shape", [(passes.PIECE + 3,), (3, passes.PIECE // 2)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_written_are_the_direction_of_the_old_rows_and_the_moved_row(shape, dtype: torch.dtype) -> None:
    main, aux, memory = [*rows_of(*shape, count=2, dtype=dtype), *rows_of(*shape, count=1)]
    coefficients = torch.tensor([1.0, 0.5, -0.25], dtype=torch.float64).expand(*shape[:-1], 3)
    expected = main.double() + aux.double() / 2 - memory.double() / 4
    moved = 0.9 * memory.double() + 0.1 * main.double()
    direction = torch.empty_like(main)
    memory = memory.to(torch.promote_types(dtype, torch.float32))
    passes.write(coefficients, [main, aux, memory], direction, [(2, 0, 0.1)])
    torch.testing.assert_close(
        direction, expected.to(dtype), rtol=1e-2 if dtype == torch.bfloat16 else 1e-6, atol=1e-6
    )
    torch.testing.assert_close(memory.double(), moved, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["sum", "pcgrad", "bloop"])
def test_in_place_nothing_as_long_as_the_parameters_is_allocated(name: str) -> None:
    gradients = torch.stack(rows_of(20 * passes.PIECE, count=2))
    method, out = methods.create(name, lam=0.3), torch.empty_like(gradients[0])
    state = method.init(gradients)
    method.combine(gradients, state, out=out)

    def peak(given: torch.Tensor | None) -> int:
        return of_call(lambda: lambda: method.combine(gradients, state, out=given), "cpu")

    assert peak(out) < 0.1 * out.nbytes
    assert peak(None) > 0.9 * out.nbytes


@pytest.mark.slow
def test_the_fused_passes_are_the_same_passes() -> None:
    """Compiled for the CPU: what CUDA runs, but for the backend."""
    rows, copies = rows_of(2, 1000), rows_of(2, 1000)
    expected = torch.tensor(passes._of_pairs(rows), dtype=torch.float64)
    torch.testing.assert_close(passes._compiled(passes._fused_products)(rows), expected, rtol=1e-5, atol=1e-3)
    coefficients = torch.tensor([[1.0, 0.5, -0.25]] * 2, dtype=torch.float64)
    weights = [w.float()[:, None] for w in coefficients.unbind(-1)]
    factors = [list(factor.float()[..., None].unbind(-2)) for factor in passes._factors(coefficients)]
    one, other = torch.empty(2, 1000), torch.empty(2, 1000)
    passes._write(weights, rows, one, [(2, 0, 0.1)], torch.float32)
    passes._write_fused(factors, copies, other, [(2, 0, 0.1)])
    torch.testing.assert_close(other, one)
    torch.testing.assert_close(copies[2], rows[2])


@pytest.fixture
def without_kernels(monkeypatch):
    """The fused passes with all that compiling does to them before it makes kernels."""
    import torch._dynamo

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    passes._compiled.cache_clear()
    yield
    passes._compiled.cache_clear()
    torch._dynamo.reset()


def test_fused_passes_write_where_the_views_lie_that_they_are_given(without_kernels) -> None:
    """Of three methods in a population, whose rows are views of the same storages at other places."""
    generator = torch.Generator().manual_seed(0)
    main, aux = (torch.randn(6, 3, 50, generator=generator) for _ in range(2))
    memory = torch.randn(6, 3, 2, 50, generator=generator)
    before, moved = main.clone(), memory.clone()
    weights = torch.arange(6.0)[:, None, None].expand(6, 3, 1)
    for where in (slice(0, 2), slice(2, 4), slice(4, 6)):
        rows = [main[where], aux[where], *memory[where].unbind(-2)]
        one = torch.ones(2, 3, 1)
        factors = [[one, weights[where], one / 2, -one / 2], [one] * 4]
        passes._write_fused(factors, rows, main[where], [(2, 0, 0.1), (3, 1, 0.2)])
    expected = before + weights * aux + (moved[..., 0, :] - moved[..., 1, :]) / 2
    torch.testing.assert_close(main, expected)
    torch.testing.assert_close(memory[..., 0, :], torch.lerp(moved[..., 0, :], before, 0.1))
    torch.testing.assert_close(memory[..., 1, :], torch.lerp(moved[..., 1, :], aux, 0.2))


def inputs(shape: tuple[int, ...], dtype: torch.dtype) -> list[torch.Tensor]:
    """The gradients of three steps, ``(*shape, 2, 30)``."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, 2, 30, generator=generator).to(dtype) for _ in range(3)]


def settings_of(name: str) -> list[dict[str, object]]:
    """A method as it is, and what it has of blocks and an EMA."""
    method = methods.create(name)
    if not isinstance(method, methods.Method):
        return [{}]
    remembers = bool(method.memory(2))
    smoothed: list[dict[str, object]] = [{"ema": 0.3}, {"blocks": (20, 10), "ema": 0.3}]
    return [{}, {"blocks": (7, 20, 3)}, *([] if remembers else smoothed)]


@pytest.mark.parametrize("name", methods.available())
def test_written_over_the_main_gradient_the_direction_is_the_same(name) -> None:
    for settings, shape, dtype in product(settings_of(name), [(), (3,)], [torch.float32, torch.bfloat16]):
        losses = torch.rand(*shape, 2, generator=torch.Generator().manual_seed(1)) + 0.5
        method = methods.create(name, lam=0.3, **settings)
        gradients = inputs(shape, dtype)
        apart, over = method.init(gradients[0]), method.init(gradients[0])
        for step in gradients:
            expected, apart = method.combine(step, apart, losses, out=torch.empty_like(step[..., 0, :]))
            aux = step[..., 1, :].clone()
            found, over = method.combine(step, over, losses, out=step[..., 0, :])
            assert torch.equal(found, expected)
            assert torch.equal(step[..., 0, :], expected)
            assert torch.equal(step[..., 1, :], aux)
        assert all(torch.equal(value, over[key]) for key, value in apart.items())


@pytest.mark.parametrize("name", methods.available())
def test_gradients_in_parts_give_the_direction_of_the_whole(name) -> None:
    for settings, shape in product(settings_of(name), [(), (3,)]):
        losses = torch.rand(*shape, 2, generator=torch.Generator().manual_seed(1)) + 0.5
        method = methods.create(name, lam=0.3, **settings)
        gradients = inputs(shape, torch.float64)
        cut = [methods.Parts([p.unbind(-2) for p in step.split([4, 16, 10], -1)]) for step in gradients]
        whole, parts = method.init(gradients[0]), method.init(cut[0])
        for step, pieces in zip(gradients, cut, strict=True):
            expected, whole = method.combine(step, whole, losses)
            found, parts = method.combine(pieces, parts, losses)
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_over_the_main_gradient_in_several_pieces() -> None:
    rows = rows_of(2 * passes.PIECE + 3)
    expected, over = torch.empty_like(rows[0]), [row.clone() for row in rows]
    coefficients = torch.tensor([1.0, 0.5, -0.25], dtype=torch.float64)
    passes.write(coefficients, over, over[0], [(2, 0, 0.1)])
    passes.write(coefficients, rows, expected, [(2, 0, 0.1)])
    assert torch.equal(over[0], expected)
    assert torch.equal(over[2], rows[2])


@pytest.mark.parametrize("first", [1.0, 0.3])
def test_one_run_has_the_bits_of_a_population_of_one(first: float) -> None:
    coefficients = torch.tensor([first, 0.7, -1 / 3], dtype=torch.float64)
    alone, together = rows_of(1003), [row[None] for row in rows_of(1003)]
    passes.write(coefficients, alone, alone[0], [(2, 0, 0.1)])
    passes.write(coefficients[None], together, together[0], [(2, 0, 0.1)])
    assert all(torch.equal(a, b[0]) for a, b in zip(alone, together, strict=True))


def test_what_a_formula_does_not_compare_is_not_a_number() -> None:
    seen = []

    class Curious(methods.Bloop):
        def coefficients(self, gram, state, losses):
            seen.append(gram)
            return super().coefficients(gram, state, losses)

    gradients = inputs((), torch.float64)[0]
    method = Curious()
    method.combine(gradients, method.init(gradients))
    assert seen[0][0].isnan().all()
    assert not seen[0][1:, 1:].isnan().any()


def test_a_fused_pass_is_compiled_for_many_numbers_of_rows(without_kernels) -> None:
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True, recompile_limit=2):
        for count in range(1, 5):
            rows = rows_of(4, count=count)
            found = passes._compiled(passes._fused_products)(rows)
            pairs = combinations_with_replacement([row.double() for row in rows], 2)
            torch.testing.assert_close(found, torch.stack([a @ b for a, b in pairs]))
