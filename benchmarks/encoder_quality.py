"""How well an encoder reconstructs, without an edit.

The FFHQ photographs of the store, and faces that its generator drew for no training.

    python -m benchmarks.encoder_quality RUN [RUN2 ...] [--refine 100] [--generator DIR] [--photos
    FOLDER] [--faces 32] [--out table.json]

LPIPS of VGG16 at 256 pixels and MSE there (pictures in [-1, 1]), SFace cosine of the pictures at
512 (lower, lower, higher is better); seconds are those of encoding and drawing one picture at the
generator's full size, the median over the pictures (the first one compiles). "mean" is the average
code in the place of every code: what an encoder that saw nothing would give. With --refine the
photographs are shown after so many steps from the encoder's code, too (`inversion.REFINEMENT`);
--photos takes photographs of a folder instead, whose largest faces are cut out as in FFHQ, and
--photographs the first few only.
"""

import argparse
import functools
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from diffcam_jax import inversion
from diffcam_jax.command.compilation import keep_compiled_programs
from diffcam_jax.data.drawn import drawn_batch, make_prior
from diffcam_jax.data.pictures import FaceReader, resize_square
from diffcam_jax.editing import checkpoints, pipeline
from diffcam_jax.faces.photo import list_photos, read_photo
from diffcam_jax.files import trees
from diffcam_jax.metrics.identity import Identity
from diffcam_jax.metrics.perceptual import Lpips
from diffcam_jax.metrics.pixel import mse
from diffcam_jax.ops.image import from_unit, to_unit
from diffcam_jax.pretrained import store

HELD_OUT = 1  # the stream of codes that no training draws
IDENTITY_SIDE, DISTANCE_SIDE = 512, 256
MEAN = "mean"


def photographs(size: int, count: int | None = None, folder: Path | None = None) -> np.ndarray:
    """The stored FFHQ photographs, or the largest faces of a folder's.

    Returns uint8 [n, s, s, 3].
    """
    if folder is not None:
        with FaceReader() as read:
            return np.stack([read(path, size)[0] for path in list_photos(folder)[:count]])
    paths = sorted(store.fetch("ffhq_photos").glob("*.png"))[:count]
    return np.stack([resize_square(read_photo(path).pixels, size) for path in paths])


def faces(generator: str, count: int) -> np.ndarray:
    """Held-out pictures of a generator at its full size."""
    prior, _ = make_prior(generator, 0, 1.0, 0.0, 0)
    return drawn_batch(prior, HELD_OUT, 0, count, 1)["image"]


def reconstruct(
    networks: pipeline.Pipeline, pictures: np.ndarray, encode: Callable[[Array], Array]
) -> tuple[np.ndarray, float]:
    """Reconstructions at the generator's size, and the median of their seconds."""
    draw = jax.jit(lambda generator, codes: generator(codes, method="synthesis"))
    found, seconds = [], []
    for picture in pictures:
        start = time.perf_counter()
        drawn = draw(networks.generator, encode(jnp.asarray(to_unit(picture))[None]))
        found.append(from_unit(jax.block_until_ready(drawn))[0])
        seconds.append(time.perf_counter() - start)
    return np.stack(found), statistics.median(seconds)


def measure(
    pictures: np.ndarray, found: np.ndarray, lpips: Lpips, identity: Identity
) -> dict[str, float]:
    """Means over the pictures.

    `lost` counts those in which no face was found, which the cosine leaves out.
    """
    small, small_found = (
        np.stack([resize_square(p, DISTANCE_SIDE) for p in x]) for x in (pictures, found)
    )
    faces, faces_found = (
        np.stack([resize_square(p, IDENTITY_SIDE) for p in x]) for x in (pictures, found)
    )
    cosine = identity(faces, faces_found)
    return {
        "lpips": float(lpips(small, small_found).mean()),
        "identity": float(np.nanmean(cosine)),
        "mse": float(np.mean(mse(jnp.asarray(small), jnp.asarray(small_found)))),
        "lost": int(np.isnan(cosine).sum()),
    }


def ways(
    networks: pipeline.Pipeline, name: str, refine: int
) -> dict[str, Callable[[Array], Array]]:
    """Label -> pictures to codes."""
    generator, encoder = networks.generator, networks.encoder
    if name == MEAN:
        average = jnp.broadcast_to(
            encoder.latent_avg, (1, encoder.rows, encoder.latent_avg.shape[-1])
        )
        return {name: lambda images: average}
    found = {name: functools.partial(pipeline.encode, networks)}
    if refine:
        inverter = inversion.Inverter(
            generator, encoder, "in_domain", inversion.REFINEMENT.with_steps(refine)
        )
        found[f"{name}, {refine} steps"] = lambda images: jnp.asarray(
            inverter(images, progress=True).codes
        )
    return found


def main() -> None:
    """Runs the benchmark and prints its table; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("encoders", nargs="+", metavar="RUN", help="folder with an encoder")
    parser.add_argument(
        "--refine",
        type=int,
        default=0,
        metavar="N",
        help="steps from the encoder's code, photographs only",
    )
    parser.add_argument("--generator", default="", help="folder; default: the embedded generator")
    parser.add_argument(
        "--faces", type=int, default=32, help="generated faces to measure by; 0 leaves them out"
    )
    parser.add_argument("--photographs", type=int, help="the first so many; default: all 11")
    parser.add_argument(
        "--photos", type=Path, metavar="FOLDER", help="photographs in the place of the stored ones"
    )
    parser.add_argument("--out", type=Path, help="JSON file for the numbers")
    options = parser.parse_args()
    keep_compiled_programs()
    lpips, identity = Lpips("vgg", DISTANCE_SIDE), Identity()
    table: dict[str, dict[str, dict[str, float]]] = {}
    print(
        "| encoder | pictures | LPIPS-VGG | SFace cosine | MSE | seconds "
        "|\n|---|---|---|---|---|---|"
    )
    sets: dict[str, np.ndarray] = {}
    for name in [MEAN, *options.encoders]:
        opened = options.encoders[0] if name == MEAN else name
        networks = jax.device_put(
            checkpoints.from_checkpoints(generator=options.generator or None, encoder=opened)
        )
        size = networks.generator.module.resolution
        sets = sets or {"photographs": photographs(size, options.photographs, options.photos)}
        if options.faces and "generated" not in sets:
            sets["generated"] = faces(options.generator, options.faces)
        for way, encode in ways(networks, name, options.refine).items():
            for kind, pictures in sets.items():
                if way not in (MEAN, name) and kind == "generated":
                    continue
                found, seconds = reconstruct(networks, pictures, encode)
                row = {
                    **measure(pictures, found, lpips, identity),
                    "seconds": seconds,
                    "pictures": len(pictures),
                }
                table.setdefault(way, {})[kind] = row
                print(
                    f"| {way} | {len(pictures)} {kind} | {row['lpips']:.3f} | "
                    f"{row['identity']:.3f} | {row['mse']:.4f} "
                    f"| {seconds:.2f} |",
                    flush=True,
                )
    if options.out:
        trees.write_atomically(options.out, json.dumps(table, indent=1).encode() + b"\n")


if __name__ == "__main__":
    main()
