"""Surgery while gradients arrive, against surgery on rows that are kept."""

import copy
import math
from collections.abc import Callable
from itertools import chain

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from scalpel_bench import methods
from scalpel_bench.benchmarks.speed import memory
from scalpel_bench.methods import Surgeon
from tests.methods.surgeons import (
    STREAMING,
    batches,
    flat_gradients,
    losses,
    network,
    optimizer_of,
    pair,
    vector,
    written,
)


def three_losses(model: nn.Module, batch) -> tuple[torch.Tensor, ...]:
    return *losses(model, batch), model(batch[0]).square().mean()


def assert_alike(one: tuple[nn.Module, Surgeon], other: tuple[nn.Module, Surgeon]) -> None:
    torch.testing.assert_close(vector(one[0]), vector(other[0]))
    torch.testing.assert_close(one[1].state_dict()["state"], other[1].state_dict()["state"])


def train_pairs(pairs, data, values: Callable = losses, set_to_none: bool = True) -> None:
    for model, surgeon in pairs:
        optimizer = optimizer_of(model)
        for batch in data:
            surgeon.backward(*values(model, batch))
            optimizer.step()
            optimizer.zero_grad(set_to_none=set_to_none)
    assert_alike(*pairs)


@pytest.mark.parametrize("set_to_none", [True, False])
@pytest.mark.parametrize("name", STREAMING)
def test_it_equals_surgery_on_rows(name: str, set_to_none: bool) -> None:
    pairs = pair(network(), STREAMING[name])
    train_pairs(pairs, batches(5), set_to_none=set_to_none)
    told, kept = pairs[0][1].diagnostics(), pairs[1][1].diagnostics()
    lacking = {"main_aux_cosine", *(["aux_projected_share"] if name == "sum" else [])}
    assert told.keys() == kept.keys() - lacking
    assert told == pytest.approx({key: kept[key] for key in told}, rel=1e-4)
    if name == "before":  # of the EMA that was projected on
        (model, surgeon), batch = pairs[0], batches(6)[5]
        gradients = flat_gradients(model, losses(model, batch))
        surgeon.backward(*losses(model, batch))
        row = surgeon.state_dict()["state"]["memory"][0]
        cosines = torch.cosine_similarity(gradients, row[None], dim=1).tolist()
        assert surgeon.diagnostics()["memory_main_cosine"] == pytest.approx(cosines[0], rel=1e-4)
        assert surgeon.diagnostics()["aux_projected_share"] == pytest.approx(cosines[1] ** 2, rel=1e-3)


@pytest.mark.parametrize("name", STREAMING)
def test_three_objectives(name: str) -> None:
    train_pairs(pair(network(), STREAMING[name], lam=[0.5, 2.0]), batches(5), three_losses)


@pytest.mark.parametrize("name", ["after", "before"])
def test_functions_are_called_in_the_order_that_the_method_needs(name: str) -> None:
    pairs = pair(network(), STREAMING[name])
    called: list[int] = []

    def lazily(model: nn.Module, batch) -> tuple[Callable[[], torch.Tensor], ...]:
        def value(k: int) -> torch.Tensor:
            called.append(k)
            return losses(model, batch)[k]

        return lambda: value(0), lambda: value(1)

    train_pairs(pairs, batches(2), lazily)
    assert called[:4] == [0, 1, *((1, 0) if name == "after" else (0, 1))]


@pytest.mark.parametrize("name", STREAMING)
def test_micro_batches(name: str) -> None:
    pairs = pair(network(), STREAMING[name])
    for model, surgeon in pairs:
        optimizer, data = optimizer_of(model), iter(batches(9))
        for _ in range(3):
            surgeon.backward(*losses(model, next(data)))  # steps of both kinds in turns
            optimizer.step()
            optimizer.zero_grad()
            surgeon.accumulate(*(loss / 2 for loss in losses(model, next(data))))
            surgeon.backward(*(loss / 2 for loss in losses(model, next(data))))
            optimizer.step()
            optimizer.zero_grad()
    assert_alike(*pairs)


@pytest.mark.parametrize("set_to_none", [True, False])
def test_a_step_that_is_given_up_leaves_nothing_in_the_gradients(set_to_none: bool) -> None:
    pairs = pair(network(), STREAMING["sum"])
    for model, surgeon in pairs:
        optimizer, data = optimizer_of(model), batches(3)
        for batch in data[:2]:
            surgeon.backward(*losses(model, batch))
            optimizer.step()
            optimizer.zero_grad(set_to_none=set_to_none)
            surgeon.accumulate(*losses(model, data[2]))
            surgeon.drop()
            assert all(p.grad is None if set_to_none else not p.grad.any() for p in model.parameters())
    assert_alike(*pairs)


