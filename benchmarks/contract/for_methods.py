"""The rules that every method must keep."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ... import methods
from ...methods import Method
from ...words import said
from .inputs import dependent, pairs, sampled, trajectory
from .rules import Broken, Rule, require, require_close, violations


def method_rules() -> dict[str, Rule]:
    """The rules for a method by name, in the order in which they are best read."""
    return {
        "says what it is": _documented,
        "two objectives give one direction of their shape and dtype": _shapes,
        "float64 stays, bfloat16 is accumulated in float32": _precision,
        "autocast changes nothing": _under_autocast,
        "arguments and global generator are left untouched": _pure,
        "equal calls give equal directions": _deterministic,
        "another seed changes what it draws, and nothing where it draws nothing": _seeded,
        "written in place, directions and what is remembered are the same": _in_place,
        "no NaN on zero, parallel, opposed, huge or tiny gradients": _finite,
        "d(c g) = c d(g) in float64 for c from 1e-100 to 1e100": _equivariant_float64,
        "d(c g) = c d(g) in float32 for c from 1e-24 to 1e18": _equivariant_float32,
        "dependent gradients in float32 and bfloat16 give the direction of float64": _dependent,
        "a batched call equals single calls": _batched,
        "so it does for three objectives, some of them dependent": _batched_of_three,
        "per-block Gram matrices equal a call per block": _blocks,
        "an EMA of every gradient is taken, or refused in words": _smoothed,
        "a saved state continues bit for bit": _resumable,
        "both losses fall on a convex quadratic": _descends,
        "lambda must be finite, and at least 0 unless it is a bound": _refuses_bad_lam,
        "settings make the method again": _settings,
        "lambda is to it what it says": _lam_is,
        "its length is arbitrary where it says so": _arbitrary_length,
        "length='sum' gives its direction the length of the sum": _length_of_sum,
        "what it promises holds": _promises,
    }


def check_method(name: str) -> dict[str, str]:
    """What is wrong with a method, by rule; an empty text where the rule holds."""
    return violations(method_rules(), name)


def _documented(name: str) -> None:
    text = methods.get(name).__doc__ or ""
    require("Source:" in text, "the docstring has no line 'Source:' with authors, year and arXiv id")


def _shapes(name: str) -> None:
    for gradients in (sampled(1)[0], torch.stack(sampled(3))):
        for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
            method = methods.create(name, lam=0.3)
            (direction,) = trajectory(method, [gradients.to(dtype)])
            expected = gradients.shape[:-2] + gradients.shape[-1:]
            require(direction.shape == expected, f"shape {tuple(direction.shape)}, not {tuple(expected)}")
            require(direction.dtype == dtype, f"{direction.dtype} from gradients in {dtype}")


def _precision(name: str) -> None:
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        steps = [g.to(dtype) for g in sampled(3, parameters=5000)]
        exact = trajectory(methods.create(name, lam=0.3), [g.double() for g in steps])
        for direction, expected in zip(trajectory(methods.create(name, lam=0.3), steps), exact, strict=True):
            require_close(direction, expected, 8 * torch.finfo(dtype).eps, f"gradients in {dtype}")
        _, state = (method := methods.create(name)).combine(steps[0], method.init(steps[0]), torch.ones(2))
        for key, value in state.items():
            kept = value.dtype if value.is_floating_point() else torch.float64
            require(torch.finfo(kept).bits >= 32, f"state[{key!r}] of gradients in {dtype} is kept in {kept}")


def _under_autocast(name: str) -> None:
    for parameters in (30, 5000):
        steps, method = [g.float() for g in sampled(3, parameters)], methods.create(name, lam=0.3)
        plain = trajectory(method, steps)
        with torch.autocast("cpu", torch.bfloat16):
            cast = trajectory(method, steps)
        for a, b in zip(cast, plain, strict=True):
            require(torch.equal(a, b), f"under autocast {parameters} parameters get another direction")


def _pure(name: str) -> None:
    first, second = sampled(2)
    method = methods.create(name, lam=0.3)
    state = method.init(first)
    given, before = second.clone(), {k: v.clone() for k, v in state.items()}
    generator = torch.get_rng_state()
    method.combine(second, state, torch.ones(2))
    require(torch.equal(given, second), "combine wrote into the gradients")
    require(state.keys() == before.keys(), "combine wrote into the state that it was given")
    for key, value in before.items():
        require(
            torch.equal(state[key].nan_to_num(), value.nan_to_num()), f"combine wrote into state[{key!r}]"
        )
    require(torch.equal(generator, torch.get_rng_state()), "combine drew from the global generator")


def _deterministic(name: str) -> None:
    first, second = (trajectory(methods.create(name, lam=0.3), sampled(4)) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        require(torch.equal(a, b), "two equal calls differ")


def _seeded(name: str) -> None:
    k = methods.get(name).objectives or 4
    steps, method = sampled(6, k=k), methods.create(name, lam=0.3)
    first, second = (trajectory(method, steps, seed) for seed in (1, 2))
    same = all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    found = "agree" if same else "differ"
    require(same != method.random, f"random is {method.random}, but the directions of two seeds {found}")
    batched = [torch.stack([gradients, gradients]) for gradients in steps]
    together = trajectory(method, batched, torch.tensor([1, 2]))
    for both, a, b in zip(together, first, second, strict=True):
        require_close(both, torch.stack([a, b]), 1e-9, "a seed for each entry of a batch")


def _finite(name: str) -> None:
    for case, gradients in pairs().items():
        for lam in (0.0, 0.3):
            directions = trajectory(methods.create(name, lam=lam), [gradients] * 3)
            fine = all(d.isfinite().all() for d in directions)
            require(fine, f"a direction is not finite: {case} gradients, lambda {lam}")


def _equivariant_float64(name: str) -> None:
    _equivariant(name, [1e-100, 1e-30, 1e30, 1e100], sampled(4), 1e-8)


def _equivariant_float32(name: str) -> None:
    _equivariant(name, [1e-24, 1e-6, 1e6, 1e18], [g.float() for g in sampled(4)], 1e-4)


def _equivariant(name: str, scales: list[float], steps: list[Tensor], tolerance: float) -> None:
    plain = trajectory(methods.create(name, lam=0.3), steps)
    for scale in scales:
        unit = scale**2 if methods.get(name).compares_losses else 1.0
        bound = unit if methods.get(name).lam_is == "bound" else 1.0
        scaled = trajectory(methods.create(name, lam=0.3 * bound), [scale * g for g in steps], unit=unit)
        for a, b in zip(scaled, plain, strict=True):
            require_close(a / scale, b, tolerance, f"gradients times {scale:g}")


def _dependent(name: str) -> None:
    of = methods.get(name).objectives
    for case, gradients in dependent().items():
        if of not in (None, len(gradients)):
            continue
        (expected,) = trajectory(methods.create(name, lam=0.3), [gradients])
        longest = torch.linalg.vector_norm(gradients, dim=-1).max()
        scale = torch.maximum(longest, torch.linalg.vector_norm(expected))
        for dtype, most in ((torch.float32, 1e-2), (torch.float16, 0.05), (torch.bfloat16, 0.1)):
            (direction,) = trajectory(methods.create(name, lam=0.3), [gradients.to(dtype)])
            error = float(torch.linalg.vector_norm(direction - expected) / scale)
            found = f"{case} gradients in {dtype}: the direction is off by {error:.1e} of its length"
            require(error <= most, f"{found}; decide rank by methods.engine.tolerance(gram)")


def _batched(name: str) -> None:
    steps = [torch.stack(sampled(6, seed=s)).reshape(2, 3, 2, 30) for s in range(3)]
    lam = torch.tensor([[0.0, 0.1, 0.5], [1.0, 2.0, 10.0]], dtype=torch.float64)
    together = trajectory(methods.create(name, lam=lam), steps)
    for i in range(2):
        for j in range(3):
            alone = trajectory(methods.create(name, lam=lam[i, j].item()), [g[i, j] for g in steps])
            for a, b in zip(together, alone, strict=True):
                require_close(a[i, j], b, 1e-9, f"batch entry {i, j}")


def _batched_of_three(name: str) -> None:
    if methods.get(name).objectives is not None:
        return
    (rows,) = sampled(1, k=3)
    main, aux, other = rows
    cases = {
        "independent": rows,
        "parallel": torch.stack([main, main / 3, aux]),
        "opposed": torch.stack([main, aux, -main / 3]),
        "zero aux": torch.stack([main, 0 * aux, other]),
        "zero main": torch.stack([0 * main, aux, other]),
        "long aux": torch.stack([main, 1e3 * aux, other]),
    }
    together = trajectory(methods.create(name, lam=0.3), [torch.stack([*cases.values()])] * 3)
    for i, (case, gradients) in enumerate(cases.items()):
        alone = trajectory(methods.create(name, lam=0.3), [gradients] * 3)
        longest = torch.linalg.vector_norm(gradients, dim=-1).max()
        for a, b in zip(together, alone, strict=True):
            off = float(torch.linalg.vector_norm(a[i] - b) / longest)
            require(off <= 1e-7, f"{case} gradients among others: off by {off:.1e} of the longest of them")


def _blocks(name: str) -> None:
    if not issubclass(methods.get(name), Method):
        return  # there is no Gram matrix
    steps = sampled(3)
    together = trajectory(methods.create(name, lam=0.3, blocks=(10, 20)), steps)
    for part in (slice(0, 10), slice(10, 30)):
        alone = trajectory(methods.create(name, lam=0.3), [g[:, part] for g in steps])
        for a, b in zip(together, alone, strict=True):
            require_close(a[part], b, 1e-9, f"parameters {part.start} to {part.stop}")


def _in_place(name: str) -> None:
    method, steps, losses = methods.create(name, lam=0.3), sampled(4), torch.tensor([1.0, 2.0])
    state, moved, out = method.init(steps[0]), method.init(steps[0]), torch.empty_like(steps[0][0])
    for gradients in steps:
        direction, state = method.combine(gradients, state, losses)
        written, moved = method.combine(gradients, moved, losses, out=out)
        require(written is out, "what combine returns is not the tensor given as out")
        require(torch.equal(direction, out), "another direction is written into out")
        same = all(torch.equal(state[key], moved[key]) for key in state)
        require(same, "something else is remembered where out is given")


def _smoothed(name: str) -> None:
    try:
        smoothed = methods.create(name, lam=0.3, ema=0.1)
    except ValueError:
        return
    directions = trajectory(smoothed, sampled(3))
    require(all(d.isfinite().all() for d in directions), "a direction with ema=0.1 is not finite")


def _resumable(name: str) -> None:
    method, steps = methods.create(name, lam=0.3), sampled(6)
    state, losses = method.init(steps[0]), torch.tensor([1.0, 2.0])
    for gradients in steps[:3]:
        _, state = method.combine(gradients, state, losses)
    require(all(isinstance(v, Tensor) for v in state.values()), "the state holds something else than tensors")
    saved = {key: value.clone() for key, value in state.items()}
    for gradients in steps[3:]:
        a, state = method.combine(gradients, state, losses)
        b, saved = method.combine(gradients, saved, losses)
        require(torch.equal(a, b), "a copy of the state continues differently")


def _descends(name: str) -> None:
    """Main ½‖θ‖², aux ½‖θ − e‖² from far away: small steps must lower both, or stand still."""
    generator = torch.Generator().manual_seed(0)
    e = torch.randn(10, generator=generator, dtype=torch.float64)
    theta = 20 * torch.randn(10, generator=generator, dtype=torch.float64)
    method = methods.create(name, lam=1.0)

    def losses() -> Tensor:
        return torch.stack([theta @ theta, (theta - e) @ (theta - e)]) / 2

    start, state = losses(), None
    for _ in range(20):
        gradients = torch.stack([theta, theta - e])
        state = state or method.init(gradients)
        direction, state = method.combine(gradients, state, losses())
        theta = theta - 0.01 * direction
    require((losses() <= start).all(), f"losses went from {start.tolist()} to {losses().tolist()}")
    require(bool((losses() < start).any()), "no loss fell")


def _refuses_bad_lam(name: str) -> None:
    for lam in (math.inf, -math.inf, math.nan, *(() if methods.get(name).lam_is == "bound" else (-1.0,))):
        try:
            methods.create(name, lam=lam)
        except ValueError:
            continue
        raise Broken(f"lambda {lam} is accepted")


def _settings(name: str) -> None:
    rescale = methods.get(name).lam_is not in ("none", "bound")
    method = methods.create(name, lam=0.3, rescale=rescale, length="sum")
    require(methods.create(lam=0.3, **method.settings) == method, f"made again: {method.settings}")


def _lam_is(name: str) -> None:
    said, steps = methods.get(name).lam_is, sampled(6)
    small, large = (torch.stack(trajectory(methods.create(name, lam=lam), steps)) for lam in (0.3, 3.0))
    lengths = [torch.linalg.vector_norm(d, dim=-1, keepdim=True) for d in (small, large)]
    turned = float((small / lengths[0] - large / lengths[1]).abs().max()) > 1e-6
    stretched = float((lengths[0] / lengths[1] - 1).abs().max()) > 1e-6
    found = "trade-off" if turned else "length" if stretched else "none"
    if turned and "needs_losses" in methods.get(name).properties:
        higher = torch.stack(trajectory(methods.create(name, lam=3.0), steps, above=2.7))
        found = "bound" if float((higher - small).abs().max()) <= 1e-6 * float(lengths[0].max()) else found
    remedy = ""
    if (
        said == "trade-off"
        and found in ("length", "none")
        and not getattr(methods.get(name), "lam_last", True)
    ):
        remedy = (
            "; where the formula normalises gradients, scaling g_a by lambda first turns no direction: "
            f"set lam_last = True, and lambda weights what it makes of them, or lam_is = {found!r}"
        )
    told = f"lam_is = {said!r}, but by its directions at lambda 0.3 and 3 it is {found!r}"
    require(found == said, told + remedy)


def _arbitrary_length(name: str) -> None:
    """By the coefficient of a main gradient at a right angle to an auxiliary one, three times as long."""
    method = methods.get(name)
    gradients = torch.diag(torch.tensor([1.0, 3.0], dtype=torch.float64))
    entered = [float(direction[0]) for direction in trajectory(method(), [gradients] * 3)]
    whole = all(abs(coefficient - 1) < 1e-9 for coefficient in entered)
    found = f"g_m has the coefficients {', '.join(f'{c:.3g}' for c in entered)} beside an orthogonal g_a"
    require(whole != method.arbitrary_length, f"arbitrary_length = {method.arbitrary_length}, but {found}")


def _length_of_sum(name: str) -> None:
    steps = sampled(4)
    lam = 1.0 if methods.get(name).lam_is in ("none", "bound") else 0.3
    plain = trajectory(methods.create(name, lam=0.3), steps)
    matched = trajectory(methods.create(name, lam=0.3, length="sum"), steps)
    for own, direction, (main, aux) in zip(plain, matched, steps, strict=True):
        length = torch.linalg.vector_norm(main + lam * aux)
        expected = own * length / torch.linalg.vector_norm(own)
        require_close(direction, expected, 1e-9, "length='sum'")


def _promises(name: str) -> None:
    method = methods.get(name)
    if "non_conflicting" in method.properties:
        _non_conflicting(name)
    if "permutation_equivariant" in method.properties and method.objectives is None:
        _permutation_equivariant(name)
    if method.weights_losses:
        _weights_losses(name)
    gradients = sampled(1)[0]
    needs = "needs_losses" in method.properties
    try:
        method().combine(gradients, method().init(gradients), None)
    except (AttributeError, TypeError, ValueError) as error:
        require(needs, f"raises without losses ({said(error)}), but does not promise needs_losses")
    else:
        require(not needs, "promises needs_losses, but works without")


def _non_conflicting(name: str) -> None:
    for case, gradients in pairs().items():
        (direction,) = trajectory(methods.create(name, lam=1.0), [gradients])
        lengths = torch.linalg.vector_norm(gradients, dim=-1)
        fine = (gradients @ direction >= -1e-9 * lengths * lengths.max()).all()
        require(fine, f"promises non_conflicting, but the direction opposes a gradient: {case} gradients")


def _weights_losses(name: str) -> None:
    method, steps = methods.create(name, lam=0.3), sampled(4)
    state, alone = method.init(steps[0]), method.init(steps[0])
    for step, gradients in enumerate(steps):
        losses = torch.tensor([1.0, 2.0]) / (1 + step)
        direction, state = method.combine(gradients, state, losses)
        weights, alone = method.loss_weights(alone, losses)
        require_close(
            weights @ gradients, direction, 1e-9, "says weights_losses, but the gradients change its weights"
        )


def _permutation_equivariant(name: str) -> None:
    gradients = sampled(1, k=4)[0]
    method, order = methods.create(name, lam=0.7), [0, 2, 3, 1]
    losses = torch.tensor([1.0, 2.0, 3.0, 4.0])
    plain, _ = method.combine(gradients, method.init(gradients), losses)
    permuted, _ = method.combine(gradients[order], method.init(gradients[order]), losses[order])
    require_close(permuted, plain, 1e-6, "promises permutation_equivariant, but the order of losses matters")
