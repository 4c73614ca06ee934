"""Every method against its formula, written out on vectors, in float64."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from scalpel_bench import methods
from scalpel_bench.benchmarks.contract import pairs, sampled

LAMBDAS = [0.0, 1e-3, 0.3, 1.0, 50.0]


def project_out(a: Tensor, b: Tensor) -> Tensor:
    """The part of a that is orthogonal to b; a itself where b is zero."""
    length = torch.linalg.vector_norm(b)
    if length == 0:
        return a
    unit = b / length
    return a - (a @ unit) * unit


def mixed(main: Tensor, aux: Tensor, lam: float) -> Tensor:
    return main + lam * aux


def pcgrad(main: Tensor, aux: Tensor, lam: float) -> Tensor:
    if main @ aux >= 0 or lam == 0:
        return main + lam * aux
    return project_out(main, aux) + lam * project_out(aux, main)


def mgda(main: Tensor, aux: Tensor, lam: float) -> Tensor:
    difference = main - aux
    squared = difference @ difference
    if squared == 0:
        return main
    weight = (((aux - main) @ aux) / squared).clamp(0, 1)
    return weight * main + (1 - weight) * aux


def dynamic_barrier(main: Tensor, aux: Tensor, lam: float) -> Tensor:
    squared = main @ main
    barrier = max(1 - lam * float(main @ aux / squared), 0.0) if squared > 0 else 1.0
    return barrier * main + lam * aux


def bloop_no_ema(main: Tensor, aux: Tensor, lam: float) -> Tensor:
    return main + lam * project_out(aux, main)


def agem(main: Tensor, aux: Tensor, lam: float) -> Tensor:
    return main if main @ aux >= 0 else project_out(main, aux)


def cosine(main: Tensor, aux: Tensor, lam: float) -> Tensor:
    return main + max(0.0, angle(main, aux)) * lam * aux


def metabalance(main: Tensor, aux: Tensor, lam: float) -> Tensor:
    length = torch.linalg.vector_norm(aux)
    return main + lam * torch.linalg.vector_norm(main) / length * aux if length > 0 else main


def gradvac(main: Tensor, aux: Tensor, lam: float, average: float = 0.0) -> Tensor:
    """Each gradient, altered against the other, and λ times the auxiliary one."""
    if lam == 0:
        return main
    return gradvac_main(main, aux, lam, average) + lam * gradvac_main(aux, main, lam, average)


def gradvac_main(main: Tensor, aux: Tensor, lam: float, average: float = 0.0) -> Tensor:
    """Table 1 of the Bloop paper; at the first step the average cosine is 0."""
    phi, length = angle(main, aux), torch.linalg.vector_norm(aux)
    if phi >= average or length == 0:
        return main
    across, aim = math.sqrt(1 - phi**2), math.sqrt(1 - average**2)
    return main + torch.linalg.vector_norm(main) * (average * across - phi * aim) / (length * aim) * aux


def angle(a: Tensor, b: Tensor) -> float:
    lengths = torch.linalg.vector_norm(a) * torch.linalg.vector_norm(b)
    return float((a @ b / lengths).clamp(-1, 1)) if lengths > 0 else 0.0


FORMULAS = {
    "agem": agem,
    "cosine": cosine,
    "metabalance": metabalance,
    "gradvac": gradvac,
    "gradvac_main": gradvac_main,
    "sum": mixed,
    "pcgrad": pcgrad,
    "mgda": mgda,
    "dynamic_barrier": dynamic_barrier,
    "bloop_no_ema": bloop_no_ema,
    "bloop": bloop_no_ema,  # at the first step, where the EMA is the main gradient
}


@pytest.mark.compares("formula", *FORMULAS)
@pytest.mark.parametrize("name", FORMULAS)
def test_first_step(name: str) -> None:
    for (case, gradients), lam in product(pairs().items(), LAMBDAS):
        method = methods.create(name, lam=lam)
        direction, _ = method.combine(gradients, method.init(gradients))
        expected = FORMULAS[name](*gradients, lam)
        scale = torch.linalg.vector_norm(gradients[0]) + lam * torch.linalg.vector_norm(gradients[1])
        assert torch.linalg.vector_norm(direction - expected) <= 1e-12 * scale, f"{case}, λ = {lam}"


@pytest.mark.parametrize("rho", [0.001, 0.3, 0.99])
def test_bloop_over_steps_follows_algorithm_1(rho: float) -> None:
    method = methods.create("bloop", lam=0.7, rho=rho)
    steps = sampled(6)
    state, ema = method.init(steps[0]), steps[0][0]
    for main, aux in steps:
        direction, state = method.combine(torch.stack([main, aux]), state)
        torch.testing.assert_close(direction, main + 0.7 * project_out(aux, ema), rtol=1e-12, atol=1e-12)
        ema = (1 - rho) * ema + rho * main
        torch.testing.assert_close(state["memory"][0], ema, rtol=1e-12, atol=1e-12)


def test_bloop_order_before_moves_the_ema_first() -> None:
    method = methods.create("bloop", lam=0.7, rho=0.2, order="before")
    steps = sampled(6)
    state, ema = method.init(steps[0]), steps[0][0]
    for main, aux in steps:
        direction, state = method.combine(torch.stack([main, aux]), state)
        ema = 0.8 * ema + 0.2 * main
        torch.testing.assert_close(direction, main + 0.7 * project_out(aux, ema), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(state["memory"][0], ema, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("order", ["after", "before"])
def test_rho_one_is_bloop_without_ema(order: str) -> None:
    without = methods.create("bloop_no_ema", lam=0.4)
    with_rho_one = methods.create("bloop", lam=0.4, rho=1, order=order)
    a, b = {}, {}
    for gradients in sampled(4):
        a, b = a or without.init(gradients), b or with_rho_one.init(gradients)
        first, a = without.combine(gradients, a)
        second, b = with_rho_one.combine(gradients, b)
        assert torch.equal(first, second)


@pytest.mark.parametrize("scale", [1e-100, 1.0, 1e100])
def test_bloop_projection_is_orthogonal_to_the_ema(scale: float) -> None:
    lam, steps = 0.3, [scale * pair for pair in sampled(20, seed=1)]
    method = methods.create("bloop", lam=lam, rho=0.1)
    state = method.init(steps[0])
    for gradients in steps:
        ema = state["memory"][0]
        direction, state = method.combine(gradients, state)
        projected = (direction - gradients[0]) / lam / scale
        cosine = projected @ (ema / torch.linalg.vector_norm(ema)) / torch.linalg.vector_norm(projected)
        assert abs(cosine) < 1e-12


def test_a_zero_ema_leaves_the_auxiliary_gradient_whole() -> None:
    (gradients,) = sampled(1)
    method = methods.create("bloop", lam=0.5)
    direction, _ = method.combine(gradients, {"memory": torch.zeros(1, 30, dtype=torch.float64)})
    torch.testing.assert_close(direction, gradients[0] + 0.5 * gradients[1])


def test_rescale_divides_by_one_plus_lam() -> None:
    (gradients,) = sampled(1)
    for name in methods.available():
        if methods.get(name).lam_is in ("none", "bound"):
            with pytest.raises(ValueError, match=f"^{name} has no λ to rescale by: leave rescale out$"):
                methods.create(name, rescale=True)
            continue
        plain, rescaled = (methods.create(name, lam=3.0, rescale=r) for r in (False, True))
        direction, _ = plain.combine(gradients, plain.init(gradients), torch.ones(2))
        shorter, _ = rescaled.combine(gradients, rescaled.init(gradients), torch.ones(2))
        torch.testing.assert_close(shorter, direction / 4)


def over_steps(method: methods.Method, steps: list[Tensor]) -> list[Tensor]:
    state, directions = method.init(steps[0]), []
    for gradients in steps:
        direction, state = method.combine(gradients, state)
        directions.append(direction)
    return directions


def assert_all_close(ours: list[Tensor], expected: list[Tensor]) -> None:
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_bloop_is_bloop_without_ema_given_an_ema() -> None:
    steps = sampled(6)
    smoothed = methods.create("bloop_no_ema", lam=0.7, ema=0.2)
    assert_all_close(
        over_steps(smoothed, steps), over_steps(methods.create("bloop", lam=0.7, rho=0.2), steps)
    )


def test_pcgrad_with_an_ema_projects_on_the_emas() -> None:
    """As in the authors' code: where ⟨g_a, m_m⟩ < 0 its part along m_m goes, and likewise g_m along m_a."""
    steps, lam = sampled(8, parameters=3), 0.7
    m_main, m_aux, expected, conflicts = steps[0][0], steps[0][1], [], 0
    for main, aux in steps:
        from_aux = project_out(aux, m_main) if aux @ m_main < 0 else aux
        from_main = project_out(main, m_aux) if main @ m_aux < 0 else main
        conflicts += bool(aux @ m_main < 0) != bool(main @ m_aux < 0)
        expected.append(from_main + lam * from_aux)
        m_main, m_aux = 0.7 * m_main + 0.3 * main, 0.7 * m_aux + 0.3 * aux
    assert conflicts > 0
    assert_all_close(over_steps(methods.create("pcgrad", lam=lam, ema=0.3), steps), expected)


