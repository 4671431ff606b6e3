"""Where masks of what is out of domain are best cut.

IoU with objects of the kinds that the alignment network was trained with, for every cut.

    python -m benchmarks.domain_cut [--aligner RUN] [--faces 48]

Faces that no training drew, changed as in training (`data.photographic`, objects in front of each),
the encoder's codes, 512 pixels. The kinds that training never shows are left to
`configs/eval/invertibility.py`: a cut that is chosen here is not chosen by them. "clean" is the
share of the same faces without an object that is marked.
"""

import argparse
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from benchmarks.encoder_quality import HELD_OUT
from diffcam_jax.command.compilation import keep_compiled_programs
from diffcam_jax.data.drawn import drawn_batch, make_prior
from diffcam_jax.data.photographic import Photographic
from diffcam_jax.editing import checkpoints
from diffcam_jax.editing.decomposition import domain_mask, encode
from diffcam_jax.files.model_folder import load
from diffcam_jax.metrics.masks import iou
from diffcam_jax.ops.image import to_unit

CUTS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)
SIDE, SEED = 512, 1


def main() -> None:
    """Runs the benchmark and prints its table; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--aligner", help="folder of a training run; the shipped network by default"
    )
    parser.add_argument("--faces", type=int, default=48)
    options = parser.parse_args()
    folder = load(options.aligner) if options.aligner else checkpoints.shipped(checkpoints.ALIGNER)
    changes = Photographic(**folder.config["training"]["data"]["photographic"])
    networks = checkpoints.from_checkpoints(aligner=options.aligner)
    networks = jax.device_put(networks.decomposer)

    @jax.jit
    def find(networks, images):
        codes, _ = encode(networks, images)
        return domain_mask(networks, images, codes, SIDE)

    def masks(pictures: list[np.ndarray]) -> np.ndarray:
        images = (jnp.asarray(to_unit(picture))[None] for picture in tqdm(pictures, disable=None))
        return np.concatenate([np.asarray(find(networks, image)) for image in images])

    faces = drawn_batch(make_prior("", SIDE, 1.0, 0.0, 0)[0], HELD_OUT, 0, options.faces, 1)[
        "image"
    ]
    always, never = (dataclasses.replace(changes, objects=chance) for chance in (1.0, 0.0))
    behind, clean = (
        [
            changed.with_objects(face, np.random.default_rng((SEED, number)))
            for number, face in enumerate(faces)
        ]
        for changed in (always, never)
    )
    truth = np.stack([mask for _, mask in behind]) >= 128
    found, marked = (
        masks([picture for picture, _ in behind]),
        masks([picture for picture, _ in clean]),
    )
    print(
        f"{len(faces)} faces; objects have {truth.mean():.3f} of a picture\ncut    IoU    area   "
        "clean"
    )
    for cut in CUTS:
        agreement = np.nanmean(iou(found, truth, cut))
        print(
            f"{cut:.2f}  {agreement:.3f}  {(found >= cut).mean():.3f}  {(marked >= cut).mean():.3f}"
        )


if __name__ == "__main__":
    keep_compiled_programs()
    main()
