"""Diff-CAM in JAX: change one thing in a photograph and nothing else (arXiv 2207.08134)."""

__version__ = "0.1.0"
