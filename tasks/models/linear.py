"""How linear layers start."""

import math

import torch
from torch import nn

_DEVIATION = math.sqrt(1 - 4 * math.exp(-2) / (math.sqrt(2 * math.pi) * math.erf(math.sqrt(2))))
"""Of a standard normal that is truncated at two standard deviations: 0.8796."""


def lecun_normal(linear: nn.Linear) -> nn.Linear:
    """Draw the weights from a normal of variance 1 / inputs, truncated at two deviations; zero the biases.

    Source: LeCun, Bottou, Orr, Müller 1998, "Efficient BackProp", Section 4.6; truncated as in Flax,
    where the variance is that after truncation. Drawn again where it is outside: what PyTorch's own function
    makes of a seed is another matter before its version 2.15.
    """
    scale = 1 / (_DEVIATION * math.sqrt(linear.in_features))
    with torch.no_grad():
        weight = linear.weight.normal_(0, scale)
        while (outside := weight.abs() > 2 * scale).any():
            weight.copy_(torch.where(outside, torch.empty_like(weight).normal_(0, scale), weight))
        linear.bias.zero_()
    return linear
