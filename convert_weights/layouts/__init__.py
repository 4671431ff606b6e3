"""Where the entries of official checkpoints go, one module for each family of networks."""
