"""With the method `sum`, `Surgeon` does what ``(main + λ aux).backward()`` does to every leaf."""

import copy
import gc
import pickle
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.utils.checkpoint import checkpoint

from scalpel_bench import methods
from scalpel_bench.methods import Surgeon
from tests.methods.surgeons import batches, bloop, flat_gradients, losses, network, optimizer_of, written

LAM = 0.3
Backward = Callable[[Tensor, Tensor], None]
Make = Callable[..., Backward]


def plain(parameters) -> Backward:
    return lambda main, aux: (main + LAM * aux).backward()


def surgery(parameters) -> Backward:
    return Surgeon(parameters, methods.create("sum", lam=LAM)).backward


def step(optimizer: torch.optim.Optimizer) -> None:
    optimizer.step()
    optimizer.zero_grad()


def parameters_of_a_loss(make: Make) -> list[Tensor]:
    """Centres and a temperature that the optimiser owns, and the Surgeon was not given."""
    net, data = network(), batches(3)
    centres, temperature = nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(()))
    optimizer = torch.optim.Adam([*net.parameters(), centres, temperature], 0.1)
    backward = make(net.parameters())
    for inputs, targets in data:
        outputs = net(inputs)
        aux = (outputs - centres[inputs[:, 0].gt(0).long()]).square().mean()
        backward(mse_loss(outputs * temperature, targets), aux)
        step(optimizer)
    return [*net.parameters(), centres, temperature]


def inputs_that_require_grad(make: Make) -> list[Tensor]:
    net, ((inputs, targets),) = network(), batches(1)
    inputs.requires_grad_()
    backward = make(net.parameters())
    for _ in range(2):
        backward(*losses(net, (inputs, targets)))
        net.zero_grad()
    return [inputs.grad]


def parameters_of_another_optimizer(make: Make) -> list[Tensor]:
    """A discriminator below the generator's losses."""
    generator, discriminator, ((inputs, _),) = network(), nn.Linear(3, 1), batches(1)
    nn.init.ones_(discriminator.weight)
    outputs = generator(inputs)
    make(generator.parameters())(discriminator(outputs).square().mean(), outputs.abs().mean())
    return [p.grad for p in (*generator.parameters(), discriminator.weight)]


def a_group_that_is_added(make: Make) -> list[Tensor]:
    torch.manual_seed(0)
    net, extra, data = network(), nn.Linear(3, 3), batches(4)
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    backward = make(optimizer)
    for i, (inputs, targets) in enumerate(data):
        if i == 2:
            optimizer.add_param_group({"params": extra.parameters(), "lr": 0.05})
        outputs = net(inputs) if i < 2 else extra(net(inputs))
        backward(mse_loss(outputs, targets), outputs.abs().mean())
        step(optimizer)
    return [*net.parameters(), *extra.parameters()]


def unfrozen_and_frozen(make: Make) -> list[Tensor]:
    net, data = network(), batches(6)
    optimizer = torch.optim.Adam(net.parameters(), 0.1)
    backward = make(optimizer)
    for i, batch in enumerate(data):
        net[0].weight.requires_grad_(i >= 2)
        net[2].bias.requires_grad_(i < 4)
        backward(*losses(net, batch))
        step(optimizer)
    return list(net.parameters())


def reentrant_checkpoints(make: Make) -> list[Tensor]:
    """Below a frozen embedding, whose outputs are made to require grad."""
    torch.manual_seed(0)
    table, body, head = nn.Embedding(5, 4).requires_grad_(False), nn.Linear(4, 4), nn.Linear(4, 3)
    net, features = nn.ModuleList([table, body, head]), []
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    backward = make(optimizer)
    for _ in range(3):
        features.append(table(torch.arange(5)).requires_grad_())
        outputs = head(checkpoint(lambda x: body(x).tanh(), features[-1], use_reentrant=True))
        backward(cross_entropy(outputs, torch.tensor([0, 1, 2, 0, 1])), outputs.square().mean())
        step(optimizer)
    return [*net.parameters(), *(part.grad for part in features)]


def hooks_of_leaves(make: Make) -> list[Tensor]:
    """One that changes the gradient, one that keeps it."""
    net, (batch,), kept = network(), batches(1), []
    net[0].weight.register_hook(lambda gradient: gradient.clamp(-0.01, 0.01))
    net[2].bias.register_hook(kept.append)
    make(net.parameters())(*losses(net, batch))
    assert len(kept) == 1
    return [*(p.grad for p in net.parameters()), *kept]