def test_dynamic_barrier_with_an_ema_is_bloop_with_a_barrier() -> None:
    steps, lam = sampled(8, parameters=3), 5.0
    m_main, expected = steps[0][0], []
    for main, aux in steps:
        taken = min(lam * float(aux @ m_main / (m_main @ m_main)), 1.0)
        expected.append(main + lam * aux - taken * m_main)
        m_main = 0.7 * m_main + 0.3 * main
    assert_all_close(over_steps(methods.create("dynamic_barrier", lam=lam, ema=0.3), steps), expected)


def test_agem_with_an_ema_projects_the_main_gradient_on_the_ema() -> None:
    steps = sampled(8, parameters=3)
    m_aux, expected = steps[0][1], []
    for main, aux in steps:
        expected.append(project_out(main, m_aux) if main @ m_aux < 0 else main)
        m_aux = 0.7 * m_aux + 0.3 * aux
    assert_all_close(over_steps(methods.create("agem", lam=2.0, ema=0.3), steps), expected)


def test_agem_projects_on_the_sum_of_several_auxiliary_gradients() -> None:
    for main, *auxiliary in sampled(8, parameters=3, k=3):
        mean = sum(auxiliary)
        for sign in (1.0, -1.0):
            expected = sign * main
            if sign * main @ mean < 0:
                expected = project_out(expected, mean)
            rows = torch.stack([sign * main, *auxiliary])
            found, _ = methods.create("agem").combine(rows, {})
            torch.testing.assert_close(found, expected)


