"""For all tests: one thread, and Ctrl-C that works in the processes they start."""

import signal

import torch

torch.set_num_threads(1)
# The background jobs of a shell inherit that it is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