def optimizers_in_hooks(make: Make) -> list[Tensor]:
    net, data = network(), batches(3)
    for parameter in net.parameters():
        own = torch.optim.SGD([parameter], 0.1)
        parameter.register_post_accumulate_grad_hook(lambda _, own=own: step(own))
    backward = make(net.parameters())
    for batch in data:
        backward(*losses(net, batch))
    return list(net.parameters())


def data_that_is_replaced(make: Make) -> list[Tensor]:
    """Another type, another shape."""
    net, data = network(), batches(3)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    backward = make(optimizer)
    backward(*losses(net, data[0]))
    step(optimizer)
    net.double()
    backward(*losses(net, tuple(part.double() for part in data[1])))
    step(optimizer)
    net[0].weight.data, net[0].bias.data = net[0].weight[:4].detach(), net[0].bias[:4].detach()
    net[2].weight.data = net[2].weight[:, :4].detach()
    backward(*losses(net, tuple(part.double() for part in data[2])))
    step(optimizer)
    return list(net.parameters())


def a_batch_without_labels(make: Make) -> list[Tensor]:
    net, data = network(), batches(4)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    backward = make(optimizer)
    for batch, nothing in zip(data, (None, 0.0, torch.tensor(0), torch.zeros(1)), strict=True):
        main, aux = losses(net, batch)
        backward(main, aux if nothing is None else nothing)
        step(optimizer)
    return list(net.parameters())


def gradients_that_stay(make: Make) -> list[Tensor]:
    """zero_grad(set_to_none=False): the same tensors, with zero where a loss does not reach."""
    net, unused, data = network(), nn.Parameter(torch.ones(2)), batches(2)
    optimizer = torch.optim.SGD([*net.parameters(), unused], 0.1, weight_decay=0.1)
    backward = make(optimizer)
    backward(losses(net, data[0])[0], unused.square().sum() + net[0].weight.sum())
    kept = [*(p.grad for p in net.parameters()), unused.grad]
    optimizer.step()
    optimizer.zero_grad(set_to_none=False)
    backward(*losses(net, data[1]))
    optimizer.step()
    assert all(p.grad is g for p, g in zip([*net.parameters(), unused], kept, strict=True))
    return [*net.parameters(), unused, *kept]


PROGRAMS = [
    parameters_of_a_loss,
    inputs_that_require_grad,
    parameters_of_another_optimizer,
    a_group_that_is_added,
    unfrozen_and_frozen,
    reentrant_checkpoints,
    hooks_of_leaves,
    optimizers_in_hooks,
    data_that_is_replaced,
    a_batch_without_labels,
    gradients_that_stay,
]


@pytest.mark.filterwarnings("ignore:.*requires_grad=True. Gradients will be None")
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_every_leaf_gets_what_backward_gives_it(program: Callable[[Make], list[Tensor]]) -> None:
    ours, expected = program(surgery), program(plain)
    assert all(tensor is not None for tensor in expected)
    torch.testing.assert_close(ours, expected)


def hidden(body: Callable[..., Tensor]) -> Callable[[Tensor], Tensor]:
    """A reentrant checkpoint within another."""

    def outer(inputs: Tensor) -> Tensor:
        return checkpoint(body, inputs * 1.0, use_reentrant=True)

    return lambda inputs: checkpoint(outer, inputs, use_reentrant=True)


@pytest.mark.filterwarnings("ignore:.*requires_grad=True. Gradients will be None")
@pytest.mark.parametrize("lazily", [True, False])
@pytest.mark.parametrize("nested", [True, False])
def test_a_leaf_that_a_reentrant_checkpoint_hides_is_refused(nested: bool, lazily: bool) -> None:
    owned, other = nn.Parameter(torch.ones(2)), nn.Parameter(torch.full((2,), 3.0))
    surgeon = Surgeon([owned], methods.create("sum", lam=LAM))

    def through(body: Callable[..., Tensor]) -> Tensor:
        inputs = owned * 1.0
        return (hidden(body)(inputs) if nested else checkpoint(body, inputs, use_reentrant=True)).sum()

    def values(body: Callable[..., Tensor]) -> list:
        loss = through(body)
        return [lambda: through(body), lambda: 5 * through(body)] if lazily else [loss, 5 * loss]

    for step in (surgeon.backward, surgeon.accumulate):
        with pytest.raises(
            RuntimeError, match=r"does not own: .* use_reentrant=False \(a leaf of shape \(2,\)"
        ):
            step(*values(lambda inputs: inputs * other))
        assert owned.grad is None
        assert other.grad is None
    surgeon.backward(*values(lambda inputs: inputs * owned))
    torch.testing.assert_close(owned.grad, torch.full((2,), 2 * (1 + 5 * LAM)))
    owned.grad = None
    if not lazily:  # seen beside the checkpoint, it is taken like any other leaf
        loss = through(lambda inputs: inputs * other) + other.sum()
        surgeon.backward(loss, 5 * loss)
        torch.testing.assert_close(other.grad, torch.full((2,), 2 * (1 + 5 * LAM)))


