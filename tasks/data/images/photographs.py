"""Small patches of two real photographs that ship with scikit-learn."""

import torch
from torch import Tensor

from ..splits import fixed_order

SIDE = 8
_NAMES = ("china.jpg", "flower.jpg")


def load_patches() -> dict[str, Tensor]:
    """Patches of two photographs, each with the photograph that it is from.

    The photographs of scikit-learn (427 x 640; a Chinese palace, a flower) are averaged over squares of 2 x 2
    pixels and cut into squares that do not overlap: 1,040 patches of each, in an order that is fixed once.

    Returns:
        ``images`` ``(2080, 8, 8, 3)`` uint8 and ``labels`` ``(2080,)``, 0 or 1.
    """
    from sklearn.datasets import load_sample_image

    images, labels = [], []
    for label, name in enumerate(_NAMES):
        photograph = torch.from_numpy(load_sample_image(name).copy()).permute(2, 0, 1).float()
        small = torch.nn.functional.avg_pool2d(photograph, 2).round().byte()
        tiles = small.unfold(1, SIDE, SIDE).unfold(2, SIDE, SIDE)
        images.append(tiles.permute(1, 2, 3, 4, 0).reshape(-1, SIDE, SIDE, 3))
        labels.append(torch.full((len(images[-1]),), label))
    order = fixed_order(sum(map(len, labels)))
    return {"images": torch.cat(images)[order], "labels": torch.cat(labels)[order]}
