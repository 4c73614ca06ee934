"""What `Surgeon` hands out and takes in is a copy; what no step has used is not overwritten."""

import copy
from collections.abc import Callable

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
    written,
)


def test_a_state_does_not_change_after_it_was_handed_out() -> None:
    net, data = network(), batches(6)
    surgeon, optimizer = Surgeon(net.parameters(), bloop()), optimizer_of(net)
    train(net, surgeon, data[:3], optimizer)
    state = surgeon.state_dict()
    expected = copy.deepcopy(state)
    train(net, surgeon, data[3:], optimizer)
    assert torch.equal(state["state"]["memory"], expected["state"]["memory"])
    assert state["sizes"] == expected["sizes"]


def test_its_seed_is_that_of_what_a_method_draws() -> None:
    (batch,), method = batches(1), methods.create("rlw", lam=1.0)
    found = []
    for seed in (0, 3):
        net = network()
        values = losses(net, batch)
        rows = flat_gradients(net, values)
        direction, _ = method.combine(rows, method.init(rows, seed), torch.stack(values).detach())
        Surgeon(net.parameters(), method, seed=seed).backward(*losses(net, batch))
        torch.testing.assert_close(written(net), direction)
        found.append(direction)
    assert not torch.equal(*found)


def test_surgeons_that_load_one_state_go_their_own_ways() -> None:
    start, data = network(), batches(9)
    surgeon = Surgeon(start.parameters(), bloop())
    train(start, surgeon, data[:3])
    state = surgeon.state_dict()

    def go_on(net: nn.Module, loaded: Surgeon, some) -> torch.Tensor:
        return train(net, loaded, some, torch.optim.SGD(net.parameters(), 0.1))

    alone = copy.deepcopy(start)
    other = Surgeon(alone.parameters(), bloop())
    other.load_state_dict(copy.deepcopy(state))
    expected = go_on(alone, other, data[6:])
    nets = copy.deepcopy(start), copy.deepcopy(start)
    first, second = (Surgeon(net.parameters(), bloop()) for net in nets)
    first.load_state_dict(state)
    second.load_state_dict(state)
    go_on(nets[0], first, data[3:6])
    assert torch.equal(go_on(nets[1], second, data[6:]), expected)


def test_a_state_does_not_depend_on_the_order_in_memory() -> None:
    torch.manual_seed(0)
    start = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2))
    inputs = torch.randn(3, 6, 3, 4, 4)

    def steps(net: nn.Module, surgeon: Surgeon, some: torch.Tensor) -> None:
        for part in some:
            outputs = net(part)
            surgeon.backward(outputs.square().mean(), outputs.abs().mean())
            net.zero_grad()

    plain, last = copy.deepcopy(start), copy.deepcopy(start).to(memory_format=torch.channels_last)
    reference = Surgeon(plain.parameters(), bloop())
    steps(plain, reference, inputs)
    saved = Surgeon(last.parameters(), bloop())
    steps(last, saved, inputs[:1])
    loaded = Surgeon(start.parameters(), bloop())
    loaded.load_state_dict(saved.state_dict())
    steps(start, loaded, inputs[1:2])
    start.to(memory_format=torch.channels_last)  # and turned in the midst of training
    steps(start, loaded, inputs[2:])
    torch.testing.assert_close(loaded.state_dict()["state"], reference.state_dict()["state"])


def test_a_gradient_that_is_kept_stays_as_it_was() -> None:
    net, data = network(), batches(2)
    surgeon, optimizer = Surgeon(net.parameters(), bloop()), optimizer_of(net)
    surgeon.backward(*losses(net, data[0]))
    kept, values = [p.grad for p in net.parameters()], written(net)
    optimizer.step()
    optimizer.zero_grad()
    surgeon.backward(*losses(net, data[1]))
    assert torch.equal(torch.cat([gradient.flatten() for gradient in kept]), values)
    assert not torch.equal(written(net), values)


def other_optimizer(net: nn.Module) -> None:
    elsewhere = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([elsewhere], 0.1)
    elsewhere.square().sum().backward()
    optimizer.step()


def clamp(net: nn.Module) -> None:
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.clamp_(-0.1, 0.1)


