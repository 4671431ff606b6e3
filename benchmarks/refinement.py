"""How near a refinement comes to photographs, and whether what it finds can still be edited.

One costs the other.

    python -m benchmarks.refinement [--photographs 2 8] [--steps 100] [--offsets 0.25 1]

FFHQ photographs of the store by number, `inversion.REFINEMENT` with each share `offsets` of the
rate at which rows move apart. LPIPS of VGG16 at 256 pixels and SFace cosine of photograph and
reconstruction at 512, root mean square distance of the rows from their mean, and what an edit of
strength 1 moves the attribute's own score by, from the reconstruction to its edit (smile
blendshape, years, lip gap, eyeglasses, beard). "encoder" is the code without a step.
"""

import argparse
import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.encoder_quality import DISTANCE_SIDE, measure, photographs
from benchmarks.photographs import ATTRIBUTES
from diffcam_jax import inversion
from diffcam_jax.command.compilation import keep_compiled_programs
from diffcam_jax.directions import Direction, importers
from diffcam_jax.directions.scoring import draw_pictures
from diffcam_jax.editing import checkpoints, pipeline
from diffcam_jax.faces import scorers
from diffcam_jax.metrics.identity import Identity
from diffcam_jax.metrics.perceptual import Lpips
from diffcam_jax.nn.network import Network
from diffcam_jax.ops.image import to_unit


def moved(
    generator: Network,
    directions: Mapping[str, Direction],
    codes: np.ndarray,
    drawn: np.ndarray,
) -> dict[str, np.ndarray]:
    """What each edit changes the scores [n] of reconstructions [n, s, s, 3] by."""
    before, found = scorers.score(drawn, list(ATTRIBUTES.values())), {}
    for attribute, score in ATTRIBUTES.items():
        edited = draw_pictures(generator, codes + directions[attribute].array, progress=False)
        found[attribute] = scorers.score(edited, [score])[score] - before[score]
    return found


def main() -> None:
    """Runs the benchmark and prints its table; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photographs", type=int, nargs="+", default=[2, 8], metavar="N")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument(
        "--offsets", type=float, nargs="+", default=[inversion.REFINEMENT.offsets, 1.0]
    )
    options = parser.parse_args()
    keep_compiled_programs()
    networks = jax.device_put(checkpoints.from_checkpoints())
    generator, encoder = networks.generator, networks.encoder
    directions = checkpoints.fit_directions(importers.read_directions(None), generator)
    pictures = photographs(generator.module.resolution)[options.photographs]
    lpips, identity = Lpips("vgg", DISTANCE_SIDE), Identity()
    print(f"| {options.steps} steps | LPIPS-VGG | SFace | rows apart | {' | '.join(ATTRIBUTES)} |")
    print("|---" * (4 + len(ATTRIBUTES)) + "|")
    images = jnp.asarray(to_unit(pictures))
    for share in [None, *options.offsets]:
        if share is None:
            codes = np.asarray(pipeline.encode(networks, images))
        else:
            settings = dataclasses.replace(
                inversion.REFINEMENT.with_steps(options.steps), offsets=share
            )
            inverter = inversion.Inverter(generator, encoder, "in_domain", settings)
            codes = inverter(images, progress=True).codes
        drawn = draw_pictures(generator, codes, progress=False)
        row = measure(pictures, drawn, lpips, identity)
        apart = np.sqrt(((codes - codes.mean(1, keepdims=True)) ** 2).mean())
        changes = moved(generator, directions, codes, drawn).values()
        scores = " | ".join(f"{np.nanmean(change):.2f}" for change in changes)
        name = "encoder" if share is None else f"offsets={share:g}"
        print(
            f"| {name} | {row['lpips']:.3f} | {row['identity']:.2f} | {apart:.3f} | {scores} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
