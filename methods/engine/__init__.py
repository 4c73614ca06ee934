"""What all methods share: the contract, the two passes over memory, small solvers."""
