"""What coincides when: every row of the table in docs/methods.md, where it holds and where it does not.

Directions are those of a second step after other gradients, so that there is something to remember.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, NamedTuple

import pytest
import torch
from torch import Tensor

from scalpel_bench import methods
from scalpel_bench.benchmarks.contract import sampled

SAME, APART = 1e-6, 1e-3


class Draws(NamedTuple):
    """N times two steps of gradients ``(N, K, P)``, the losses ``(N, K)`` of the second, and λ ``(N,)``."""

    before: Tensor
    now: Tensor
    losses: Tensor
    lam: Tensor

    @property
    def gram(self) -> Tensor:
        return self.now @ self.now.mT

    @property
    def lengths(self) -> Tensor:
        return torch.linalg.vector_norm(self.now, dim=-1)

    @property
    def share(self) -> Tensor:
        """⟨g_a, g_m⟩ / ‖g_m‖²."""
        return self.gram[:, 0, 1] / self.gram[:, 0, 0]


Where = Callable[[Draws], Tensor]
"""Which of the draws ``(N,)``."""
Settings = dict[str, Any]


def always(draws: Draws) -> Tensor:
    return draws.lam > 0


def two(draws: Draws) -> Tensor:
    return always(draws) & (draws.now.shape[1] == 2)


def agree(draws: Draws) -> Tensor:
    return (draws.gram >= -1e-9).all(-1).all(-1)


def conflict(draws: Draws) -> Tensor:
    return two(draws) & ~agree(draws)


def right_angles(draws: Draws) -> Tensor:
    return (draws.gram.abs() > 1e-9).sum((-2, -1)) == draws.now.shape[1]


def equal_lengths(draws: Draws) -> Tensor:
    return draws.lengths.amax(-1) < draws.lengths.amin(-1) * (1 + 1e-9)


def at_one(draws: Draws) -> Tensor:
    return draws.lam == 1


def within_barrier(draws: Draws) -> Tensor:
    return draws.lam * draws.share <= 1


def below_cap(draws: Draws) -> Tensor:
    return draws.lam * draws.share <= 1 - 1 / CAPPED["most"]


def sum_in_cone(draws: Draws) -> Tensor:
    weights = torch.ones_like(draws.losses)
    weights[:, 1:] = draws.lam[:, None]
    return (draws.gram @ weights[..., None] >= 0).all(-2).squeeze(-1)


def mean_against_auxiliary(draws: Draws) -> Tensor:
    return two(draws) & (draws.gram[:, 0, 1] <= -draws.lam * draws.gram[:, 1, 1])


def main_is_shortest(draws: Draws) -> Tensor:
    return two(draws) & (draws.share >= 1)


def weights_of_positive_sum(draws: Draws) -> Tensor:
    """Those of IMTL-G before they are divided by their sum: C⁻¹1 over the lengths."""
    cosines = draws.gram / draws.lengths[:, :, None] / draws.lengths[:, None]
    return (torch.linalg.inv(cosines).sum(-1) / draws.lengths).sum(-1) > 0


def sum_of_auxiliary_agrees(draws: Draws) -> Tensor:
    return draws.gram[:, 0, 1:].sum(-1) >= 0


def none_agrees(draws: Draws) -> Tensor:
    return (draws.gram[:, 0, 1:] <= 1e-9).all(-1)


def progress_as_it_is(draws: Draws) -> Tensor:
    cosines = draws.gram[:, 0, 1:] / draws.lengths[:, :1] / draws.lengths[:, 1:]
    return (cosines >= (draws.lam / (1 + draws.lam))[:, None]).all(-1)


def all_of(*conditions: Where) -> Where:
    def where(draws: Draws) -> Tensor:
        return torch.stack([condition(draws) for condition in conditions]).all(0)

    where.__name__ = "_".join(condition.__name__ for condition in conditions)
    return where


@cache
def draws(k: int) -> Draws:
    """A quarter of equal lengths and a quarter at right angles; λ is 1, 0.4 or 3."""
    generator, count = torch.Generator().manual_seed(k), 120
    before, now = (torch.stack(sampled(count, 3, seed, k)) for seed in (2, 3))
    scales = 10 ** (2 * torch.rand(count, k, 1, generator=generator, dtype=torch.float64) - 1)
    unit = now / torch.linalg.vector_norm(now, dim=-1, keepdim=True)
    across = torch.linalg.qr(now.mT).Q.mT * scales
    kind = torch.arange(count)[:, None, None] % 4
    now = torch.where(kind == 2, 1.3 * unit, torch.where(kind == 3, across, scales * now))
    losses = 0.1 + 3 * torch.rand(count, k, generator=generator, dtype=torch.float64)
    return Draws(before, now, losses, torch.tensor([1.0, 0.4, 3.0] * (count // 3), dtype=torch.float64))


def directions(name: str, given: Draws, settings: Settings) -> Tensor:
    """``(N, P)``, at the draws' λ unless the settings have one, which may follow from the draws."""
    filled = {key: value(given) if callable(value) else value for key, value in settings.items()}
    method = methods.create(name, **{"lam": given.lam, **filled})
    state = method.init(given.before.roll(1, 0))
    _, state = method.combine(given.before, state, torch.ones_like(given.losses))
    return method.combine(given.now, state, given.losses)[0]