def test_other_leaves_follow_lambda_and_rescale() -> None:
    net, extra, (batch,) = network(), nn.Parameter(torch.ones(3)), batches(1)
    lam = torch.tensor([0.5, 2.0])
    surgeon = Surgeon(net.parameters(), methods.create("sum", lam=lam, rescale=True))
    surgeon.backward(*losses(net, batch), (extra * torch.tensor([1.0, 2.0, 3.0])).sum() + net[0].bias.sum())
    torch.testing.assert_close(extra.grad, 2 / 3.5 * torch.tensor([1.0, 2.0, 3.0]))


def test_retained_gradients_are_those_of_the_plain_sum() -> None:
    net, ((inputs, targets),) = network(), batches(1)
    outputs = net(inputs)
    outputs.retain_grad()
    Surgeon(net.parameters(), methods.create("sum", lam=LAM)).backward(
        mse_loss(outputs, targets), outputs.square().mean()
    )
    other = outputs.detach().requires_grad_()
    (mse_loss(other, targets) + other.square().mean()).backward()
    torch.testing.assert_close(outputs.grad, other.grad)


@pytest.mark.parametrize("memory", ["rows", "streaming"])
def test_a_step_that_is_given_up_leaves_nothing_in_other_leaves(memory: str) -> None:
    net, extra, data = network(), nn.Parameter(torch.ones(3)), batches(2)
    surgeon = Surgeon(net.parameters(), methods.create("sum", lam=LAM), memory=memory)

    def values(i: int) -> tuple[Tensor, Tensor]:
        outputs = net(data[i][0]) * extra
        return mse_loss(outputs, data[i][1]), outputs.square().mean()

    def plain(i: int) -> Tensor:
        main, aux = values(i)
        return torch.autograd.grad(main + LAM * aux, extra)[0]

    surgeon.accumulate(*values(0))
    surgeon.drop()
    surgeon.accumulate(*values(0))
    with pytest.raises(ValueError, match="does not require grad"):
        surgeon.backward(values(0)[0], values(0)[1].detach())
    surgeon.accumulate(*values(0))
    with pytest.raises(RuntimeError, match="not finite"):
        surgeon.backward(values(0)[0] + (net[0].bias * 0).sqrt().sum(), values(0)[1])
    assert extra.grad is None
    surgeon.accumulate(*values(0))
    surgeon.backward(*values(1))
    torch.testing.assert_close(extra.grad, plain(0) + plain(1))


def test_inputs_of_a_micro_batch_are_not_kept_and_their_hooks_run() -> None:
    net, seen = network(), []
    surgeon, data = Surgeon(net.parameters(), bloop()), batches(3)
    for hooked in (False, True):
        inputs, targets = data.pop()
        inputs.requires_grad_()
        if hooked:
            inputs.register_hook(seen.append)
        surgeon.accumulate(*losses(net, (inputs, targets)))
        alive = weakref.ref(inputs)
        del inputs
        gc.collect()
        assert (alive() is None) != hooked
    assert not seen
    surgeon.backward(*losses(net, data.pop()))
    assert len(seen) == 1