class Forked(nn.Module):
    """A trunk, a head of each loss, and what only some batches or no batch reach."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 6))
        self.main, self.aux = nn.Linear(6, 3), nn.Linear(6, 3)
        self.rare, self.never = nn.Linear(6, 3), nn.Linear(6, 3)

    def losses(self, batch, rare: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self.trunk(batch[0])
        outputs = [self.main(hidden), self.aux(hidden)]
        if rare is not None:
            outputs[rare] = outputs[rare] + self.rare(hidden)
        return mse_loss(outputs[0], batch[1]), outputs[1].abs().mean()


@pytest.mark.parametrize("headed", [True, False])
@pytest.mark.parametrize("name", STREAMING)
def test_heads_and_parameters_that_a_loss_does_not_reach(name: str, headed: bool) -> None:
    pairs = pair(Forked(), STREAMING[name])
    for model, surgeon in pairs:
        if headed:
            shared = chain(model.trunk.parameters(), model.rare.parameters(), model.never.parameters())
            surgeon.__init__(
                model.parameters(),
                surgeon.method,
                shared=shared,
                memory="streaming" if surgeon is pairs[0][1] else "rows",
            )
        optimizer = optimizer_of(model)
        for batch, rare in zip(batches(6), (0, None, 1, 0, None, 1), strict=True):
            surgeon.backward(*model.losses(batch, rare))
            assert model.never.weight.grad is None
            assert (model.rare.weight.grad is None) == (rare is None)
            optimizer.step()
            optimizer.zero_grad()
    assert_alike(*pairs)


@pytest.mark.parametrize("name", STREAMING)
def test_batches_without_one_of_the_losses(name: str) -> None:
    def some(model: nn.Module, batch) -> tuple[torch.Tensor | float, torch.Tensor | float]:
        main, aux = losses(model, batch)
        return (0.0, aux) if batch[0][0, 0] > 0.5 else (main, 0.0) if batch[0][0, 0] < 0 else (main, aux)

    data = batches(8)
    assert len({bool(b[0][0, 0] > 0.5) - bool(b[0][0, 0] < 0) for b in data}) == 3
    train_pairs(pair(network(), STREAMING[name]), data, some)


@pytest.mark.parametrize("name", STREAMING)
def test_other_layouts_in_memory_and_leaves_beside_the_model(name: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(12, 3, bias=False), nn.LayerNorm(3))
    pairs = pair(model.to(memory_format=torch.channels_last), STREAMING[name])
    generator = torch.Generator().manual_seed(1)
    data = [torch.randn(4, 2, 4, 4, generator=generator) for _ in range(4)]
    beside = {id(m): torch.ones(3, requires_grad=True) for m, _ in pairs}

    def values(model: nn.Module, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        outputs = model(batch) * beside[id(model)]
        # a gradient without strides, and one that lies the other way round
        return outputs.square().mean(), outputs.abs().mean() + model[0].weight.sum() + model[
            2
        ].weight.t().pow(2).sum()

    train_pairs(pairs, data, values)
    torch.testing.assert_close(*[beside[id(m)].grad for m, _ in pairs])


@pytest.mark.parametrize("name", STREAMING)
def test_parameters_that_join_and_leave(name: str) -> None:
    pairs = pair(network(), STREAMING[name])
    for model, surgeon in pairs:
        optimizer = optimizer_of(model)
        model[0].weight.requires_grad_(False)
        for i, batch in enumerate(batches(6)):
            model[0].weight.requires_grad_(i >= 2)
            model[2].bias.requires_grad_(i < 4)
            surgeon.backward(*losses(model, batch))
            optimizer.step()
            optimizer.zero_grad()
    assert_alike(*pairs)


@pytest.mark.parametrize("name", STREAMING)
def test_a_state_goes_from_one_kind_to_the_other(name: str) -> None:
    pairs = pair(network(), STREAMING[name])
    train_pairs(pairs, batches(3))
    states = [surgeon.state_dict() for _, surgeon in pairs]
    for (_, surgeon), state in zip(pairs, reversed(states), strict=True):
        surgeon.load_state_dict(state)
    train_pairs(pairs, batches(5)[3:])


def test_hooks_run_once_on_the_direction() -> None:
    model = network()
    surgeon = Surgeon(model.parameters(), methods.create(**STREAMING["after"], lam=0.5), memory="streaming")
    seen: list[torch.Tensor] = []
    model[0].weight.register_hook(lambda gradient: seen.append(gradient.clone()))
    model[0].weight.register_post_accumulate_grad_hook(lambda leaf: seen.append(leaf.grad.clone()))
    surgeon.backward(*losses(model, batches(1)[0]))
    assert len(seen) == 2
    torch.testing.assert_close(seen[0], model[0].weight.grad)
    torch.testing.assert_close(seen[1], model[0].weight.grad)


@pytest.mark.parametrize("name", STREAMING)
def test_a_scaler_and_its_overflows(name: str) -> None:
    scalers = [torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=2) for _ in range(2)]
    pairs = pair(network(), STREAMING[name])
    for scaler, (model, surgeon) in zip(scalers, pairs, strict=True):
        surgeon._scaler = scaler
        optimizer = optimizer_of(model)
        for i, batch in enumerate(batches(6)):
            main, aux = losses(model, batch)
            if i == 3:  # the gradient of the loss that is differentiated first overflows
                before = copy.deepcopy(surgeon.state_dict()["state"])
                huge = (model[2].bias * 0).sqrt().sum()
                main, aux = (main + huge, aux) if name == "before" else (main, aux + huge)
            surgeon.backward(main, aux)
            if i == 3:
                assert all(math.isinf(value) for value in written(model).abs().tolist())
                if name != "before":
                    torch.testing.assert_close(surgeon.state_dict()["state"], before, rtol=0, atol=0)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
    assert scalers[0].get_scale() == scalers[1].get_scale()
    if name != "before":
        assert_alike(*pairs)
        told, kept = (surgeon.diagnostics() for _, surgeon in pairs)
        assert told == pytest.approx({key: kept[key] for key in told}, rel=1e-3)


@pytest.mark.parametrize("order", ["after", "before"])
def test_a_step_with_adam_holds_five_vectors_and_a_layer(order: str) -> None:
    model = nn.Sequential(*[nn.Linear(256, 256, bias=False) for _ in range(8)])
    batch = torch.ones(1, 256)

    def start() -> Callable[[], None]:
        net = copy.deepcopy(model)
        optimizer = torch.optim.Adam(net.parameters(), fused=True)
        method = methods.create("bloop", order=order)
        surgeon = Surgeon(optimizer, method, memory="streaming")

        def step() -> None:
            outputs = net(batch)
            surgeon.backward(outputs.square().mean(), outputs.abs().mean())
            optimizer.step()
            optimizer.zero_grad()

        step()
        step()
        return step

    vector = sum(p.nbytes for p in model.parameters())
    assert memory.of_call(start, "cpu") == pytest.approx((5 + 1 / 8) * vector, rel=0.02)


STREAM = [name for name in methods.available() if methods.get(name)().streams]


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("name", STREAM)
def test_what_a_method_says_of_streaming_is_true(name: str, k: int) -> None:
    """Over random G: constants for the gradients; for the rows, what has not arrived yet changes nothing."""
    assert {"sum", "bloop"} <= set(STREAM)
    method = methods.get(name)()
    for settings in [{}, {"order": "before"}] if name == "bloop" else [{}]:
        method = methods.create(name, lam=0.7, rho=0.1, **settings) if name == "bloop" else method
        emas = method.memory(k)
        rows, generator = k + len(emas), torch.Generator().manual_seed(0)
        found = []
        for _ in range(5):
            vectors = torch.randn(rows, 9, generator=generator, dtype=torch.float64)
            gram = vectors @ vectors.T
            whole = method.seen_coefficients(gram, k, 1e-7)
            found.append(whole[:k])
            for row, ema in enumerate(emas):
                known = gram.clone()
                known[:k, :k] = 0
                for other, of in enumerate(emas):
                    gone = range(of.objective + 1)
                    if ema.order == "after":
                        gone = range(max(ema.objective, of.objective) + 1)
                    for i in gone:
                        known[i, k + other] = known[k + other, i] = 0
                part = method.seen_coefficients(known, k, 1e-7)
                torch.testing.assert_close(part[k + row], whole[k + row])
        torch.testing.assert_close(torch.stack(found), found[0].expand(5, k))