def clip(net: nn.Module) -> None:
    nn.utils.clip_grad_norm_(net.parameters(), 0.1)


@pytest.mark.parametrize("between", [other_optimizer, clamp, clip], ids=lambda f: f.__name__)
def test_nothing_but_a_step_of_its_optimizer_frees_a_direction(between: Callable[[nn.Module], None]) -> None:
    net, data = network(), batches(2)
    surgeon, optimizer = Surgeon(net.parameters(), bloop()), optimizer_of(net)
    for _ in range(2):
        surgeon.backward(*losses(net, data[0]))
        between(net)
        expected = written(net)
        with pytest.raises(RuntimeError, match="twice without a step"):
            surgeon.backward(*losses(net, data[1]))
        assert torch.equal(written(net), expected)
        optimizer.step()


def test_each_of_two_optimizers_has_to_step() -> None:
    net, data = network(), batches(3)
    halves = [torch.optim.SGD(net[i].parameters(), 0.1) for i in (0, 2)]
    surgeon = Surgeon(net.parameters(), bloop())
    surgeon.backward(*losses(net, data[0]))
    for optimizer in halves:
        optimizer.step()
    surgeon.backward(*losses(net, data[1]))
    halves[0].step()
    halves[0].zero_grad()
    with pytest.raises(RuntimeError, match="twice without a step"):
        surgeon.backward(*losses(net, data[2]))
    halves[1].step()
    surgeon.backward(*losses(net, data[2]))


def test_the_step_of_another_optimizer_frees_no_direction_before_its_own_has_ever_stepped() -> None:
    net, data = network(), batches(2)
    halves = [torch.optim.SGD(net[i].parameters(), 0.1) for i in (0, 2)]
    surgeon = Surgeon(net.parameters(), bloop())
    surgeon.backward(*losses(net, data[0]))
    halves[0].step()
    expected = written(net)
    with pytest.raises(
        RuntimeError, match=r"twice without a step of parameter 2 of shape \(3, 7\): step the"
    ):
        surgeon.backward(*losses(net, data[1]))
    assert torch.equal(written(net), expected)
    halves[1].step()
    surgeon.backward(*losses(net, data[1]))


def test_parameters_that_no_optimizer_steps_are_frozen_or_cleared() -> None:
    net, data = network(), batches(3)
    surgeon, optimizer = Surgeon(net.parameters(), bloop()), torch.optim.SGD(net[2].parameters(), 0.1)
    surgeon.backward(*losses(net, data[0]))
    optimizer.step()
    optimizer.zero_grad()
    with pytest.raises(RuntimeError, match=r"twice without a step of parameter 0 .* freeze it if none does"):
        surgeon.backward(*losses(net, data[1]))
    net.zero_grad()
    surgeon.backward(*losses(net, data[1]))
    optimizer.step()
    net[0].requires_grad_(False)
    surgeon.backward(*losses(net, data[2]))


def test_a_gradient_that_came_after_the_step_is_not_lost() -> None:
    net, data = network(), batches(2)
    surgeon, optimizer = Surgeon(net.parameters(), bloop()), optimizer_of(net)
    surgeon.backward(*losses(net, data[0]))
    optimizer.step()
    optimizer.zero_grad(set_to_none=False)
    net[0].bias.sum().backward()
    with pytest.raises(RuntimeError, match=r"parameter 1 of shape \(7,\) has a gradient"):
        surgeon.backward(*losses(net, data[1]))


def test_what_was_accumulated_can_be_dropped() -> None:
    net, data = network(), batches(2)
    surgeon = Surgeon(net.parameters(), bloop())
    surgeon.accumulate(*losses(net, data[0]))
    surgeon.drop()
    surgeon.backward(*losses(net, data[1]))
    other = network()
    Surgeon(other.parameters(), bloop()).backward(*losses(other, data[1]))
    assert torch.equal(written(net), written(other))


