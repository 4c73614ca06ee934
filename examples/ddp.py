"""Bloop on several processes: `torchrun --nproc-per-node 2 examples/ddp.py`."""

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from scalpel_bench import methods


def main() -> None:
    dist.init_process_group("gloo")  # on GPUs "nccl", with model and batches on a device of each process
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = load_digits()
    examples = TensorDataset(torch.tensor(data.data).float() / 16, torch.tensor(data.target))
    sampler = DistributedSampler(examples, seed=0)
    loader = DataLoader(examples, batch_size=64, sampler=sampler)

    model = DistributedDataParallel(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    surgeon = methods.Surgeon(optimizer, methods.create("bloop", lam=1e-3))
    for epoch in range(10):
        sampler.set_epoch(epoch)
        for images, labels in loader:
            main_loss = nn.functional.cross_entropy(model(images), labels)
            aux_loss = sum(p.square().sum() for p in model.parameters()) / 2
            surgeon.backward(main_loss, aux_loss)  # averages both gradients over the processes, then surgery
            optimizer.step()
            optimizer.zero_grad()
        if dist.get_rank() == 0:
            print(epoch, *(f"{name} {value:.4f}" for name, value in surgeon.diagnostics().items()), sep="  ")

    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    copies = [torch.empty_like(weights) for _ in range(dist.get_world_size())]
    dist.all_gather(copies, weights)
    if dist.get_rank() == 0:
        print("equal on all processes:", all(torch.equal(weights, copy) for copy in copies))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
