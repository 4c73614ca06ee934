"""Networks, and norms of their layers."""

from .lenet import LeNet
from .linear import lecun_normal
from .residual import BLOCKS, STEMS, ResidualNet, Standardise
from .softmax import ExactFront, TwoLabellings
from .spectral import exact_log_norm, log_spectral_norm, start_basis

__all__ = [
    "BLOCKS",
    "STEMS",
    "ExactFront",
    "LeNet",
    "ResidualNet",
    "Standardise",
    "TwoLabellings",
    "exact_log_norm",
    "lecun_normal",
    "log_spectral_norm",
    "start_basis",
]
