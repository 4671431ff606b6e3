"""Seconds of an inversion with the embedded generator: one photograph, and four in one batch.

Compile time apart.

    python -m benchmarks.inversion_speed [--encoder FOLDER] [--steps 100] [--method refinement]

In-domain with all three terms, at 256 pixels ("refinement" is in-domain with
`inversion.REFINEMENT`); the photographs are the generator's own. Without a folder the encoder is
the small pSp of configs/encoder.py with random weights: as much work, no sense in its codes. Target
on two idle cores: at most 90 s for one, and four in less than three times that. Photographs of a
batch are searched for side by side, as in invert.py.
"""

import argparse
import dataclasses
import os
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from configs.encoder import get_config
from diffcam_jax import inversion
from diffcam_jax.command.allocator import keep_freed_memory
from diffcam_jax.editing import checkpoints
from diffcam_jax.inversion import encoding
from diffcam_jax.nn.latents import sample_w, to_wplus, wplus_rows
from diffcam_jax.nn.network import Network
from diffcam_jax.pretrained import networks as pretrained
from diffcam_jax.train.encoder_psp import make_encoder

OPTIMISING = ("prior", "in_domain", "image2stylegan", "mse")


def stand_in(generator: Network) -> encoding.Encoder:
    """The small pSp encoder with random weights."""
    rows, features = wplus_rows(generator.module), generator.module.latent_size
    module = make_encoder(get_config("psp").model, rows, features)
    variables = jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, 256, 256, 3)))
    return encoding.Encoder(Network(module, variables), np.zeros(features, np.float32), 0, rows)


def main() -> None:
    """Runs the benchmark and prints its table; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--encoder", type=Path)
    parser.add_argument("--method", default="in_domain", choices=(*OPTIMISING, "refinement"))
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4])
    options = parser.parse_args()
    generator = jax.device_put(pretrained.load("mobile_stylegan_ffhq").network("generator"))
    encoder = (
        checkpoints.from_checkpoints(encoder=options.encoder).encoder
        if options.encoder
        else stand_in(generator)
    )
    # Every step is made: a picture that settled would flatter the number.
    refines = options.method == "refinement"
    method, given = (
        ("in_domain", inversion.REFINEMENT)
        if refines
        else (options.method, inversion.METHODS[options.method].defaults)
    )
    settings = dataclasses.replace(given.with_steps(options.steps), patience=0)
    inverter, warm = (
        inversion.Inverter(generator, encoder, method, x)
        for x in (settings, settings.with_steps(1))
    )
    codes = to_wplus(sample_w(*generator, jax.random.key(1), max(options.batches)))
    draw = jax.jit(lambda given, code: given(code[None], size=256, method="synthesis"))
    images = np.concatenate([np.asarray(draw(generator, code)) for code in codes])
    print(
        "| photographs | compile s | seconds | against one | core-seconds a step | loss, first "
        "and best |"
    )
    print("|---|---|---|---|---|---|")
    first = None
    for batch in options.batches:
        compiled = warm(images[:batch]).compile_seconds
        cores = time.process_time()
        found = inverter(images[:batch], progress=True)
        cores = (time.process_time() - cores) / found.steps
        first = first or found.seconds / batch
        begin, best = found.history[0].mean(), found.loss.mean()
        print(
            f"| {batch} | {compiled:.1f} | {found.seconds:.1f} | {found.seconds / first:.2f}x | "
            f"{cores:.2f} | {begin:.3f}, {best:.3f} |"
        )


if __name__ == "__main__":
    keep_freed_memory()
    jax.config.update("jax_num_cpu_devices", min(4, os.cpu_count() or 1))
    main()