@dataclass
class Identity:
    """Of a method's direction with another's: times a factor, or where that is None up to length."""

    a: str
    b: str
    factor: float | Literal["mean"] | None = 1.0
    where: Where = always
    of_a: Settings = field(default_factory=dict)
    of_b: Settings = field(default_factory=dict)
    broken: Settings | None = None
    """Settings of a with which it does not hold."""

    def __str__(self) -> str:
        return f"{self.a}-{self.b}-{self.where.__name__}"

    def distances(self, given: Draws, of_a: Settings) -> Tensor:
        """``(N,)``, relative."""
        a, b = directions(self.a, given, of_a), directions(self.b, given, self.of_b)
        if self.factor is None:
            a, b = (v / torch.linalg.vector_norm(v, dim=-1, keepdim=True) for v in (a, b))
        else:
            b = b * (1 / given.now.shape[1] if self.factor == "mean" else self.factor)
        return torch.linalg.vector_norm(a - b, dim=-1) / torch.linalg.vector_norm(b, dim=-1)

    def known(self) -> list[Draws]:
        both = [(self.a, self.of_a), (self.b, self.of_b)]
        return [draws(k) for k in (2, 3) if all(defined(name, settings, k) for name, settings in both)]


def defined(name: str, settings: Settings, k: int) -> bool:
    """Whether a method is, for so many objectives."""
    method = methods.get(name)
    return method.objectives in (None, k) and (k == 2 or not (settings.get("ema") and method.projects))


NOW: Settings = {"rho": 1.0}
CAPPED: Settings = {"rho": 1.0, "most": 4.0}
PLAIN: Settings = {"beta": 1e-12}
"""GradVac at an average of 0."""
BALANCED: Settings = {"beta": 0.0}
"""Meta-Balance and PCD by the lengths of this step."""
MAIN: Settings = {"lam": 0.0}
"""The sum that is the main gradient alone."""
EQUAL_ANGLES = ["imtl_g", "nash_mtl", "fairgrad"]
FAIR = ["aligned_mtl", "cagrad", "config", "dualproj", "gradvac", "mgda", "pcgrad", "upgrad", *EQUAL_ANGLES]

IDENTITIES = [
    # projections
    Identity("upgrad", "pcgrad", 0.5, two),
    Identity("pcgrad", "sum", 1.0, agree),
    Identity("upgrad", "sum", "mean", agree),
    Identity("dualproj", "sum", "mean", sum_in_cone),
    Identity("dualproj", "agem", 0.5, mean_against_auxiliary),
    Identity("gradvac", "pcgrad", of_a=PLAIN, broken={"beta": 0.5}),
    Identity("gradvac_main", "agem", 1.0, two, of_a=PLAIN),
    # Bloop and its neighbours
    Identity("bloop", "bloop_no_ema", of_a=NOW, broken={"rho": 0.3}),
    Identity("bloop", "bloop_no_ema", 1.0, two, {"rho": 0.3}, {"ema": 0.3}, {"rho": 0.5}),
    Identity("one_sided_bloop", "pcgrad", 1.0, agree, NOW),
    Identity("one_sided_bloop", "sum", 1.0, agree, NOW),
    Identity("one_sided_bloop", "bloop_no_ema", 1.0, conflict, NOW),
    Identity("dynamic_barrier", "bloop_no_ema", 1.0, within_barrier),
    Identity("reweighted_sum", "bloop_no_ema", None, below_cap, CAPPED),
    Identity("reweighted_sum", "dynamic_barrier", None, below_cap, CAPPED),
    Identity("negative_momentum", "sum", of_a={"kappa": 0.0}, broken={"kappa": 0.5}),
    # the main gradient alone
    Identity("agem", "sum", 1.0, sum_of_auxiliary_agrees, {}, MAIN),
    Identity("cosine", "sum", 1.0, none_agrees, {}, MAIN),
    Identity("mgda", "sum", 1.0, main_is_shortest, {}, MAIN),
    Identity("pcd", "sum", 1.0, progress_as_it_is, BALANCED, MAIN),
    Identity("pcd", "agem", None, two, {"lam": 0.0}),
    # equal angles
    *(Identity("config", name, None, all_of(two, at_one)) for name in EQUAL_ANGLES),
    Identity("config", "imtl_g", None, all_of(at_one, weights_of_positive_sum)),
    Identity("config", "metabalance", None, all_of(two, at_one), {}, BALANCED),
    Identity("nash_mtl", "imtl_g", None, two),
    Identity("fairgrad", "nash_mtl", None, of_a={"alpha": 1.0}, broken={"alpha": 2.0}),
    Identity("config", "pcgrad", None, all_of(conflict, equal_lengths)),
    Identity("mgda", "pcgrad", None, conflict, {}, {"lam": lambda d: d.gram[:, 0, 0] / d.gram[:, 1, 1]}),
    # equal lengths, and right angles
    *(
        Identity(name, "sum", None, all_of(two, equal_lengths, at_one), PLAIN if name == "gradvac" else {})
        for name in FAIR
    ),
    *(Identity("mgda", name, None, all_of(two, equal_lengths)) for name in EQUAL_ANGLES),
    Identity("mgda", "fairgrad", None, all_of(two, equal_lengths), {}, {"alpha": 2.0}),
    Identity("bloop_no_ema", "sum", 1.0, right_angles),
    Identity("dynamic_barrier", "sum", 1.0, right_angles),
    Identity("config", "aligned_mtl", None, right_angles),
    Identity("config", "metabalance", None, right_angles, {}, BALANCED),
    # weights from losses, and settings that take the method out
    Identity("famo", "gls", None, of_a={"beta": 0.0, "gamma": 0.0}, broken={"beta": 1.0}),
    Identity("gls", "sum", None, two, {}, {"lam": lambda d: d.lam * d.losses[:, 0] / d.losses[:, 1]}),
    Identity("stch", "sum", None, of_a={"mu": 1e9}, broken={"mu": 1.0}),
    Identity("cagrad", "sum", "mean", of_a={"c": 0.0}, broken={"c": 0.5}),
    Identity("metabalance", "sum", of_a={"relax": 0.0}, broken={"relax": 1.0}),
    Identity("config_momentum", "config", of_a=NOW, broken={"rho": 0.5}),
    Identity("cr_mogm", "mgda", of_a={"weights_ema": 1.0}, broken={"weights_ema": 0.5}),
    *(Identity(name, name, of_a={"ema": 0.3}) for name in ("sum", "gls", "stch", "uncertainty")),
    Identity("sum", "sum", of_a={"weights_ema": 0.3}),
]


