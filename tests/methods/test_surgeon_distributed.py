"""Two processes against one on the concatenated batch."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.functional import mse_loss
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from scalpel_bench import methods
from scalpel_bench.methods import Surgeon
from tests.methods.processes import WORLD, together

STEPS, ROWS = 4, 6


class Net(nn.Module):
    """A trunk of odd sizes, so that shards differ in length, with a head that only the second rank uses."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
        self.rare, self.unused = nn.Linear(3, 1), nn.Linear(3, 1)

    def forward(self, inputs: torch.Tensor, rare: float | None = None) -> torch.Tensor:
        outputs = self.trunk(inputs)
        return outputs if rare is None else outputs + rare * self.rare(outputs)


def data() -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(WORLD * ROWS, 5, generator=generator), torch.randn(WORLD * ROWS, 3, generator=generator))
        for _ in range(STEPS)
    ]


def part(rank: int, batch: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    return tuple(whole[rank * ROWS : (rank + 1) * ROWS] for whole in batch)


def losses(model: nn.Module, batch, rare: float | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    outputs = model(batch[0], rare)
    return mse_loss(outputs, batch[1]), outputs.square().mean() + outputs.abs().mean()


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=0.01)


def alone(name: str, **settings) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """One process on whole batches."""
    model = Net()
    method = methods.create(name, lam=0.5, **settings)
    surgeon, optimizer = Surgeon(model.parameters(), method), optimizer_of(model)
    for batch in data():
        surgeon.backward(*losses(model, batch))
        optimizer.step()
        optimizer.zero_grad()
    return model.state_dict(), surgeon.diagnostics()


@contextmanager
def collectives() -> Iterator[list[int]]:
    """The lengths of what is reduced meanwhile."""
    lengths: list[int] = []
    all_reduce = dist.all_reduce

    def recorded(tensor: torch.Tensor, *args, **kwargs):
        lengths.append(tensor.numel())
        return all_reduce(tensor, *args, **kwargs)

    dist.all_reduce = recorded
    yield lengths
    dist.all_reduce = all_reduce


def replicas(rank: int, wrap: dict | None, micro: int, name: str, expected) -> None:
    net = Net()
    model = net if wrap is None else DistributedDataParallel(net, **wrap)
    surgeon, optimizer = Surgeon(model.parameters(), methods.create(name, lam=0.5)), optimizer_of(model)
    with collectives() as lengths:
        for batch in data():
            shares = zip(*(share.chunk(micro) for share in part(rank, batch)), strict=True)
            for i, share in enumerate(shares):
                step = surgeon.backward if i == micro - 1 else surgeon.accumulate
                step(*(loss / micro for loss in losses(model, share)))
            optimizer.step()
            optimizer.zero_grad()
    assert len(lengths) == STEPS
    torch.testing.assert_close(net.state_dict(), expected[0], rtol=1e-5, atol=1e-5)
    assert surgeon.diagnostics() == pytest.approx(expected[1], rel=1e-3)


def everything_about_replicas(rank: int, expected: dict, streamed: list) -> None:
    for wrap, micro, name in REPLICAS:
        replicas(rank, wrap, micro, name, expected[name])
    groups_of_their_own(rank)
    a_parameter_that_one_process_reaches(rank)
    a_nan_of_one_process(rank)
    a_process_without_auxiliary_labels(rank)
    leaves_beside_the_model(rank)
    reentrant_checkpoints(rank)
    for settings, expected in streamed:
        streaming(rank, settings, expected)
    a_gradient_that_one_process_lacks(rank)


def a_process_without_auxiliary_labels(rank: int) -> None:
    model, other, batch = Net(), Net(), data()[0]
    main, aux = losses(model, part(rank, batch))
    Surgeon(model.parameters(), methods.create("sum", lam=0.5)).backward(main, aux if rank else 0.0)
    expected = losses(other, batch)[0] + 0.5 / WORLD * losses(other, part(1, batch))[1]
    expected.backward()
    torch.testing.assert_close(model.trunk[0].weight.grad, other.trunk[0].weight.grad)


def leaves_beside_the_model(rank: int) -> None:
    """Each process has its own, as under plain DDP."""
    inputs, targets = part(rank, data()[0])
    gradients = []
    for surgery in (True, False):
        model, inputs = DistributedDataParallel(Net().trunk), inputs.detach().requires_grad_()
        outputs = model(inputs)
        main, aux = mse_loss(outputs, targets), outputs.abs().mean()
        if surgery:
            Surgeon(model.parameters(), methods.create("sum", lam=0.5)).backward(main, aux)
        else:
            (main + 0.5 * aux).backward()
        gradients.append([inputs.grad, *(p.grad for p in model.parameters())])
    torch.testing.assert_close(*gradients)


def reentrant_checkpoints(rank: int) -> None:
    model, (inputs, targets) = Net().trunk, part(rank, data()[0])
    outputs = checkpoint(model, inputs.requires_grad_(), use_reentrant=True)
    with pytest.raises(RuntimeError, match="checkpoint with use_reentrant=False"):
        Surgeon(model.parameters(), methods.create("sum")).backward(mse_loss(outputs, targets), 0.0)


def groups_of_their_own(rank: int) -> None:
    model, batch = Net(), data()[0]
    groups = [dist.new_group([other]) for other in range(WORLD)]
    own, foreign = groups[rank], groups[1 - rank]
    for memory in ("rows", "streaming"):
        with pytest.raises(ValueError, match="this process is not in the Surgeon's group: give"):
            Surgeon(model.parameters(), methods.create("sum", lam=0.5), group=foreign, memory=memory)
    surgeon = Surgeon(model.parameters(), methods.create("sum", lam=0.5), group=own)
    surgeon.backward(*losses(model, part(rank, batch)))
    main, aux = losses(model, part(rank, batch))
    gradient = torch.autograd.grad(main + 0.5 * aux, model.trunk[0].weight)[0]
    torch.testing.assert_close(model.trunk[0].weight.grad, gradient)


def a_parameter_that_one_process_reaches(rank: int) -> None:
    model, batch = DistributedDataParallel(Net(), find_unused_parameters=True), data()[0]
    surgeon = Surgeon(model.parameters(), methods.create("sum", lam=0.5))
    surgeon.backward(*losses(model, part(rank, batch), rare=1.0 if rank else None))
    other = Net()
    for r in range(WORLD):
        main, aux = losses(other, part(r, batch), rare=1.0 if r else None)
        ((main + 0.5 * aux) / WORLD).backward()
    torch.testing.assert_close(model.module.rare.weight.grad, other.rare.weight.grad)
    assert model.module.unused.weight.grad is None


def a_nan_of_one_process(rank: int) -> None:
    model, batch = Net(), data()[0]
    surgeon = Surgeon(model.parameters(), methods.create("bloop", lam=0.5))
    main, aux = losses(model, part(rank, batch))
    with pytest.raises(RuntimeError, match="the aux loss is nan"):
        surgeon.backward(main, aux + (torch.nan if rank else 0.0))
    surgeon.backward(*losses(model, part(rank, batch)))


def streaming(rank: int, settings: dict, expected) -> None:
    """While gradients arrive: as one process on the whole batch, with what is remembered alike in both."""
    net = Net()
    model = DistributedDataParallel(net, find_unused_parameters=True)
    method = methods.create(**settings, lam=0.5)
    surgeon, optimizer = Surgeon(model.parameters(), method, memory="streaming"), optimizer_of(model)
    size = sum(p.numel() for p in net.trunk.parameters())
    for batch in data():
        with collectives() as lengths:
            surgeon.backward(*losses(model, part(rank, batch)))
        memory = sum(p.numel() for p in net.parameters()) if settings["name"] == "bloop" else 0
        assert sum(length for length in lengths if length > 16) <= size + memory
        optimizer.step()
        optimizer.zero_grad()
    torch.testing.assert_close(net.state_dict(), expected[0], rtol=1e-5, atol=1e-5)
    told = surgeon.diagnostics()
    assert told == pytest.approx({key: expected[1][key] for key in ("main_loss", "aux_loss")}, rel=1e-3)
    for row in surgeon.state_dict()["state"].get("memory", ()):
        dist.broadcast(other := row.clone(), 0)
        torch.testing.assert_close(row, other, rtol=0, atol=0)


def a_gradient_that_one_process_lacks(rank: int) -> None:
    """A head that the second rank alone reaches, and a gradient that is not finite there alone."""
    for order in ("after", "before"):
        found = []
        for memory in ("streaming", "rows"):
            model, (first, second, *_) = Net(), data()
            method = methods.create("bloop", lam=0.5, rho=0.1, order=order)
            surgeon, optimizer = Surgeon(model.parameters(), method, memory=memory), optimizer_of(model)
            for batch in (first, second, first):
                surgeon.backward(*losses(model, part(rank, batch), rare=1.0 if rank else None))
                optimizer.step()
                optimizer.zero_grad()
            assert model.unused.weight.grad is None
            found.append(model.state_dict())
            main, aux = losses(model, part(rank, first))
            if rank:
                main = main + (model.trunk[0].bias * 0).sqrt().sum()
            if memory == "streaming":
                with pytest.raises(RuntimeError, match="the gradient of the main loss is not finite"):
                    surgeon.backward(main, aux)
                row = surgeon.state_dict()["state"]["memory"]
                dist.broadcast(other := row.clone(), 0)
                torch.testing.assert_close(row, other, rtol=0, atol=0)
                assert torch.isfinite(row).all()
        torch.testing.assert_close(*found, rtol=1e-5, atol=1e-5)


def everything_about_shards(rank: int, expected: list) -> None:
    flat = init_device_mesh("cpu", (WORLD,))
    replicated = init_device_mesh("cpu", (WORLD, 1), mesh_dim_names=("replicate", "shard"))
    for (name, settings), results in zip(SHARDS, expected, strict=True):
        sharded(rank, flat, name, settings, results)
    sharded(rank, replicated, *SHARDS[0], expected[0])
    heads_of_shards(rank, flat)
    mixed(flat)
    unsynchronised(rank, flat)


def unsynchronised(rank: int, mesh) -> None:
    model, batch = Net(), part(rank, data()[0])
    for layer in (model.trunk[0], model.trunk[2], model):
        fully_shard(layer, mesh=mesh)
    model.set_requires_gradient_sync(False)
    with pytest.raises(RuntimeError, match=r"leave set_requires_gradient_sync\(True\)"):
        Surgeon(model.parameters(), methods.create("sum")).accumulate(*losses(model, batch))


def sharded(rank: int, mesh, name: str, settings: dict, expected) -> None:
    model = Net()
    for layer in (model.trunk[0], model.trunk[2]):
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    method = methods.create(name, lam=0.5, **settings)
    surgeon, optimizer = Surgeon(model.parameters(), method), optimizer_of(model)
    rows = 3 if name == "bloop" else 2
    for step, batch in enumerate(data()):
        own = part(rank, batch)
        with collectives() as lengths:
            if step == 1:
                surgeon.backward(lambda own=own: losses(model, own)[0], lambda own=own: losses(model, own)[1])
            elif step == 2:
                first, second = zip(*(share.chunk(2) for share in own), strict=True)
                surgeon.accumulate(*(loss / 2 for loss in losses(model, first)))
                surgeon.backward(*(loss / 2 for loss in losses(model, second)))
            else:
                surgeon.backward(*losses(model, own))
        if mesh.ndim == 1:  # with replicas, fully_shard itself reduces gradients
            assert max(lengths) == rows**2 * (len(list(model.parameters())) if settings else 1)
        assert isinstance(model.trunk[0].weight.grad, DTensor)
        assert model.unused.weight.grad is None
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1e6)
        optimizer.step()
        optimizer.zero_grad()
        if step == 0:
            saved = copy.deepcopy(surgeon.state_dict())
            surgeon = Surgeon(model.parameters(), method)
            surgeon.load_state_dict(saved)
    whole = {key: value.full_tensor() for key, value in model.state_dict().items()}
    torch.testing.assert_close(whole, expected[0], rtol=1e-5, atol=1e-5)
    assert surgeon.diagnostics() == pytest.approx(expected[1], rel=1e-3)


