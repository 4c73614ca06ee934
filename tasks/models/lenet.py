"""A small convolutional network with one or more heads."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu


class LeNet(nn.Module):
    """Two convolutions with 2 x 2 max pooling and ReLU, a hidden layer with ReLU, and linear heads.

    At 36 x 36 pixels with 10 channels of 9 x 9, 20 of 5 x 5 and 50 hidden units it is the network of Lin et
    al. 2019, arXiv 1912.12854, as released; pooling before ReLU gives the same in fewer operations.

    Source: LeCun, Bottou, Bengio, Haffner 1998.

    Args:
        side: of the images, in pixels.
        channels: of each convolution.
        kernels: the side of each convolution's kernels, in pixels.
        hidden: units of the hidden layer.
        classes: of each head.

    Raises:
        ValueError: the kernels are too large for the images.
    """

    def __init__(
        self,
        side: int,
        channels: tuple[int, int],
        kernels: tuple[int, int],
        hidden: int,
        classes: tuple[int, ...],
    ) -> None:
        super().__init__()
        left = side_left(side, kernels)
        self.first = nn.Conv2d(1, channels[0], kernels[0])
        self.second = nn.Conv2d(channels[0], channels[1], kernels[1])
        self.hidden = nn.Linear(channels[1] * left**2, hidden)
        self.heads = nn.ModuleList(nn.Linear(hidden, count) for count in classes)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Logits of each head, ``(B, classes)``, of images ``(B, 1, side, side)``."""
        features = relu(max_pool2d(self.first(images), 2))
        features = relu(max_pool2d(self.second(features), 2))
        features = relu(self.hidden(features.flatten(1)))
        return tuple(head(features) for head in self.heads)


def side_left(side: int, kernels: tuple[int, int]) -> int:
    """The side in pixels of what the convolutions make of an image.

    Raises:
        ValueError: the kernels are too large for it.
    """
    left = side
    for kernel in kernels:
        left = (left - kernel + 1) // 2
    if left < 1:
        raise ValueError(f"kernels {list(kernels)} are too large for images of {side} x {side} pixels")
    return left
