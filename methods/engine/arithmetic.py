"""Small arithmetic that methods share: batched, branch-free, and never waiting for the device."""

import torch
from torch import Tensor

_LEAST = torch.finfo(torch.float64).tiny


def divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    """``numerator / denominator``, and 0 where the denominator is 0: the projection on a zero vector."""
    return (numerator / denominator).masked_fill(denominator.logical_not(), 0.0)


def normalised(gram: Tensor) -> Tensor:
    """The Gram matrix ``(..., R, R)``, divided by its largest entry; rows of NaN apart."""
    squares = gram.diagonal(dim1=-2, dim2=-1)
    if gram.dim() == 2 and gram.device.type == "cpu":  # one number, which a call takes longer than
        most: float = max(_LEAST, *squares.tolist())
        return gram / most
    largest = squares.nan_to_num(0.0, torch.inf).amax(-1).clamp_min(_LEAST)
    return gram / largest[..., None, None]


def row_cosine(gram: Tensor, i: int, j: int) -> Tensor:
    """``(...)``: the cosine between rows i and j of ``gram`` ``(..., R, R)``; 0 where either is zero."""
    length = gram[..., i, i].sqrt() * gram[..., j, j].sqrt()
    return divide(gram[..., i, j], length).clamp(-1, 1)


def rounding(gram: Tensor) -> float:
    """The relative rounding of the rows that a Gram matrix is of: at 1 ± this they may be the same numbers.

    `Method.combine` writes it on the matrix that it gives to `Method.coefficients`; any other, such as a part
    of that one, is taken to be of rows in its own precision.
    """
    return float(getattr(gram, "rounding", torch.finfo(gram.dtype).eps))


def rounded(gram: Tensor, rounding: float) -> Tensor:
    """The Gram matrix, with the relative rounding of its rows written on it."""
    gram.rounding = rounding  # type: ignore[attr-defined]
    return gram


def adam_start(parameters: Tensor) -> dict[str, Tensor]:
    """What `adam` remembers, before its first step on parameters ``(..., K)``."""
    zeros = torch.zeros_like(parameters)
    return {"adam_mean": zeros, "adam_square": zeros, "adam_steps": torch.zeros_like(parameters[..., :1])}


def adam(state: dict[str, Tensor], name: str, gradient: Tensor, lr: float, where: Tensor) -> None:
    """One step of Adam on ``state[name]`` ``(..., K)``, with β = (0.9, 0.999) and ε = 1e-8.

    Source: Kingma & Ba 2015, arXiv 1412.6980, Algorithm 1.

    Args:
        state: written; it also holds what `adam_start` returned.
        name: of the parameters.
        gradient: ``(..., K)``.
        lr: learning rate.
        where: ``(..., 1)``; entries where it is False stay as they are.
    """
    steps = state["adam_steps"] + 1
    mean = 0.9 * state["adam_mean"] + 0.1 * gradient
    square = 0.999 * state["adam_square"] + 0.001 * gradient**2
    length = (square / (1 - 0.999**steps)).sqrt() + 1e-8
    moved = state[name] - lr * mean / (1 - 0.9**steps) / length
    new = {"adam_steps": steps, "adam_mean": mean, "adam_square": square, name: moved}
    state |= {key: torch.where(where, value, state[key]) for key, value in new.items()}


def check_rho(rho: float, name: str = "rho") -> None:
    """Refuse an EMA coefficient outside (0, 1].

    Raises:
        ValueError: it is.
    """
    if not 0 < rho <= 1:
        raise ValueError(f"{name} must lie in (0, 1], got {rho}")


def draw(state: dict[str, Tensor], count: int) -> Tensor:
    """Uniform numbers ``(..., count)`` from the step and the seed in ``state``, where the step moves on."""
    numbers = uniform(state["step"], count, state["seed"])
    state["step"] = state["step"] + 1
    return numbers


def uniform(counter: Tensor, count: int, seed: Tensor | None = None) -> Tensor:
    """Uniform numbers in [0, 1) that depend on a counter and a seed alone.

    Args:
        counter: ``(...)`` int64; one value per call, such as the number of the step.
        count: how many numbers per value.
        seed: ``(...)`` int64; each has a stream of its own. None for 0.

    Returns:
        ``(..., count)`` in float64, 53 bits each, by the SplitMix64 generator (Steele, Lea & Flood 2014,
        "Fast splittable pseudorandom number generators"), whose stream position is counter * count + index
        and whose stream starts at the generator's own mix of the seed.
    """
    index = torch.arange(1, count + 1, device=counter.device)
    start = torch.zeros_like(counter) if seed is None else _mix(seed)
    z = _mix((counter[..., None] * count + index) * _GOLDEN + start[..., None])
    return _shift(z, 11).double() * 2.0**-53


def seeds(seed: int | Tensor, leading: torch.Size, shape: torch.Size, device: torch.device) -> Tensor:
    """One seed for all, or one for each entry of ``leading``, as int64 of ``shape``, which begins with it.

    Raises:
        ValueError: ``seed`` has another shape.
    """
    if not isinstance(seed, Tensor):
        seed = torch.tensor(_signed(int(seed) % 2**64))
    if seed.shape not in ((), leading):
        raise ValueError(f"seed must have the shape () or {tuple(leading)}, got {tuple(seed.shape)}")
    seed = seed.to(device, torch.int64)
    return seed.reshape((*seed.shape, *[1] * (len(shape) - seed.dim()))).expand(shape).clone()


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shift(z, 30)) * _MIX_1
    z = (z ^ _shift(z, 27)) * _MIX_2
    return z ^ _shift(z, 31)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


_GOLDEN, _MIX_1, _MIX_2 = map(_signed, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def _shift(value: Tensor, bits: int) -> Tensor:
    """A logical shift to the right: int64 shifts its sign along."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)
