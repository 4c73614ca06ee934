"""The drop-in for training loops, against the direction of the method on gradients laid out by hand."""

import dataclasses
import gc
import weakref

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from scalpel_bench import methods
from scalpel_bench.methods import Surgeon
from tests.methods.surgeons import (
    batches,
    bloop,
    flat_gradients,
    losses,
    network,
    optimizer_of,
    train,
    vector,
    written,
)


@pytest.mark.parametrize("name", methods.available())
def test_every_method_writes_its_own_direction(name: str) -> None:
    model, method = network(), methods.create(name, lam=0.5)
    surgeon, optimizer, state = Surgeon(model.parameters(), method), optimizer_of(model), None
    for batch in batches(3):
        values = losses(model, batch)
        gradients = flat_gradients(model, values)
        state = method.init(gradients) if state is None else state
        expected, state = method.combine(gradients, state, torch.stack(values).detach())
        surgeon.backward(*values)
        torch.testing.assert_close(written(model), expected)
        optimizer.step()


@pytest.mark.parametrize("memory", ["rows", "streaming"])
def test_a_method_may_be_replaced_in_training_to_move_lambda(memory: str) -> None:
    model, method = network(), bloop()
    surgeon, optimizer, state = Surgeon(model.parameters(), method, memory=memory), optimizer_of(model), None
    for step, batch in enumerate(batches(4)):
        surgeon.method = method = dataclasses.replace(method, lam=1 / (1 + step))
        values = losses(model, batch)
        gradients = flat_gradients(model, values)
        state = method.init(gradients) if state is None else state
        expected, state = method.combine(gradients, state, torch.stack(values).detach())
        surgeon.backward(*values)
        torch.testing.assert_close(written(model), expected)
        optimizer.step()


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("zero_grad", [None, False, True])
def test_any_way_to_clear_gradients_gives_the_same_training(zero_grad: bool | None, fused: bool) -> None:
    model = network()
    surgeon = Surgeon(model.parameters(), bloop())
    optimizer = torch.optim.Adam(model.parameters(), fused=fused)
    for batch in batches(3):
        surgeon.backward(*losses(model, batch))
        optimizer.step()
        if zero_grad is not None:
            optimizer.zero_grad(set_to_none=zero_grad)
    other = network()
    expected = train(
        other, Surgeon(other.parameters(), bloop()), batches(3), torch.optim.Adam(other.parameters())
    )
    torch.testing.assert_close(vector(model), expected)


def test_functions_give_what_tensors_give_and_free_the_first_graph_before_the_second_is_built() -> None:
    model, other, (batch, *_) = network(), network(), batches(1)
    Surgeon(other.parameters(), bloop()).backward(*losses(other, batch))
    graphs: list[weakref.ref] = []

    class Watched(torch.autograd.Function):
        @staticmethod
        def forward(ctx, outputs):
            ctx.save_for_backward(outputs)
            return outputs.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient

    def main() -> torch.Tensor:
        outputs = Watched.apply(model(batch[0]))
        graphs.append(weakref.ref(outputs.grad_fn))
        return mse_loss(outputs, batch[1])

    def aux() -> torch.Tensor:
        gc.collect()
        assert graphs[0]() is None
        return losses(model, batch)[1]

    Surgeon(model.parameters(), bloop()).backward(main, aux)
    torch.testing.assert_close(written(model), written(other))


def test_micro_batches_equal_one_batch() -> None:
    whole, parts, data = network(), network(), batches(4)
    large = Surgeon(whole.parameters(), bloop())
    surgeon, optimizer = Surgeon(parts.parameters(), bloop()), optimizer_of(parts)

    def separate(model: nn.Module, batch) -> tuple[torch.Tensor, torch.Tensor]:
        return mse_loss(model(batch[0]), batch[1]), model(batch[0]).abs().mean()

    stepped = optimizer_of(whole)
    for first, second in (data[:2], data[2:]):
        large.backward(*separate(whole, tuple(map(torch.cat, zip(first, second, strict=True)))))
        surgeon.accumulate(*(loss / 2 for loss in separate(parts, first)))
        assert all(p.grad is None for p in parts.parameters())
        surgeon.backward(*(loss / 2 for loss in separate(parts, second)))
        torch.testing.assert_close(written(parts), written(whole))
        assert surgeon.diagnostics() == pytest.approx(large.diagnostics(), rel=1e-4)
        for each in (stepped, optimizer):
            each.step()
            each.zero_grad()
    torch.testing.assert_close(vector(parts), vector(whole))


def test_clipping_comes_after_surgery() -> None:
    model, other, (batch,) = network(), network(), batches(1)
    for each in (model, other):
        Surgeon(each.parameters(), bloop()).backward(*losses(each, batch))
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
    torch.testing.assert_close(norm, written(other).norm())
    torch.testing.assert_close(written(model), written(other) * 1e-3 / norm)


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk, self.main, self.aux = nn.Linear(5, 4), nn.Linear(4, 3), nn.Linear(4, 3)
        self.unused = nn.Linear(2, 2)

    def losses(self, batch) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.trunk(batch[0]).tanh()
        return mse_loss(self.main(features), batch[1]), self.aux(features).square().mean()


def test_parameters_that_one_loss_reaches_or_none() -> None:
    model, method, (batch,) = TwoHeads(), bloop(), batches(1)
    gradients = flat_gradients(model, model.losses(batch))
    expected, _ = method.combine(gradients, method.init(gradients))
    Surgeon(model.parameters(), method).backward(*model.losses(batch))
    assert model.unused.weight.grad is None
    reached = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    torch.testing.assert_close(reached, expected[: len(reached)])