def test_a_weighting_with_an_ema_weighs_by_the_emas() -> None:
    steps = sampled(5)
    (m_main, m_aux), expected = steps[0], []
    for main, aux in steps:
        squared = (m_main - m_aux) @ (m_main - m_aux)
        weight = (((m_aux - m_main) @ m_aux) / squared).clamp(0, 1)
        expected.append(weight * main + (1 - weight) * aux)
        m_main, m_aux = 0.7 * m_main + 0.3 * main, 0.7 * m_aux + 0.3 * aux
    assert_all_close(over_steps(methods.create("mgda", ema=0.3), steps), expected)


def test_bloop_ratio_only_takes_the_ratio_of_the_gradient() -> None:
    steps, lam = sampled(5), 0.5
    ema, expected = steps[0][0], []
    for main, aux in steps:
        expected.append((1 - lam * (aux @ ema) / (ema @ ema)) * main + lam * aux)
        ema = 0.8 * ema + 0.2 * main
    assert_all_close(over_steps(methods.create("bloop", lam=lam, rho=0.2, ratio_only=True), steps), expected)


@pytest.mark.compares("formula", "one_sided_bloop", "reweighted_sum", "negative_momentum")
@pytest.mark.parametrize("order", ["after", "before"])
@pytest.mark.parametrize("rho", [1.0, 0.3])
@pytest.mark.parametrize("name", ["one_sided_bloop", "reweighted_sum", "negative_momentum"])
def test_controls_of_bloop_over_steps(name: str, rho: float, order: str) -> None:
    lam, settings = 1.5, {"reweighted_sum": {"most": 4.0}, "negative_momentum": {"kappa": 0.2}}.get(name, {})
    steps = sampled(20, parameters=3)
    ema, expected, shares = steps[0][0], [], []
    for main, aux in steps:
        moved = (1 - rho) * ema + rho * main
        m = moved if rho == 1 or order == "before" else ema
        share = float(aux @ m / (m @ m))
        shares.append(lam * share)
        if name == "one_sided_bloop":
            expected.append(main + lam * (project_out(aux, m) if share < 0 else aux))
        elif name == "reweighted_sum":
            capped = 1 - lam * share < 1 / 4
            expected.append(main + (4 * lam if capped else lam / (1 - lam * share)) * aux)
        else:
            expected.append(main + lam * aux - lam * 0.2 * m)
        ema = moved
    assert min(shares) < -0.1
    assert any(0.1 < share < 0.75 for share in shares)
    assert max(shares) > 1
    method = methods.create(name, lam=lam, rho=rho, order=order, **settings)
    assert_all_close(over_steps(method, steps), expected)


