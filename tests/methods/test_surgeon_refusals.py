"""What `Surgeon` refuses: parameters, method and gradients stay as they were."""

import copy
import math

import pytest
import torch
from torch import nn

from scalpel_bench import methods
from scalpel_bench.methods import Surgeon
from tests.methods.surgeons import (
    batches,
    bloop,
    losses,
    network,
    optimizer_of,
    vector,
    written,
)

METHODS = methods.REGISTRY.classes()


def embedding_losses(model: nn.Module, batch) -> tuple[torch.Tensor, torch.Tensor]:
    table = nn.functional.embedding(torch.tensor([0, 1]), model[0].weight, sparse=True)
    return losses(model, batch)[0], table.sum()


BAD = {
    "no grad": (
        lambda m, b: (losses(m, b)[0], losses(m, b)[1].detach()),
        "the aux loss does not require grad",
    ),
    "number": (
        lambda m, b: (losses(m, b)[0].item(), losses(m, b)[1]),
        "the main loss must be a scalar tensor",
    ),
    "vector": (
        lambda m, b: (losses(m, b)[0], m(b[0]).sum(1)),
        r"the aux loss must be one real number.*\(8,\)",
    ),
    "complex": (
        lambda m, b: (losses(m, b)[0] * 1j, losses(m, b)[1]),
        "the main loss must be one real number",
    ),
    "elsewhere": (
        lambda m, b: (losses(m, b)[0], losses(network(), b)[1]),
        "the aux loss reaches no parameter",
    ),
    "sparse": (embedding_losses, "the gradient of the aux loss is sparse at parameter 0"),
    "nan": (
        lambda m, b: (losses(m, b)[0] * math.nan, losses(m, b)[1]),
        "the main loss is nan: skip this batch",
    ),
    "inf": (lambda m, b: (losses(m, b)[0], losses(m, b)[1] * math.inf), "the aux loss is inf"),
    "infinite gradient": (
        lambda m, b: (losses(m, b)[0], losses(m, b)[1] + (m[2].bias * 0).sqrt().sum()),
        "the gradient of the aux loss is not finite",
    ),
    "nothing": (lambda m, b: (torch.zeros(()), torch.zeros(())), "every loss is a constant 0"),
    "one": (lambda m, b: losses(m, b)[:1], "got 1 losses, bloop expects 2"),
    "three": (lambda m, b: (*losses(m, b), losses(m, b)[1]), "got 3 losses, bloop expects 2"),
}


@pytest.mark.parametrize("lazily", [False, True])
@pytest.mark.parametrize("accumulated", [False, True])
@pytest.mark.parametrize("case", BAD)
def test_bad_losses_are_refused_and_change_nothing(case: str, accumulated: bool, lazily: bool) -> None:
    make, message = BAD[case]
    model, data = network(), batches(4)
    surgeon, optimizer = Surgeon(model.parameters(), bloop()), optimizer_of(model)
    surgeon.backward(*losses(model, data[0]))
    optimizer.step()
    before = copy.deepcopy(
        [vector(model), written(model), surgeon.state_dict()["state"], surgeon.diagnostics()]
    )
    given = make(model, data[1])
    if accumulated:
        surgeon.accumulate(*losses(model, data[2]))
    with pytest.raises((ValueError, RuntimeError), match=message):
        surgeon.backward(*((lambda v=v: v) for v in given) if lazily else given)
    after = [vector(model), written(model), surgeon.state_dict()["state"], surgeon.diagnostics()]
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    surgeon.backward(*losses(model, data[3]))
    other = network()
    trained = Surgeon(other.parameters(), bloop())
    trained.backward(*losses(other, data[0]))
    optimizer_of(other).step()
    trained.backward(*losses(other, data[3]))
    torch.testing.assert_close(written(model), written(other), rtol=0, atol=0)


def test_twice_without_a_step_is_refused() -> None:
    model, data = network(), batches(2)
    surgeon = Surgeon(model.parameters(), bloop())
    surgeon.backward(*losses(model, data[0]))
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    before = written(model)
    with pytest.raises(RuntimeError, match="twice without a step"):
        surgeon.backward(*losses(model, data[1]))
    assert torch.equal(written(model), before)
    model.zero_grad(set_to_none=False)
    surgeon.backward(*losses(model, data[1]))


def test_a_gradient_from_elsewhere_is_not_lost() -> None:
    model, (batch,) = network(), batches(1)
    model[2].bias.sum().backward()
    surgeon = Surgeon(model.parameters(), bloop())
    with pytest.raises(RuntimeError, match=r"parameter 3 of shape \(3,\) has a gradient.*zero_grad"):
        surgeon.backward(*losses(model, batch))
    assert torch.equal(model[2].bias.grad, torch.ones(3))
    model.zero_grad(set_to_none=False)
    surgeon.backward(*losses(model, batch))
    expected = written(model)
    model[2].bias.sum().backward()
    expected[-3:] += 1
    torch.testing.assert_close(written(model), expected)


