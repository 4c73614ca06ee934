"""The rules that every method and every task must keep, each a function that says in words what is broken."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from scalpel_bench import methods, tasks
from scalpel_bench.benchmarks.training.parameters import Flat
from scalpel_bench.methods import Method

Rule = Callable[[str], None]


class Broken(Exception):
    """A rule of the contract does not hold; the message says where."""


def method_rules() -> dict[str, Rule]:
    """The rules for a method by name, in the order in which they are best read."""
    return {
        "says what it is": _documented,
        "two objectives give one direction of their shape and dtype": _shapes,
        "float64 stays, bfloat16 is accumulated in float32": _precision,
        "arguments and global generator are left untouched": _pure,
        "equal calls give equal directions": _deterministic,
        "written in place, directions and what is remembered are the same": _in_place,
        "no NaN on zero, parallel, opposed, huge or tiny gradients": _finite,
        "d(c g) = c d(g) in float64 for c from 1e-100 to 1e100": _equivariant_float64,
        "d(c g) = c d(g) in float32 for c from 1e-24 to 1e18": _equivariant_float32,
        "dependent gradients in float32 and bfloat16 give the direction of float64": _dependent,
        "a batched call equals single calls": _batched,
        "per-block Gram matrices equal a call per block": _blocks,
        "an EMA of every gradient is taken, or refused in words": _smoothed,
        "a saved state continues bit for bit": _resumable,
        "both losses fall on a convex quadratic": _descends,
        "lambda must be finite and at least 0": _refuses_bad_lam,
        "settings make the method again": _settings,
        "what it promises holds": _promises,
    }


def task_rules() -> dict[str, Rule]:
    """The rules for a task by name."""
    return {
        "losses are finite scalars, one per objective": _task_losses,
        "every split is measured in every objective, with finite numbers": _task_evaluates,
        "batches depend on the generator alone": _task_batches,
        "gradients reach the flat parameters": _task_gradients,
    }


def check_method(name: str) -> dict[str, str]:
    """What is wrong with a method, by rule; an empty text where the rule holds."""
    return {rule: _problem(check, name) for rule, check in method_rules().items()}


def check_task(name: str) -> dict[str, str]:
    """What is wrong with a task, by rule; an empty text where the rule holds."""
    return {rule: _problem(check, name) for rule, check in task_rules().items()}


def _problem(check: Rule, name: str) -> str:
    try:
        check(name)
    except Broken as error:
        return str(error)
    except Exception as error:
        return f"it raises {type(error).__name__}: {' '.join(str(error).split())}"
    return ""


def pairs() -> dict[str, Tensor]:
    """Gradients ``(2, 30)`` in float64, typical and degenerate."""
    (pair,) = sampled(1)
    main, aux = pair
    along = (aux @ main) / (main @ main) * main
    zero = torch.zeros_like(main)
    return {
        "random": pair,
        "conflicting": torch.stack([main, aux - 2 * along - main]),
        "parallel": torch.stack([main, 3 * main]),
        "equal": torch.stack([main, main]),
        "opposed": torch.stack([main, -2 * main]),
        "orthogonal": torch.stack([main, aux - along]),
        "zero main": torch.stack([zero, aux]),
        "zero aux": torch.stack([main, zero]),
        "both zero": torch.stack([zero, zero]),
        "huge": 1e80 * pair,
        "tiny": 1e-80 * pair,
        "unequal scales": torch.stack([1e12 * main, 1e-12 * aux]),
    }


def dependent(parameters: int = 30) -> dict[str, Tensor]:
    """Gradients ``(K, parameters)`` in float64 of a lower rank, which rounding raises to K."""
    main, aux, other = sampled(1, parameters, k=3)[0]
    return {
        "parallel": torch.stack([main, main / 3]),
        "opposed": torch.stack([main, -main / 3]),
        "main, aux, main + aux": torch.stack([main, aux, main + aux]),
        "aux 1e-4 of the main one": torch.stack([main, 1e-4 * aux, main + 1e-4 * aux]),
        "parallel and another": torch.stack([main, main / 3, main / 7, aux]),
        "five of rank 3": torch.stack([main, aux, other, main + aux / 3 + other, main / 3 + other]),
    }


def sampled(count: int, parameters: int = 30, seed: int = 0, k: int = 2) -> list[Tensor]:
    """Gradients ``(k, parameters)`` ~ N(0, 1) in float64."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(k, parameters, generator=generator, dtype=torch.float64) for _ in range(count)]