def test_the_reweighted_sum_is_bloop_by_its_ratio_alone_up_to_length() -> None:
    """Where Bloop's weight of g_m is positive."""
    steps, compared = sampled(20, parameters=3), 0
    bloop, control = (
        over_steps(methods.create(name, lam=0.5, rho=0.3, **settings), steps)
        for name, settings in (("bloop", {"ratio_only": True}), ("reweighted_sum", {}))
    )
    for (main, aux), theirs, ours in zip(steps, bloop, control, strict=True):
        weight, _ = torch.linalg.lstsq(torch.stack([main, aux], -1), theirs[:, None]).solution.flatten()
        if weight > 0.01:
            torch.testing.assert_close(weight * ours, theirs, rtol=1e-9, atol=1e-9)
            compared += 1
    assert compared > 10


@pytest.mark.parametrize(
    ("name", "setting", "problem"),
    [
        ("reweighted_sum", {"most": 0.5}, "most must be at least 1, got 0.5"),
        ("reweighted_sum", {"most": math.inf}, "most must be a finite number, got inf"),
        ("negative_momentum", {"kappa": math.nan}, "kappa must be a finite number, got nan"),
    ],
)
def test_controls_refuse_bad_settings(name: str, setting: dict[str, float], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        methods.create(name, **setting)


@pytest.mark.parametrize("rho", [1.0, 0.3])
def test_bloop_of_four_levels_is_gram_schmidt(rho: float) -> None:
    steps, lam = sampled(5, k=4), torch.tensor([0.5, 2.0, 0.1], dtype=torch.float64)
    emas, expected = steps[0][:3], []
    for gradients in steps:
        references = gradients[:3] if rho == 1 else emas
        direction = gradients[0].clone()
        for level in range(1, 4):
            basis = torch.linalg.qr(references[:level].T).Q
            direction += lam[level - 1] * (gradients[level] - basis @ (basis.T @ gradients[level]))
        expected.append(direction)
        emas = (1 - rho) * emas + rho * gradients[:3]
    assert_all_close(over_steps(methods.create("bloop", lam=lam, rho=rho), steps), expected)


def test_bloop_of_three_levels_with_parallel_references() -> None:
    main, aux = sampled(1)[0]
    gradients = torch.stack([main, 2 * main, aux])
    direction, _ = methods.create("bloop", lam=1.0, rho=1.0).combine(gradients, {})
    torch.testing.assert_close(direction, main + project_out(aux, main), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["gradvac", "gradvac_main"])
def test_gradvac_follows_its_moving_average(name: str) -> None:
    steps, average, expected = sampled(8, parameters=3), 0.0, []
    for main, aux in steps:
        expected.append(FORMULAS[name](main, aux, 0.3, average))
        average = 0.5 * average + 0.5 * angle(main, aux)
    assert_all_close(over_steps(methods.create(name, lam=0.3, beta=0.5), steps), expected)


def test_gradvac_of_three_objectives_meets_one_after_the_other() -> None:
    """The angle of g_m with the one met last is what it aims at, where it was below."""
    gradients = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 1.0, 0.0], [-1.0, 0.0, 1.0]], dtype=torch.float64)
    method = methods.create("gradvac_main", beta=0.5)
    direction, state = method.combine(gradients, method.init(gradients))
    met_last = min(abs(angle(direction, gradients[1])), abs(angle(direction, gradients[2])))
    assert met_last < 1e-12
    assert (state["average"][0, 1:] < 0).all()
    assert state["average"][0, 0] == 0


def test_metabalance_averages_norms_over_steps() -> None:
    steps, expected = sampled(5), []
    norms = torch.linalg.vector_norm(steps[0], dim=-1)
    for gradients in steps:
        norms = 0.6 * norms + 0.4 * torch.linalg.vector_norm(gradients, dim=-1)
        balanced = 0.3 * norms[0] / norms[1] + 0.7
        expected.append(gradients[0] + 0.5 * balanced * gradients[1])
    method = methods.create("metabalance", lam=0.5, beta=0.6, relax=0.3)
    assert_all_close(over_steps(method, steps), expected)