def gradients_of(net: nn.Module, data, compiled: Callable, surgeon: Surgeon) -> list[torch.Tensor]:
    results = []
    for inputs, targets in data:
        outputs = compiled(inputs)
        surgeon.backward(mse_loss(outputs, targets), outputs.abs().mean())
        results.append(written(net))
        net.zero_grad()
    return results


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
@pytest.mark.parametrize("used_before", [False, True])
def test_losses_that_share_the_forward_pass_of_a_compiled_model(backend: str, used_before: bool) -> None:
    """Used before: the graph was compiled to give its saved tensors away at its first backward pass."""
    torch._dynamo.reset()
    nets = [network(), network()]
    for net in nets:
        net.insert(1, nn.GELU())  # its backward pass works in the memory of what it saved
    data = batches(3)
    expected = gradients_of(nets[0], data, nets[0], Surgeon(nets[0].parameters(), bloop()))
    compiled = torch.compile(nets[1], backend=backend)
    if used_before:
        compiled(data[0][0]).square().mean().backward()
        nets[1].zero_grad()
    ours = gradients_of(nets[1], data, compiled, Surgeon(nets[1].parameters(), bloop()))
    torch.testing.assert_close(ours, expected)


def test_a_step_that_is_compiled_is_a_step() -> None:
    net, data = network(), batches(2)
    surgeon, optimizer = Surgeon(net.parameters(), bloop()), torch.optim.SGD(net.parameters(), 0.1)
    step = torch.compile(optimizer.step, backend="eager")
    for batch in data:
        surgeon.backward(*losses(net, batch))
        step()


def test_famo_with_blocks_loads_and_takes_a_parameter_in() -> None:
    """Its logarithms of the losses are remembered per block."""
    model, (batch, *_) = network(), batches(1)
    last = model[2].bias
    last.requires_grad_(False)
    surgeon = Surgeon(model.parameters(), methods.create("famo", blocks=True))
    surgeon.backward(*losses(model, batch))
    other = Surgeon(model.parameters(), methods.create("famo", blocks=True))
    other.load_state_dict(surgeon.state_dict())
    optimizer_of(model).step()
    last.requires_grad_(True)
    model.zero_grad()
    surgeon.backward(*losses(model, batch))
    assert surgeon.state_dict()["state"]["logs"].shape == (4, 2)


def test_a_list_that_grows_later_takes_no_parameter_in() -> None:
    """Only an optimiser's groups do: its own list of parameters is a copy too."""
    net, extra, (batch,) = network(), nn.Linear(3, 1), batches(1)
    parameters = list(net.parameters())
    surgeon = Surgeon(parameters, bloop())
    parameters += list(extra.parameters())
    main, aux = losses(net, batch)
    surgeon.backward(main + extra(net(batch[0])).square().mean(), aux)
    assert sum(surgeon.state_dict()["sizes"]) == sum(p.numel() for p in net.parameters())


def test_a_state_that_is_refused_leaves_what_was_accumulated() -> None:
    net, data = network(), batches(2)
    surgeon = Surgeon(net.parameters(), bloop())
    bad = Surgeon(net.parameters(), methods.create("sum")).state_dict()
    surgeon.accumulate(*losses(net, data[0]))
    net[2].bias.requires_grad_(False)
    with pytest.raises(ValueError, match="the state is one of 'sum'"):
        surgeon.load_state_dict(bad)
    with pytest.raises(RuntimeError, match="the parameters changed between micro-batches"):
        surgeon.backward(*losses(net, data[1]))


def test_a_parameter_that_comes_back_has_its_memory_and_one_of_another_shape_a_new_one() -> None:
    net, data = network(), batches(3)
    surgeon, optimizer = Surgeon(net.parameters(), bloop()), optimizer_of(net)
    train(net, surgeon, data[:2], optimizer)
    before = surgeon.state_dict()["state"]["memory"][0].split([p.numel() for p in net.parameters()])
    net[2].bias.data = torch.zeros(1)
    net.zero_grad()
    surgeon.backward(*losses(net, data[2]))
    gradients = flat_gradients(net, losses(net, data[2]))[0].split([p.numel() for p in net.parameters()])
    after = surgeon.state_dict()["state"]["memory"][0].split([p.numel() for p in net.parameters()])
    for old, new, gradient in list(zip(before, after, gradients, strict=True))[:3]:
        torch.testing.assert_close(new, 0.9 * old + 0.1 * gradient)
    torch.testing.assert_close(after[3], gradients[3])