def trajectory(method: Method, steps: list[Tensor]) -> list[Tensor]:
    """The directions over several steps; losses are 1, 2, … and fall."""
    state, directions = method.init(steps[0]), []
    for step, gradients in enumerate(steps):
        losses = torch.arange(1.0, gradients.shape[-2] + 1).expand(gradients.shape[:-1]) * 0.9**step
        direction, state = method.combine(gradients, state, losses)
        directions.append(direction)
    return directions


def _require(holds: bool | Tensor, message: str) -> None:
    if not holds:
        raise Broken(message)


def _close(a: Tensor, b: Tensor, tolerance: float, message: str) -> None:
    error = torch.linalg.vector_norm((a - b).double())
    length = torch.linalg.vector_norm(b.double())
    _require(error <= tolerance * length, f"{message}: relative error {float(error / length):.1e}")


def _documented(name: str) -> None:
    text = methods.get(name).__doc__ or ""
    _require("Source:" in text, "the docstring has no line 'Source:' with authors, year and arXiv id")


def _shapes(name: str) -> None:
    for gradients in (sampled(1)[0], torch.stack(sampled(3))):
        for dtype in (torch.float32, torch.float64, torch.bfloat16):
            method = methods.create(name, lam=0.3)
            (direction,) = trajectory(method, [gradients.to(dtype)])
            expected = gradients.shape[:-2] + gradients.shape[-1:]
            _require(direction.shape == expected, f"shape {tuple(direction.shape)}, not {tuple(expected)}")
            _require(direction.dtype == dtype, f"{direction.dtype} from gradients in {dtype}")


def _precision(name: str) -> None:
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        steps = [g.to(dtype) for g in sampled(3, parameters=5000)]
        exact = trajectory(methods.create(name, lam=0.3), [g.double() for g in steps])
        for direction, expected in zip(trajectory(methods.create(name, lam=0.3), steps), exact, strict=True):
            _close(direction, expected, 8 * torch.finfo(dtype).eps, f"gradients in {dtype}")


def _pure(name: str) -> None:
    first, second = sampled(2)
    method = methods.create(name, lam=0.3)
    state = method.init(first)
    given, before = second.clone(), {k: v.clone() for k, v in state.items()}
    generator = torch.get_rng_state()
    method.combine(second, state, torch.ones(2))
    _require(torch.equal(given, second), "combine wrote into the gradients")
    _require(state.keys() == before.keys(), "combine wrote into the state that it was given")
    for key, value in before.items():
        _require(
            torch.equal(state[key].nan_to_num(), value.nan_to_num()), f"combine wrote into state[{key!r}]"
        )
    _require(torch.equal(generator, torch.get_rng_state()), "combine drew from the global generator")