@pytest.mark.parametrize("cleared", [True, False])
@pytest.mark.parametrize("memory", ["rows", "streaming"])
def test_a_gradient_that_comes_within_a_step_is_not_lost(memory: str, cleared: bool) -> None:
    model, data = network(), batches(2)
    surgeon = Surgeon(model.parameters(), methods.create("sum", lam=0.5), memory=memory)
    if not cleared:
        surgeon.backward(*losses(model, data[0]))
        model.zero_grad(set_to_none=False)

    def foreign() -> torch.Tensor:
        model[2].bias.sum().backward()
        return losses(model, data[1])[1]

    for step, last in (
        (surgeon.accumulate, None),
        (surgeon.backward, None),
        (surgeon.backward, foreign),
        (surgeon.accumulate, foreign),
    ):
        surgeon.accumulate(*losses(model, data[0]))
        surgeon.accumulate(*losses(model, data[0]))
        main, aux = losses(model, data[1])
        if last is None:
            model[2].bias.sum().backward()
        with pytest.raises(RuntimeError, match=r"parameter 3 of shape \(3,\) has a gradient.*zero_grad"):
            step(main, last or aux)
        assert torch.equal(model[2].bias.grad, torch.ones(3))
        assert model[0].bias.grad is None if cleared else not model[0].bias.grad.any()
        model.zero_grad(set_to_none=cleared)
    surgeon.backward(*losses(model, data[1]))


def test_bad_parameters_are_refused() -> None:
    model = network()
    with pytest.raises(ValueError, match="no parameter to work on"):
        Surgeon([], bloop())
    with pytest.raises(ValueError, match="no parameter to work on"):
        Surgeon(model.requires_grad_(False).parameters(), bloop())
    model.requires_grad_(True)
    with pytest.raises(ValueError, match="of shared is not one of parameters"):
        Surgeon(model[0].parameters(), bloop(), shared=model[2].parameters())
    with pytest.raises(ValueError, match="complex parameters"):
        Surgeon([nn.Parameter(torch.zeros(2, dtype=torch.complex64))], bloop())
    with pytest.raises(ValueError, match="a parameter has no shape yet: run the model once before"):
        Surgeon(nn.LazyLinear(3).parameters(), bloop())
    flat = network()
    flat[2].weight._fsdp_flattened = True
    with pytest.raises(ValueError, match="parameter 2 .*FullyShardedDataParallel: use fully_shard instead"):
        Surgeon(flat.parameters(), bloop())
    for shared in (model[0], model[0].weight, model[0].parameters):
        with pytest.raises(ValueError, match=r"shared is a .*: give the parameters\(\) of the shared part"):
            Surgeon(model.parameters(), bloop(), shared=shared)
    for given in (model, model[0].weight, [model[0].weight * 2], ["weight"], model.parameters, None):
        with pytest.raises(ValueError, match=r"Surgeon got .*give it the optimiser, or model\.p"):
            Surgeon(given, bloop())


@pytest.mark.parametrize("method", ["pcgrad", methods.get("pcgrad"), None])
def test_what_is_no_method_is_refused(method: object) -> None:
    with pytest.raises(ValueError, match=r'is no method: make one, methods\.create\("(pcgrad|bloop)", lam'):
        Surgeon(network().parameters(), method)


@pytest.mark.parametrize("after", ["pcgrad", methods.get("pcgrad"), None])
def test_what_is_no_method_does_not_replace_one(after: object) -> None:
    surgeon = Surgeon(network().parameters(), method := bloop())
    with pytest.raises(ValueError, match=r"is no method: make one, methods\.create"):
        surgeon.method = after
    assert surgeon.method is method


REPLACED = {
    "nothing, an EMA": ({"name": "sum"}, {"name": "bloop"}),
    "an EMA, nothing": ({"name": "bloop"}, {"name": "sum"}),
    "an EMA, none": ({"name": "bloop"}, {"name": "bloop", "rho": 1.0}),
    "an EMA, weights": ({"name": "bloop"}, {"name": "uncertainty"}),
    "weights, others": ({"name": "uncertainty"}, {"name": "imtl_l"}),
    "nothing, EMAs": ({"name": "dualproj"}, {"name": "dualproj", "ema": 0.1}),
}


@pytest.mark.parametrize("case", REPLACED)
def test_a_method_that_cannot_go_on_with_the_memory_does_not_replace_one(case: str) -> None:
    before, after = (methods.create(**settings) for settings in REPLACED[case])
    model, data = network(), batches(2)
    surgeon = Surgeon(model.parameters(), methods.create("sum"))
    surgeon.method = before  # before the first step any other
    surgeon.backward(*losses(model, data[0]))
    model.zero_grad()
    with pytest.raises(
        ValueError, match=rf"^{after.name} cannot go on with what {before.name} has remembered"
    ):
        surgeon.method = after
    surgeon.backward(*losses(model, data[1]))
    assert surgeon.method is before


