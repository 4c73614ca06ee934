"""For all tests: one thread, and Ctrl-C and the end of a terminal that work in the processes they start."""

import signal

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """The process that only hands tests out to others needs no PyTorch."""
    if not config.getoption("numprocesses", None) or hasattr(config, "workerinput"):
        import torch

        torch.set_num_threads(1)


# The background jobs of a shell inherit that they are ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
