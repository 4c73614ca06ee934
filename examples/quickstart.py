"""Two losses, Bloop, and a plot of where training ends: `python examples/quickstart.py [PLOT.png]`."""

import sys

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn

from scalpel_bench import methods

torch.set_num_threads(1)  # more are slower on a model this small
data = load_digits()
images, labels = torch.tensor(data.data).float() / 16, torch.tensor(data.target)


def train(method: methods.BaseMethod) -> tuple[float, float]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    surgeon = methods.Surgeon(optimizer, method)
    for _ in range(300):
        batch = torch.randint(len(labels), (256,))
        main_loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        aux_loss = sum(p.square().sum() for p in model.parameters()) / 2
        surgeon.backward(main_loss, aux_loss)
        optimizer.step()
    main_loss = nn.functional.cross_entropy(model(images), labels)
    aux_loss = sum(p.square().sum() for p in model.parameters()) / 2
    return main_loss.item(), aux_loss.item()


for name in ("sum", "bloop"):
    points = []
    for lam in (3e-4, 1e-3, 3e-3, 1e-2):
        main, aux = train(methods.create(name, lam=lam))
        points.append((aux, main))
        print(f"{name}, λ = {lam:g}: main loss {main:.4f}, auxiliary loss {aux:.1f}", flush=True)
    plt.plot(*zip(*points, strict=True), "o-", label=name)
plt.xlabel("auxiliary loss: half the squared length of the weights")
plt.ylabel("main loss: cross-entropy")
plt.legend()
plot = sys.argv[1] if len(sys.argv) > 1 else "quickstart.png"
plt.savefig(plot, bbox_inches="tight")
print(f"plot: {plot}")
