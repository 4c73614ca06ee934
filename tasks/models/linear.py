"""How linear layers start."""

import math

from torch import nn

_DEVIATION = math.sqrt(1 - 4 * math.exp(-2) / (math.sqrt(2 * math.pi) * math.erf(math.sqrt(2))))
"""Of a standard normal that is truncated at two standard deviations: 0.8796."""


def lecun_normal(linear: nn.Linear) -> nn.Linear:
    """Draw the weights from a normal of variance 1 / inputs, truncated at two deviations; zero the biases.

    Source: LeCun, Bottou, Orr, Müller 1998, "Efficient BackProp", Section 4.6; truncated as in Flax,
    where the variance is that after truncation.
    """
    scale = 1 / (_DEVIATION * math.sqrt(linear.in_features))
    nn.init.trunc_normal_(linear.weight, std=scale, a=-2 * scale, b=2 * scale)
    nn.init.zeros_(linear.bias)
    return linear
