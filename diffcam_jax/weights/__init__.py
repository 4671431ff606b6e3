"""Parameters in and out of safetensors (`trees`), and the store of pretrained parts (`store`)."""

from diffcam_jax.weights.store import cache_dir, fetch, load_pretrained
from diffcam_jax.weights.trees import flatten, load, replacing, save, tree_hash, unflatten, write_atomically

__all__ = [
    "cache_dir",
    "fetch",
    "flatten",
    "load",
    "load_pretrained",
    "replacing",
    "save",
    "tree_hash",
    "unflatten",
    "write_atomically",
]