def heads_of_shards(rank: int, mesh) -> None:
    """A head that is left out of surgery; a gradient that is not finite in one shard alone stops all."""
    model, other, batch = Net(), Net(), data()[0]
    for net in (model.trunk[0], model.trunk[2], model.rare, model):
        fully_shard(net, mesh=mesh)
    method = methods.create("bloop", lam=0.5)
    surgeon = Surgeon(model.parameters(), method, shared=model.trunk.parameters())
    main, aux = losses(model, part(rank, batch), rare=1.0)
    aux = aux + torch.sqrt(model.rare(torch.zeros(1, 3)) * 0).sum()
    with pytest.raises(RuntimeError, match="gradient of the main or auxiliary loss is not finite"):
        surgeon.backward(main, aux)
    surgeon.backward(*losses(model, part(rank, batch), rare=1.0))
    main, aux = losses(other, batch, rare=1.0)
    expected = torch.autograd.grad(main + aux, other.rare.weight)[0]
    torch.testing.assert_close(model.rare.weight.grad.full_tensor(), expected)


def mixed(mesh) -> None:
    model = Net()
    fully_shard(model.trunk[0], mesh=mesh)
    with pytest.raises(ValueError, match="memory='streaming' cannot take part in fully_shard"):
        Surgeon(model.trunk[0].parameters(), methods.create("sum"), memory="streaming")
    with pytest.raises(ValueError, match=r"parameter 2 of shape \(3, 7\) is not sharded as parameter 0"):
        Surgeon(model.parameters(), methods.create("sum"))