def _deterministic(name: str) -> None:
    first, second = (trajectory(methods.create(name, lam=0.3), sampled(4)) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        _require(torch.equal(a, b), "two equal calls differ")


def _finite(name: str) -> None:
    for case, gradients in pairs().items():
        for lam in (0.0, 0.3):
            directions = trajectory(methods.create(name, lam=lam), [gradients] * 3)
            fine = all(d.isfinite().all() for d in directions)
            _require(fine, f"a direction is not finite: {case} gradients, lambda {lam}")


def _equivariant_float64(name: str) -> None:
    _equivariant(name, [1e-100, 1e-30, 1e30, 1e100], sampled(4), 1e-8)


def _equivariant_float32(name: str) -> None:
    _equivariant(name, [1e-24, 1e-6, 1e6, 1e18], [g.float() for g in sampled(4)], 1e-4)


def _equivariant(name: str, scales: list[float], steps: list[Tensor], tolerance: float) -> None:
    plain = trajectory(methods.create(name, lam=0.3), steps)
    for scale in scales:
        scaled = trajectory(methods.create(name, lam=0.3), [scale * g for g in steps])
        for a, b in zip(scaled, plain, strict=True):
            _close(a / scale, b, tolerance, f"gradients times {scale:g}")


def _dependent(name: str) -> None:
    of = methods.get(name).objectives
    for case, gradients in dependent().items():
        if of not in (None, len(gradients)):
            continue
        (expected,) = trajectory(methods.create(name, lam=0.3), [gradients])
        longest = torch.linalg.vector_norm(gradients, dim=-1).max()
        scale = torch.maximum(longest, torch.linalg.vector_norm(expected))
        for dtype, tolerance in ((torch.float32, 1e-2), (torch.bfloat16, 0.1)):
            (direction,) = trajectory(methods.create(name, lam=0.3), [gradients.to(dtype)])
            error = float(torch.linalg.vector_norm(direction - expected) / scale)
            where = f"{case} gradients in {dtype}: the direction is off by {error:.1e}"
            _require(error <= tolerance, f"{where} of its length; decide rank by tolerance(gram)")


def _batched(name: str) -> None:
    steps = [torch.stack(sampled(6, seed=s)).reshape(2, 3, 2, 30) for s in range(3)]
    lam = torch.tensor([[0.0, 0.1, 0.5], [1.0, 2.0, 10.0]], dtype=torch.float64)
    together = trajectory(methods.create(name, lam=lam), steps)
    for i in range(2):
        for j in range(3):
            alone = trajectory(methods.create(name, lam=lam[i, j].item()), [g[i, j] for g in steps])
            for a, b in zip(together, alone, strict=True):
                _close(a[i, j], b, 1e-9, f"batch entry {i, j}")


def _blocks(name: str) -> None:
    if methods.get(name).combine is not Method.combine:
        return  # works on coordinates: there is no Gram matrix
    steps = sampled(3)
    together = trajectory(methods.create(name, lam=0.3, blocks=(10, 20)), steps)
    for part in (slice(0, 10), slice(10, 30)):
        alone = trajectory(methods.create(name, lam=0.3), [g[:, part] for g in steps])
        for a, b in zip(together, alone, strict=True):
            _close(a[part], b, 1e-9, f"parameters {part.start} to {part.stop}")


def _in_place(name: str) -> None:
    method, steps, losses = methods.create(name, lam=0.3), sampled(4), torch.tensor([1.0, 2.0])
    state, moved, out = method.init(steps[0]), method.init(steps[0]), torch.empty_like(steps[0][0])
    for gradients in steps:
        direction, state = method.combine(gradients, state, losses)
        written, moved = method.combine(gradients, moved, losses, out=out)
        _require(written is out, "what combine returns is not the tensor given as out")
        _require(torch.equal(direction, out), "another direction is written into out")
        same = all(torch.equal(state[key], moved[key]) for key in state)
        _require(same, "something else is remembered where out is given")


def _smoothed(name: str) -> None:
    try:
        smoothed = methods.create(name, lam=0.3, ema=0.1)
    except ValueError:
        return
    directions = trajectory(smoothed, sampled(3))
    _require(all(d.isfinite().all() for d in directions), "a direction with ema=0.1 is not finite")


def _resumable(name: str) -> None:
    method, steps = methods.create(name, lam=0.3), sampled(6)
    state, losses = method.init(steps[0]), torch.tensor([1.0, 2.0])
    for gradients in steps[:3]:
        _, state = method.combine(gradients, state, losses)
    _require(
        all(isinstance(v, Tensor) for v in state.values()), "the state holds something else than tensors"
    )
    saved = {key: value.clone() for key, value in state.items()}
    for gradients in steps[3:]:
        a, state = method.combine(gradients, state, losses)
        b, saved = method.combine(gradients, saved, losses)
        _require(torch.equal(a, b), "a copy of the state continues differently")


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
    _require((losses() <= start).all(), f"losses went from {start.tolist()} to {losses().tolist()}")
    _require(bool((losses() < start).any()), "no loss fell")


def _refuses_bad_lam(name: str) -> None:
    for lam in (-1.0, math.inf, math.nan):
        try:
            methods.create(name, lam=lam)
        except ValueError:
            continue
        raise Broken(f"lambda {lam} is accepted")


def _settings(name: str) -> None:
    method = methods.create(name, lam=0.3, rescale=True)
    _require(methods.create(lam=0.3, **method.settings) == method, f"made again: {method.settings}")


def _promises(name: str) -> None:
    method = methods.get(name)
    if "non_conflicting" in method.properties:
        _non_conflicting(name)
    if "permutation_equivariant" in method.properties and method.objectives is None:
        _permutation_equivariant(name)
    if method.weights_losses:
        _weights_losses(name)
    if "needs_losses" in method.properties:
        gradients = sampled(1)[0]
        try:
            method().combine(gradients, method().init(gradients), None)
        except ValueError:
            return
        raise Broken("promises needs_losses, but works without")


def _non_conflicting(name: str) -> None:
    for case, gradients in pairs().items():
        (direction,) = trajectory(methods.create(name, lam=1.0), [gradients])
        lengths = torch.linalg.vector_norm(gradients, dim=-1)
        fine = (gradients @ direction >= -1e-9 * lengths * lengths.max()).all()
        _require(fine, f"promises non_conflicting, but the direction opposes a gradient: {case} gradients")


def _weights_losses(name: str) -> None:
    method, steps = methods.create(name, lam=0.3), sampled(4)
    state, alone = method.init(steps[0]), method.init(steps[0])
    for step, gradients in enumerate(steps):
        losses = torch.tensor([1.0, 2.0]) / (1 + step)
        direction, state = method.combine(gradients, state, losses)
        weights, alone = method.loss_weights(alone, losses)
        _close(
            weights @ gradients, direction, 1e-9, "says weights_losses, but the gradients change its weights"
        )


def _permutation_equivariant(name: str) -> None:
    gradients = sampled(1, k=4)[0]
    method, order = methods.create(name, lam=0.7), [0, 2, 3, 1]
    losses = torch.tensor([1.0, 2.0, 3.0, 4.0])
    plain, _ = method.combine(gradients, method.init(gradients), losses)
    permuted, _ = method.combine(gradients[order], method.init(gradients[order]), losses[order])
    _close(permuted, plain, 1e-6, "promises permutation_equivariant, but the order of losses matters")


def _task(name: str) -> tuple[tasks.Task, Flat]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        task = tasks.create(name)
        return task, Flat(task.build(), "cpu")


def _task_losses(name: str) -> None:
    task, flat = _task(name)
    losses = list(task.losses(flat.model(), next(task.batches(torch.Generator().manual_seed(0)))))
    _require(
        len(losses) == len(task.objectives), f"{len(losses)} losses for {len(task.objectives)} objectives"
    )
    for objective, loss in zip(task.objectives, losses, strict=True):
        value = loss.value if isinstance(loss, tasks.Known) else loss
        _require(value.shape == () and value.isfinite(), f"loss {objective!r} is {value}")


def _task_evaluates(name: str) -> None:
    task, flat = _task(name)
    _require({"train", "test"} <= set(task.splits), f"splits {task.splits} lack train or test")
    for split in task.splits:
        with torch.no_grad():
            metrics = task.evaluate(flat.model(), split)
        for objective in task.objectives:
            _require(objective in metrics, f"{split}: no value of objective {objective!r}")
        for metric, value in metrics.items():
            _require(math.isfinite(value), f"{split}: {metric} is {value}")


def _task_batches(name: str) -> None:
    task, _ = _task(name)
    first, second, other = (task.batches(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        a = next(first)
        torch.manual_seed(1)
        b = next(second)
    _require(all(torch.equal(a[k], b[k]) for k in a), "equal generators give other batches")
    c = next(other)
    _require(not a or any(not torch.equal(a[k], c[k]) for k in a), "the generator changes nothing")


def _task_gradients(name: str) -> None:
    task, flat = _task(name)
    batch = next(task.batches(torch.Generator().manual_seed(0)))
    for objective, loss in zip(task.objectives, task.losses(flat.model(), batch), strict=True):
        keep, gradient = task.shared_forward, torch.empty_like(flat.theta, requires_grad=False)
        flat.gradient(loss, gradient, keep=keep)
        if isinstance(loss, tasks.Known):
            depends = loss.value.requires_grad
            _require(depends, f"the value of {objective!r} does not depend on the parameters")
            expected = torch.empty_like(gradient)
            flat.gradient(loss.value, expected, keep=keep)
            _close(gradient, expected, 1e-5, f"the known gradient of {objective!r} is not that of its value")
        _require(gradient.isfinite().all(), f"the gradient of {objective!r} is not finite")
        _require(gradient.any(), f"the gradient of {objective!r} is zero")
