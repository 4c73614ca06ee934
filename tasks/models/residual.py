"""Residual networks of any width for small and large images, with one or more heads."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import conv2d

BLOCKS = {
    "resnet8": ("BasicBlock", (1, 1, 1)),
    "resnet18": ("BasicBlock", (2, 2, 2, 2)),
    "resnet50": ("Bottleneck", (3, 4, 6, 3)),
}
"""torchvision's kind of block, and how many of them each stage has."""
STEMS: dict[str, tuple[int, int]] = {"7x7": (7, 2), "3x3": (3, 1), "3x3/2": (3, 2)}
"""Size and stride of the first convolution; ``7x7`` is ImageNet's, and is followed by max pooling."""


class Standardise(nn.Module):
    """Pixels ``(B, H, W, C)`` from 0 to 255 as ``(B, C, H, W)`` of mean 0 and standard deviation 1."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, images: Tensor) -> Tensor:
        """Same batch, channels first."""
        return ((images.to(self.mean.dtype) - self.mean) / self.std).permute(0, 3, 1, 2).contiguous()


class _Shortcut(nn.Conv2d):
    """A 1 x 1 convolution of every ``stride``-th pixel, picked first.

    oneDNN's strided one, channels last and with few channels, writes past its workspace on CPUs (oneDNN issue
    6035): wrong gradients, or a crash.
    """

    def forward(self, images: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, C', H / stride, W / stride)``."""
        rows, columns = self.stride
        return conv2d(images[:, :, ::rows, ::columns], self.weight)


class ResidualNet(nn.Module):
    """A residual network (He et al. 2016, arXiv 1512.03385) of torchvision's blocks, with one or more heads.

    At ``width=64`` with the stem ``7x7``, ``resnet18`` and ``resnet50`` are torchvision's, head for head.

    Args:
        blocks: a name from `BLOCKS`.
        width: channels of the first stage; each further stage doubles them.
        stem: a name from `STEMS`.
        channels: of the images.
        classes: of each head.
        norm: makes the normalisation of so many channels.
    """

    def __init__(
        self,
        blocks: str,
        width: int,
        stem: str,
        channels: int,
        classes: tuple[int, ...],
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        from torchvision.models import resnet

        kind, counts = BLOCKS[blocks]
        block = getattr(resnet, kind)
        kernel, stride = STEMS[stem]
        layers: list[nn.Module] = [
            nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False),
            norm(width),
            nn.ReLU(inplace=True),
        ]
        if stem == "7x7":
            layers.append(nn.MaxPool2d(3, 2, 1))
        inputs = width
        for stage, count in enumerate(counts):
            planes = width * 2**stage
            for index in range(count):
                stride = 2 if stage and not index else 1
                outputs = planes * block.expansion
                shortcut = None
                if stride > 1 or inputs != outputs:
                    shortcut = nn.Sequential(_Shortcut(inputs, outputs, 1, stride, bias=False), norm(outputs))
                layers.append(block(inputs, planes, stride, shortcut, norm_layer=norm))
                inputs = outputs
        self.trunk = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.heads = nn.ModuleList(nn.Linear(inputs, count) for count in classes)
        for module in self.trunk.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Logits of each head, ``(B, classes)``, of standardised images ``(B, C, H, W)``."""
        features = self.trunk(images)
        return tuple(head(features) for head in self.heads)