REPLICAS: list[tuple[dict | None, int, str]] = [
    (None, 1, "bloop"),
    ({}, 1, "bloop"),
    ({}, 2, "bloop"),
    ({"find_unused_parameters": True}, 1, "bloop"),
    ({"static_graph": True}, 1, "pcgrad"),
    (None, 1, "famo"),
    ({}, 1, "graddrop"),
]
SHARDS: list[tuple[str, dict]] = [("bloop", {}), ("mgda", {}), ("famo", {}), ("bloop", {"blocks": True})]


STREAMED: list[dict] = [
    {"name": "sum"},
    {"name": "bloop", "rho": 0.1},
    {"name": "bloop", "rho": 0.1, "order": "before"},
]


def everything(rank: int, whole: dict, sharded_whole: list, streamed: list) -> None:
    """All in one pair of processes, which take seconds to start."""
    everything_about_replicas(rank, whole, streamed)
    everything_about_shards(rank, sharded_whole)


def test_replicas_and_shards_equal_one_process_on_the_whole_batch(tmp_path) -> None:
    whole = {name: alone(name) for _, _, name in REPLICAS}
    sharded_whole = [alone(name, **settings) for name, settings in SHARDS]
    streamed = [(settings, alone(**settings)) for settings in STREAMED]
    together(everything, tmp_path, whole, sharded_whole, streamed)