@pytest.mark.parametrize("identity", IDENTITIES, ids=str)
def test_where_it_holds_and_where_it_does_not(identity: Identity) -> None:
    where = torch.cat([identity.where(given) for given in identity.known()])
    found = torch.cat([identity.distances(given, identity.of_a) for given in identity.known()])
    assert where.sum() >= 8
    assert found[where].max() <= SAME
    if identity.broken is not None:
        otherwise = torch.cat([identity.distances(given, identity.broken) for given in identity.known()])
        assert (otherwise[where] > APART).sum() >= 8
    assert where.all() or (found[~where] > APART).sum() >= 8


def project_out(a: Tensor, b: Tensor) -> Tensor:
    return a - (a * b).sum(-1, keepdim=True) / (b * b).sum(-1, keepdim=True) * b


def exchanged(given: Draws) -> Draws:
    return given._replace(before=given.before.flip(1), now=given.now.flip(1), losses=given.losses.flip(1))


def test_pcgrad_of_two_is_agem_in_both_roles() -> None:
    given = draws(2)
    there, back = directions("agem", given, {}), directions("agem", exchanged(given), {})
    torch.testing.assert_close(directions("pcgrad", given, {}), there + given.lam[:, None] * back)


def test_negative_momentum_with_the_ratio_is_bloop() -> None:
    """κ is a setting of one run, so that each draw is one."""
    for i in range(20):
        one = Draws(*(entry[i : i + 1] for entry in draws(2)))
        found = directions("negative_momentum", one, {**NOW, "kappa": float(one.share)})
        torch.testing.assert_close(found, directions("bloop_no_ema", one, {}))


def test_gls_is_the_gradient_of_the_sum_of_the_logarithms() -> None:
    for given in (draws(2), draws(3)):
        weights = torch.cat(
            [torch.ones_like(given.lam[:, None]), given.lam[:, None].expand_as(given.losses[:, 1:])], -1
        )
        scaled = ((weights / given.losses)[..., None] * given.now).sum(-2)
        length = given.losses.log().mean(-1).exp() / given.now.shape[1]
        torch.testing.assert_close(directions("gls", given, {}), length[:, None] * scaled)


def test_the_three_dual_cone_methods() -> None:
    """DCGD (Hwang & Lim 2024, arXiv 2409.18426): centre, projection and average, written out on vectors."""
    given = draws(2)._replace(lam=torch.ones_like(draws(2).lam))
    main, aux = given.now.unbind(1)
    total, (long_main, long_aux) = main + aux, given.lengths[..., None].unbind(1)
    centre = main / long_main + aux / long_aux
    expected = (total * centre).sum(-1, keepdim=True) / (centre * centre).sum(-1, keepdim=True) * centre
    torch.testing.assert_close(directions("config", given, {}), expected)
    from_main, from_aux = ((total * g).sum(-1, keepdim=True) < 0 for g in (main, aux))
    projected = torch.where(
        from_aux, project_out(main, aux), torch.where(from_main, project_out(aux, main), total)
    )
    torch.testing.assert_close(2 * directions("dualproj", given, {}), projected)
    outside = (from_main | from_aux).squeeze(-1)
    average = (project_out(main, aux) + project_out(aux, main)) / 2
    torch.testing.assert_close(directions("upgrad", given, {})[outside], average[outside])
    assert 10 < outside.sum() < len(outside) - 10