def test_heads_outside_of_shared_keep_their_own_gradient() -> None:
    model, method, (batch,) = TwoHeads(), bloop(lam=0.25), batches(1)
    trunk = list(model.trunk.parameters())
    main, aux = model.losses(batch)
    rows = [
        torch.cat([g.flatten() for g in torch.autograd.grad(v, trunk, retain_graph=True)])
        for v in (main, aux)
    ]
    expected, _ = method.combine(torch.stack(rows), method.init(torch.stack(rows)))
    heads = [*model.main.parameters(), *model.aux.parameters()]
    plain = torch.autograd.grad(main + aux, heads, retain_graph=True)
    surgeon = Surgeon(model.parameters(), method, shared=trunk)
    for _ in range(2):
        surgeon.accumulate(main / 2, lambda: model.losses(batch)[1] / 2)
        surgeon.backward(lambda: model.losses(batch)[0] / 2, lambda: model.losses(batch)[1] / 2)
        torch.testing.assert_close(torch.cat([p.grad.flatten() for p in trunk]), expected)
        torch.testing.assert_close([p.grad for p in heads], list(plain))
        model.zero_grad()
        main = model.losses(batch)[0]


def test_frozen_parameters_are_left_alone_and_may_be_frozen_later() -> None:
    model, data = network(), batches(3)
    model[2].bias.requires_grad_(False)
    surgeon, optimizer = Surgeon(model.parameters(), bloop()), optimizer_of(model)
    surgeon.backward(*losses(model, data[0]))
    optimizer.step()
    assert model[2].bias.grad is None
    model[0].weight.requires_grad_(False)
    optimizer.zero_grad()
    before = model[0].weight.clone()
    surgeon.backward(*losses(model, data[1]))
    optimizer.step()
    assert torch.equal(model[0].weight, before)


def test_parameter_groups_tied_weights_and_layouts() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 16), nn.Linear(16, 16))
    model[3].weight = model[2].weight
    model = model.to(memory_format=torch.channels_last)
    groups = [{"params": model[0].parameters(), "lr": 0.1}, {"params": model[2:].parameters()}]
    optimizer = torch.optim.Adam(groups, lr=0.01, fused=True)
    surgeon = Surgeon(optimizer.param_groups, method := bloop())
    outputs = model(torch.randn(6, 3, 4, 4))
    values = outputs.square().mean(), outputs.abs().mean()
    gradients = flat_gradients(model, values)
    surgeon.backward(*values)
    torch.testing.assert_close(written(model), method.combine(gradients, method.init(gradients))[0])
    assert model[0].weight.grad.stride() == model[0].weight.stride()


def test_a_saved_state_continues_bit_for_bit(tmp_path) -> None:
    data = batches(6)
    model = network()
    optimizer = optimizer_of(model)
    surgeon = Surgeon(model.parameters(), bloop())
    expected = train(model, surgeon, data, optimizer)

    model = network()
    optimizer = optimizer_of(model)
    surgeon = Surgeon(model.parameters(), bloop())
    train(model, surgeon, data[:3], optimizer)
    saved = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "surgeon": surgeon.state_dict(),
    }
    torch.save(saved, tmp_path / "checkpoint.pt")
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    model = network(seed=1)
    optimizer = optimizer_of(model)
    surgeon = Surgeon(model.parameters(), bloop())
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    surgeon.load_state_dict(saved["surgeon"])
    assert torch.equal(train(model, surgeon, data[3:], optimizer), expected)


def test_blocks_are_the_parameters() -> None:
    model, (batch,) = network(), batches(1)
    method = bloop(blocks=(35, 7, 21, 3))
    gradients = flat_gradients(model, losses(model, batch))
    surgeon = Surgeon(model.parameters(), bloop(blocks=True))
    surgeon.backward(*losses(model, batch))
    torch.testing.assert_close(written(model), method.combine(gradients, method.init(gradients))[0])
    assert surgeon.diagnostics()["main_norm"] == pytest.approx(gradients[0].norm().item())


def test_diagnostics_are_those_of_the_gradients() -> None:
    model, data = network(), batches(2)
    surgeon, optimizer = Surgeon(model.parameters(), bloop()), optimizer_of(model)
    assert surgeon.diagnostics() == {}
    surgeon.backward(*losses(model, data[0]))
    optimizer.step()
    (memory,) = surgeon.state_dict()["state"]["memory"].clone()
    main, aux = flat_gradients(model, losses(model, data[1]))
    surgeon.backward(*losses(model, data[1]))

    def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
        return (a @ b / a.norm() / b.norm()).item()

    removed = aux @ memory / (memory @ memory) * memory
    assert surgeon.diagnostics() == pytest.approx(
        {
            "main_loss": losses(model, data[1])[0].item(),
            "aux_loss": losses(model, data[1])[1].item(),
            "main_norm": main.norm().item(),
            "aux_norm": aux.norm().item(),
            "main_aux_cosine": cosine(main, aux),
            "aux_projected_share": (removed.norm() / aux.norm()).square().item(),
            "memory_main_cosine": cosine(memory, main),
        },
        rel=1e-4,
    )


def test_three_losses() -> None:
    model, (batch,) = network(), batches(1)
    surgeon = Surgeon(model.parameters(), methods.create("sum", lam=torch.tensor([0.5, 2.0])))
    third = model[0].weight.square().sum()
    values = (*losses(model, batch), third)
    main, aux, other = flat_gradients(model, values)
    surgeon.backward(*values)
    torch.testing.assert_close(written(model), main + 0.5 * aux + 2 * other)
    assert {"main_aux1_cosine", "main_aux2_cosine"} <= surgeon.diagnostics().keys()
