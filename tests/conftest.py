"""For all tests: one thread, and Ctrl-C and the end of a terminal that work in the processes they start.

What imports and collection leave is never freed: garbage collection need not look at it again and again.
"""

import atexit
import gc
import signal

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """The process that only hands tests out to others needs no PyTorch."""
    if not config.getoption("numprocesses", None) or hasattr(config, "workerinput"):
        gc.disable()
        import torch

        torch.set_num_threads(1)


def pytest_collection_finish() -> None:
    """Tests begin."""
    gc.freeze()
    gc.enable()


atexit.register(gc.unfreeze)  # libraries that count at the end what was freed find nothing amiss

# The background jobs of a shell inherit that they are ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
