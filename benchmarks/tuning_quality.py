"""How near pivotal tuning comes to Hopper and the astronaut, after how many steps and seconds.

    python -m benchmarks.tuning_quality [--steps 20 40 80] [--generator DIR --encoder DIR]

`inversion.invert(generator, encoder, photograph, "pivotal_tuning")`, the whole photograph at the
generator's size. LPIPS of both trunks and MSE (pictures in [-1, 1]) at 256 pixels, SFace cosine at
512. Seconds are those of one photograph, compiling not counted; "encoder" is the pivot without a
step.
"""

import argparse
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from benchmarks.encoder_quality import DISTANCE_SIDE, measure
from diffcam_jax import inversion
from diffcam_jax.applications.faces import Studio
from diffcam_jax.command.allocator import keep_freed_memory
from diffcam_jax.command.compilation import keep_compiled_programs
from diffcam_jax.data.pictures import resize_square
from diffcam_jax.evaluation.pictures import items
from diffcam_jax.metrics.identity import Identity
from diffcam_jax.metrics.perceptual import Lpips
from diffcam_jax.ops.image import to_unit

HEAD = ("picture", "way", "LPIPS-VGG", "LPIPS-Alex", "MSE", "SFace", "loss", "seconds")


def main() -> None:
    """Runs the benchmark and prints its table; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[20, 40, 80])
    parser.add_argument("--generator", type=Path, metavar="DIR")
    parser.add_argument("--encoder", type=Path, metavar="DIR")
    options = parser.parse_args()
    keep_compiled_programs()
    studio = Studio.open(options.generator, options.encoder)
    vgg, alex = (Lpips(trunk, DISTANCE_SIDE) for trunk in ("vgg", "alex"))
    identity, networks = Identity(), (studio.generator, studio.encoder)
    default = inversion.METHODS[inversion.TUNING].defaults
    ways = {"encoder": inversion.Inverter(*networks, "encoder")}
    for steps in options.steps:
        settings = default.with_steps(steps)
        ways[f"{steps} steps"] = inversion.Inverter(*networks, inversion.TUNING, settings)
    print("| " + " | ".join(HEAD) + " |\n" + "|---" * len(HEAD) + "|")
    given = items("public_domain", studio.size, 0, ConfigDict(), None)
    once = inversion.Inverter(*networks, inversion.TUNING, default.with_steps(1))
    for inverter in (ways["encoder"], once):
        inverter(to_unit(given[0].read())[None])  # compiles what the seconds would hold
    for item in given:
        picture = item.read()[None]
        images = jnp.asarray(to_unit(picture))
        for way, inverter in ways.items():
            found = inverter(images, progress=True)
            drawn = studio.draw(found.codes, tuned=found.tuned)
            row = measure(picture, drawn, vgg, identity)
            small = [np.stack([resize_square(x[0], DISTANCE_SIDE)]) for x in (picture, drawn)]
            near = [row["lpips"], float(alex(*small).mean())]
            numbers = [f"{x:.3f}" for x in near] + [f"{row['mse']:.4f}", f"{row['identity']:.2f}"]
            numbers += [f"{found.loss[0]:.3f}", f"{found.seconds:.1f}"]
            print("| " + " | ".join([item.name, way, *numbers]) + " |", flush=True)


if __name__ == "__main__":
    keep_freed_memory()
    main()
