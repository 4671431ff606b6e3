"""Seconds and memory of invertibility decomposition's forward pass, encoder and blend included,
after compilation.

python -m benchmarks.decomposition_speed [--batch 1] [--size 1024]
"""

import argparse
import functools
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from diffcam_jax.command.allocator import keep_freed_memory
from diffcam_jax.editing import pipeline
from diffcam_jax.editing.decomposition import Modules, Variables, decompose
from diffcam_jax.metrics.resources import peak_memory

REPEATS = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--size", type=int, default=1024, help="side of the pictures")
    options = parser.parse_args()
    networks = pipeline.on_device(pipeline.from_checkpoints())
    encoder, aligner = networks.encoder, networks.aligner
    modules = Modules(networks.generator.module, encoder.network.module, aligner.network.module)
    parts = (networks.generator.variables, encoder.network.variables, aligner.network.variables)
    run = jax.jit(functools.partial(decompose, modules, settings=aligner.settings))
    shape = (options.batch, options.size, options.size, 3)
    images = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, shape), jnp.float32)
    seconds = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        jax.block_until_ready(run(Variables(*parts, jnp.asarray(encoder.latent_avg)), images))
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
