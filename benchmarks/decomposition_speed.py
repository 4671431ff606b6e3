"""Seconds and memory of the forward pass of invertibility decomposition.

Encoder and blend are included, compilation is not.

python -m benchmarks.decomposition_speed [--batch 1] [--size 1024]
"""

import argparse
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from diffcam_jax.command.allocator import keep_freed_memory
from diffcam_jax.editing import checkpoints
from diffcam_jax.editing.decomposition import decompose
from diffcam_jax.metrics.resources import peak_memory

REPEATS = 7


def main() -> None:
    """Runs the benchmark and prints its table; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--size", type=int, default=1024, help="side of the pictures")
    options = parser.parse_args()
    networks = jax.device_put(checkpoints.from_checkpoints().decomposer)
    run = jax.jit(decompose, static_argnames="largest")
    shape = (options.batch, options.size, options.size, 3)
    images = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, shape), jnp.float32)
    seconds = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        jax.block_until_ready(run(networks, images))
        seconds.append(time.perf_counter() - start)
    first, *further = seconds
    print(
        f"batch {options.batch} at {options.size}: {statistics.median(further):.3f} s, the first "
        f"{first:.1f} s"
    )
    print(f"peak memory {peak_memory().host / 2**30:.2f} GiB")


if __name__ == "__main__":
    keep_freed_memory()
    main()
