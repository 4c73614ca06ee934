"""The training loop: steps, evaluations, checkpoints, for one run or several in lock step."""