@pytest.mark.parametrize("memory", ["rows", "streaming"])
def test_nothing_is_added_to_the_direction_of_another_surgeon(memory: str) -> None:
    first, second = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizers = [torch.optim.SGD([p], 0.1) for p in (first, second)]
    one, other = (Surgeon(o, methods.create("sum", lam=0.5), memory=memory) for o in optimizers)

    def values() -> tuple[Tensor, Tensor]:
        return (first * second).sum(), second.sum() + first.sum()

    one.backward(*values())
    with pytest.raises(RuntimeError, match="parameter 0 .* has a gradient that backward would lose"):
        other.backward(*values())
    direction = first.grad.clone()
    for scale in (1.0, 2.0):  # as clipping does
        first.grad.mul_(scale)
        optimizers[1].zero_grad()
        with pytest.raises(RuntimeError, match="of shape .2,. whose .grad is the direction of another Surg"):
            other.backward(*values())
        with pytest.raises(RuntimeError, match="the direction of another Surgeon"):
            other.accumulate(lambda: values()[0], lambda: values()[1])
    assert torch.equal(first.grad, 2 * direction)
    assert second.grad is None
    optimizers[0].step()  # now it may go, cleared or not
    other.backward(*values())
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=False)
    other.backward(*values())


@pytest.mark.parametrize("settings", [{}, {"blocks": True}])
def test_what_is_remembered_follows_the_parameters(settings: dict) -> None:
    """Bloop's EMA begins at a parameter's first gradient, goes on, and ends where it is frozen."""
    net, data = network(), batches(4)
    parameters = list(net.parameters())
    net[0].weight.requires_grad_(False)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    surgeon, remembered = Surgeon(optimizer, bloop(**settings)), {}
    for i, batch in enumerate(data):
        net[0].weight.requires_grad_(i >= 1)
        net[2].bias.requires_grad_(i < 3)
        trained = [p for p in parameters if p.requires_grad]
        rows = [torch.autograd.grad(loss, trained) for loss in (losses(net, batch)[k] for k in range(2))]
        memory = torch.cat([remembered.get(p, g).flatten() for p, g in zip(trained, rows[0], strict=True)])
        sizes = tuple(p.numel() for p in trained)
        method = bloop(blocks=sizes) if settings else bloop()
        gradients = torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])
        expected, state = method.combine(gradients, {"memory": memory[None]})
        surgeon.backward(*losses(net, batch))
        torch.testing.assert_close(torch.cat([p.grad.flatten() for p in trained]), expected)
        pieces = state["memory"][0].split(sizes)
        remembered = {p: piece.view_as(p) for p, piece in zip(trained, pieces, strict=True)}
        assert surgeon.state_dict()["sizes"] == list(sizes)
        step(optimizer)


def test_an_optimizer_its_groups_and_named_parameters_are_the_same() -> None:
    results = []
    for give in (
        lambda net, optimizer: optimizer,
        lambda net, optimizer: optimizer.param_groups,
        lambda net, optimizer: net.parameters(),
        lambda net, optimizer: net.named_parameters(),
    ):
        net, (batch,) = network(), batches(1)
        Surgeon(give(net, optimizer_of(net)), bloop()).backward(*losses(net, batch))
        results.append(written(net))
    assert all(torch.equal(result, results[0]) for result in results)


def test_a_parameter_is_called_by_its_name() -> None:
    net, (batch,) = network(), batches(1)
    optimizer = torch.optim.SGD(net.named_parameters(), 0.1)
    net[2].bias.grad = torch.ones(3)
    with pytest.raises(RuntimeError, match=r"parameter 2\.bias of shape \(3,\) has a gradient"):
        Surgeon(optimizer, bloop()).backward(*losses(net, batch))


def test_parameters_that_change_between_micro_batches_are_refused() -> None:
    net, data = network(), batches(2)
    surgeon = Surgeon(net.parameters(), bloop())
    surgeon.accumulate(*losses(net, data[0]))
    net[0].bias.requires_grad_(False)
    with pytest.raises(RuntimeError, match="changed between micro-batches"):
        surgeon.backward(*losses(net, data[1]))
    surgeon.backward(*losses(net, data[1]))


def test_a_surgeon_can_be_copied_and_pickled() -> None:
    net, data = network(), batches(2)
    module = nn.ModuleDict({"net": net})
    module.surgeon = Surgeon(net.parameters(), bloop())
    module.surgeon.backward(*losses(net, data[0]))
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        twin.zero_grad()
        gradients = flat_gradients(twin["net"], losses(twin["net"], data[1]))
        expected, _ = bloop().combine(gradients, module.surgeon.state_dict()["state"])
        twin.surgeon.backward(*losses(twin["net"], data[1]))
        torch.testing.assert_close(written(twin["net"]), expected)
