"""Networks, and norms of their layers."""

from .equations import EQUATIONS, Equation, around, inside
from .jets import Jet, JetMLP
from .lenet import LeNet, side_left
from .linear import lecun_normal
from .residual import BLOCKS, STEMS, ResidualNet, Standardise
from .softmax import ExactFront, TwoLabellings
from .spectral import exact_log_norm, log_spectral_norm, start_basis

__all__ = [
    "BLOCKS",
    "EQUATIONS",
    "STEMS",
    "Equation",
    "ExactFront",
    "Jet",
    "JetMLP",
    "LeNet",
    "ResidualNet",
    "Standardise",
    "TwoLabellings",
    "around",
    "exact_log_norm",
    "inside",
    "lecun_normal",
    "log_spectral_norm",
    "side_left",
    "start_basis",
]
