r"""Writes edits whose correct result is known (`data.edit_pairs`), to train deghosting with.

    python -m diffcam_jax.data.known_edits --faces drawn256 --out DIR [--encoder RUN] \
        [--count 1200] [--held-out 32]

    DIR/train/NUMBER.npz, DIR/test/NUMBER.npz    see `Pair`; a rerun continues, pair by pair
    DIR/index.json                               hashes of the networks and of the faces, recipe

Faces are a prepared dataset with codes (`python -m diffcam_jax.data draw`); pairs of "test" are of
its test pictures. A pair takes three passes of the generator: half a core-second at 1024 pixels.
"""

import argparse
import functools
import io
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from diffcam_jax.command import arguments
from diffcam_jax.command.allocator import keep_freed_memory
from diffcam_jax.command.compilation import keep_compiled_programs
from diffcam_jax.command.device import check_device
from diffcam_jax.data.builders import open_prepared
from diffcam_jax.data.edit_pairs import CONFIG, KnownConfig, make_pairs
from diffcam_jax.data.edit_samples import Encode
from diffcam_jax.data.ghost_blends import GhostNetworks, ghost_networks
from diffcam_jax.data.ghosts import claim_index
from diffcam_jax.directions import importers
from diffcam_jax.editing import checkpoints, pipeline
from diffcam_jax.errors import UserError, exit_code
from diffcam_jax.files import trees
from diffcam_jax.pretrained import store

_AT_ONCE = 2


def write(
    networks: GhostNetworks,
    encode: Encode,
    faces: Any,
    split: str,
    count: int,
    folder: Path,
    seed: int = 0,
    config: KnownConfig = CONFIG,
) -> int:
    """Writes the pairs of the first `count` faces of a split; existing ones are kept.

    Args:
        networks: see `make_pairs`.
        encode: see `make_pairs`.
        faces: random access list of {"image", "code"}.
        split: "train" or "test".
        count: number of faces, at most.
        folder: see the module.
        seed: see `make_pairs`.
        config: see `make_pairs`.

    Returns:
        How many pairs there are now.
    """
    names = [f"{split}/{i:06d}" for i in range(min(count, len(faces)))]
    missing = [i for i, name in enumerate(names) if not (folder / f"{name}.npz").exists()]
    with tqdm(
        total=len(names), initial=len(names) - len(missing), unit="pair", desc=split, disable=None
    ) as bar:
        for first in range(0, len(missing), _AT_ONCE):
            numbers = missing[first : first + _AT_ONCE]
            # A short last part is padded, so that one program serves all.
            padded = numbers + numbers[-1:] * (_AT_ONCE - len(numbers))
            records = [faces[i] for i in padded]
            images, codes = (
                np.stack([record[name] for record in records]) for name in ("image", "code")
            )
            made = make_pairs(
                networks, encode, [names[i] for i in padded], images, codes, seed, config
            )
            for i, pair in zip(numbers, made, strict=False):
                buffer = io.BytesIO()
                np.savez(buffer, **pair._asdict())
                trees.write_atomically(folder / f"{names[i]}.npz", buffer.getvalue())
            bar.update(len(numbers))
    return len(names)


def run(options: argparse.Namespace) -> int:
    """Writes pairs as the command line asks.

    Raises:
        UserError: a dataset or networks that do not fit together.
    """
    roles = ("generator", "encoder", "classifier")
    dataset = open_prepared(options.data, options.faces)
    parts = jax.device_put(
        checkpoints.from_checkpoints(**{role: getattr(options, role) for role in roles})
    )
    found = importers.read_directions(options.directions)
    directions = checkpoints.fit_directions(found, parts.generator)
    size, resolution = dataset.recipe["size"], parts.generator.module.resolution
    if "code" not in dataset.splits["train"][0] or resolution % size:
        raise UserError(
            f"{options.faces} is not of this generator's pictures with codes; python -m "
            "diffcam_jax.data draw makes such a dataset"
        )
    if parts.encoder is None:
        raise UserError(
            "without an encoder there are no reconstructions to edit; give --encoder=FOLDER"
        )
    encoder = trees.tree_hash(parts.encoder.network.variables)
    networks, encode = (
        jax.device_put(ghost_networks(parts, directions)),
        functools.partial(pipeline.encode, parts),
    )
    claim_index(
        options.out, networks, options.seed, CONFIG, f"{dataset.recipe['sha256']} {encoder}"
    )
    counts = {"test": options.held_out, "train": options.count}
    for split, count in counts.items():
        made = write(
            networks,
            encode,
            dataset.splits.get(split, []),
            split,
            count,
            options.out,
            options.seed,
            CONFIG,
        )
        print(f"{made} pairs of {size} pixels in {options.out / split}")
    print(
        "next: python train.py --config configs/deghost_mobile.py --workdir RUN "
        f"--config.data.folder={options.out}"
    )
    return 0


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        description="Write edits whose right result is known, for the deghosting network."
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder; a rerun continues where it stopped"
    )
    parser.add_argument(
        "--faces", required=True, help="prepared dataset of a generator's pictures with codes"
    )
    parser.add_argument(
        "--data", type=Path, default=store.cache_dir() / "data", help="folder of all datasets"
    )
    parser.add_argument(
        "--encoder",
        type=Path,
        help="converted folder; default: the one that comes with the generator",
    )
    parser.add_argument(
        "--count", type=int, default=1200, help="pairs for training (default: %(default)s)"
    )
    parser.add_argument(
        "--held-out", type=int, default=32, help="pairs for evaluation (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments.add_directions(parser)
    for role in ("generator", "classifier"):
        parser.add_argument(
            f"--{role}", type=Path, help="converted folder; default: the embedded part"
        )
    keep_freed_memory()
    check_device()
    keep_compiled_programs()
    return exit_code(lambda: run(parser.parse_args(argv)), "known_edits")


if __name__ == "__main__":
    sys.exit(main())
