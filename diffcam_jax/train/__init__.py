"""Training: pure steps for every network, the loop around them, and the state of a run."""