def test_a_method_is_not_replaced_between_micro_batches() -> None:
    model, data = network(), batches(2)
    surgeon = Surgeon(model.parameters(), methods.create("sum"), memory="streaming")
    surgeon.accumulate(*losses(model, data[0]))
    with pytest.raises(RuntimeError, match="replaced between micro-batches: replace it after a step"):
        surgeon.method = methods.create("sum", lam=0.5)
    surgeon.backward(*losses(model, data[1]))
    model.zero_grad()
    surgeon.method = methods.create("mgda")  # neither remembers anything


@pytest.mark.parametrize("lazily", [False, True])
@pytest.mark.parametrize("nothing", [0.0, torch.zeros(()), torch.zeros(1)], ids=["0", "scalar", "vector"])
@pytest.mark.parametrize("name", [n for n, c in METHODS.items() if "needs_losses" in c.properties])
def test_a_constant_0_is_no_value_of_a_loss(name: str, nothing: float | torch.Tensor, lazily: bool) -> None:
    model, data = network(), batches(3)
    surgeon, optimizer = Surgeon(model.parameters(), methods.create(name)), optimizer_of(model)
    surgeon.backward(*losses(model, data[0]))
    optimizer.step()
    optimizer.zero_grad()
    before = copy.deepcopy(surgeon.state_dict()["state"])
    for place, step in ((1, surgeon.backward), (0, surgeon.backward), (1, surgeon.accumulate)):
        given = list(losses(model, data[1]))
        given[place] = (lambda: nothing) if lazily else nothing
        surgeon.accumulate(*losses(model, data[2]))
        with pytest.raises(
            ValueError, match=rf"^the (main|aux) loss is a constant 0, and {name} [^\n]*skip this"
        ):
            step(*given)
    torch.testing.assert_close(surgeon.state_dict()["state"], before, rtol=0, atol=0)


@pytest.mark.parametrize("first", [bloop(), "optimizer"])
def test_swapped_arguments_are_told_in_one_line(first: object) -> None:
    optimizer = torch.optim.SGD(network().parameters())
    given = (optimizer, optimizer) if first == "optimizer" else (first, optimizer)
    with pytest.raises(ValueError, match=r"^Surgeon takes the optimiser first, then the method$"):
        Surgeon(*given)


def test_what_is_given_in_their_place_is_called_by_its_type() -> None:
    model = network()
    with pytest.raises(ValueError, match=r"^a Sequential is no method: make one, [^\n]*$"):
        Surgeon(model.parameters(), model)
    with pytest.raises(
        ValueError, match=r"^Surgeon got a Sequential among them: give it the optimiser, [^\n]*$"
    ):
        Surgeon([model], bloop())


def test_another_state_is_refused() -> None:
    model, (batch,) = network(), batches(1)
    surgeon = Surgeon(model.parameters(), bloop())
    surgeon.backward(*losses(model, batch))
    saved = surgeon.state_dict()
    before = copy.deepcopy(saved)
    wrong = {
        "the state is one of 'bloop', not of 'sum'": Surgeon(model.parameters(), methods.create("sum")),
        "one of 4 parameters with 66 numbers, not of these 2 with 42": Surgeon(
            model[0].parameters(), bloop()
        ),
        r"shapes \{'memory': \(1, 66\)\}, not \{\}": Surgeon(
            model.parameters(), methods.create("bloop", lam=0.5, rho=1.0)
        ),
    }
    for message, other in wrong.items():
        with pytest.raises(ValueError, match=message):
            other.load_state_dict(saved)
        assert other.state_dict()["state"] is None
    with pytest.raises(ValueError, match="no state of a Surgeon: it lacks method"):
        surgeon.load_state_dict({"state": {}, "sizes": [], "objectives": 2})
    torch.testing.assert_close(surgeon.state_dict()["state"], before["state"])


@pytest.mark.parametrize("memory", ["rows", "streaming"])
def test_lam_of_another_shape_is_refused_in_words(memory) -> None:
    model = network()

    def step() -> None:
        surgeon = Surgeon(model.parameters(), methods.Bloop(lam=torch.ones(3)), memory=memory)
        surgeon.backward(*losses(model, batches(1)[0]))

    with pytest.raises(ValueError, match=r"lam must have the shape \(\) or \(1,\), got \(3,\)"):
        step()


def test_the_shared_part_may_be_given_with_names() -> None:
    model = network()
    surgeon = Surgeon(model.parameters(), bloop(), shared=model[0].named_parameters())
    surgeon.backward(*losses(model, batches(1)[0]))
    assert model[0].weight.grad is not None
