"""Layouts of official checkpoints, one module for each family of networks."""
