"""How well an encoder reconstructs, without an edit: the FFHQ photographs of the store, and faces that its generator drew for no training.

    python -m benchmarks.encoder_quality RUN [RUN2 ...] [--generator DIR] [--faces 32] [--out table.json]

LPIPS of VGG16 at 256 pixels and MSE there (pictures in [-1, 1]), SFace cosine of the pictures at 512 (lower, lower, higher is better); seconds are those
of encoding and drawing one picture at the generator's full size, compiled before, the median over the pictures. "mean" is the average code in the place
of every code: what an encoder that saw nothing would give.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from diffcam_jax import pipeline, weights
from diffcam_jax.compilation import keep_compiled_programs
from diffcam_jax.data.drawn import drawn_batch, make_prior
from diffcam_jax.data.pictures import resize_square
from diffcam_jax.metrics.identity import Identity
from diffcam_jax.metrics.perceptual import Lpips
from diffcam_jax.metrics.pixel import mse
from diffcam_jax.ops.image import from_unit, to_unit
from diffcam_jax.photo import read_photo

HELD_OUT = 1  # the stream of codes that no training draws
IDENTITY_SIDE, DISTANCE_SIDE = 512, 256


def photographs(size: int) -> np.ndarray:
    """The stored FFHQ photographs, uint8 [n, s, s, 3]."""
    paths = sorted(weights.fetch("ffhq_photos").glob("*.png"))
    return np.stack([resize_square(read_photo(path).pixels, size) for path in paths])


def faces(generator: str, count: int) -> np.ndarray:
    """Held-out pictures of a generator at its full size."""
    prior, _ = make_prior(generator, 0, 1.0, 0.0, 0)
    return drawn_batch(prior, HELD_OUT, 0, count, 1)["image"]


def reconstruct(
    networks: pipeline.Pipeline, pictures: np.ndarray, encode: Callable[[Array], Array]
) -> tuple[np.ndarray, float]:
    """Reconstructions at the generator's size, and the median of their seconds."""
    generator, variables = networks.generator
    draw = jax.jit(lambda variables, codes: generator.apply(variables, codes, method="synthesis"))
    found, seconds = [], []
    jax.block_until_ready(draw(variables, encode(jnp.asarray(to_unit(pictures[:1])))))
    for picture in pictures:
        start = time.perf_counter()
        drawn = draw(variables, encode(jnp.asarray(to_unit(picture))[None]))
        found.append(from_unit(jax.block_until_ready(drawn))[0])
        seconds.append(time.perf_counter() - start)
    return np.stack(found), statistics.median(seconds)


def measure(pictures: np.ndarray, found: np.ndarray, lpips: Lpips, identity: Identity) -> dict[str, float]:
    """Means over the pictures; `lost` counts those in which no face was found, which the cosine leaves out."""
    small, small_found = (np.stack([resize_square(p, DISTANCE_SIDE) for p in x]) for x in (pictures, found))
    faces, faces_found = (np.stack([resize_square(p, IDENTITY_SIDE) for p in x]) for x in (pictures, found))
    cosine = identity(faces, faces_found)
    return {
        "lpips": float(lpips(small, small_found).mean()),
        "identity": float(np.nanmean(cosine)),
        "mse": float(np.mean(mse(jnp.asarray(small), jnp.asarray(small_found)))),
        "lost": int(np.isnan(cosine).sum()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("encoders", nargs="+", metavar="RUN", help="folder with an encoder")
    parser.add_argument("--generator", default="", help="folder; default: the embedded generator")
    parser.add_argument("--faces", type=int, default=32, help="generated faces to measure by")
    parser.add_argument("--out", type=Path, help="JSON file for the numbers")
    options = parser.parse_args()
    keep_compiled_programs()
    lpips, identity = Lpips("vgg", DISTANCE_SIDE), Identity()
    table: dict[str, dict[str, dict[str, float]]] = {}
    print("| encoder | pictures | LPIPS-VGG | SFace cosine | MSE | seconds |\n|---|---|---|---|---|---|")
    sets: dict[str, np.ndarray] = {}
    for name in ["mean", *options.encoders]:
        opened = options.encoders[0] if name == "mean" else name
        networks = pipeline.on_device(
            pipeline.from_checkpoints(options.generator or None, encoder=opened, directions={})
        )
        size, rows = networks.generator.module.resolution, networks.encoder.rows
        sets = sets or {"photographs": photographs(size), "generated": faces(options.generator, options.faces)}
        average = jnp.broadcast_to(networks.encoder.latent_avg, (1, rows, networks.encoder.latent_avg.shape[-1]))

        def encode(images: Array) -> Array:
            return average if name == "mean" else pipeline.encode(networks, images)  # noqa: B023

        for kind, pictures in sets.items():
            found, seconds = reconstruct(networks, pictures, encode)
            row = {**measure(pictures, found, lpips, identity), "seconds": seconds, "pictures": len(pictures)}
            table.setdefault(name, {})[kind] = row
            print(
                f"| {name} | {len(pictures)} {kind} | {row['lpips']:.3f} | {row['identity']:.3f} | {row['mse']:.4f} "
                f"| {seconds:.2f} |",
                flush=True,
            )
    if options.out:
        weights.write_atomically(options.out, json.dumps(table, indent=1).encode() + b"\n")


if __name__ == "__main__":
    main()
